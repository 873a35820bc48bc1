"""The probe repeats what the room answers, and fails when it does not answer."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from services.common.http_probe import run_probe


@contextmanager
def room(status: int, body: bytes) -> Iterator[int]:
    """Serve one answer on a free port of the loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body", "code", "printed"),
    [
        (200, b"fine\nmore", 0, "fine\n"),
        (204, b"", 0, "\n"),
        (503, b"not checked yet\n", 1, "not checked yet\n"),
        (500, b"", 1, "\n"),
        (200, b"\xff\xfe", 0, "\ufffd\ufffd\n"),
    ],
)
def test_prints_the_first_line_and_gives_dockers_exit_code(capsys, status, body, code, printed):
    with room(status, body) as port:
        assert run_probe(port, "/healthz") == code
    assert capsys.readouterr().out == printed


def test_asks_without_the_proxy_that_docker_may_have_set():
    """In a process of its own, as a health check runs: urllib reads these variables only once."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        proxy = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with room(200, b"fine") as port:
            ended = subprocess.run(
                [
                    sys.executable,
                    "-c",
                    f"from services.common.http_probe import *; run_probe({port}, '/healthz')",
                ],
                cwd=Path(__file__).parents[3],
                env={"http_proxy": proxy},
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
    assert ended.stdout == "fine\n"


def test_a_room_that_does_not_listen_is_unhealthy(capsys):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        assert run_probe(port, "/healthz") == 1
    assert capsys.readouterr().out.startswith(f"asking http://127.0.0.1:{port}/healthz: ")


def test_a_room_that_never_answers_is_unhealthy(capsys):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert run_probe(silent.getsockname()[1], "/healthz", timeout=0.05) == 1
    assert "timed out" in capsys.readouterr().out


def test_a_room_that_speaks_no_http_is_unhealthy(capsys):
    with socket.socket() as odd:
        odd.bind(("127.0.0.1", 0))
        odd.listen()

        def answer() -> None:
            connection, _ = odd.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(b"\x00\x01garbage\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert run_probe(odd.getsockname()[1], "/healthz") == 1
        thread.join()
    assert capsys.readouterr().out.strip()
