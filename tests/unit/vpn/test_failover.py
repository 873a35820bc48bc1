"""HAProxy itself, with the configuration that it is given in a pool with several endpoints."""

import http.client
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from services.vpn.processes import Program
from services.vpn.proxy_config import Endpoint, configuration, render
from tests.debian import LIBRARIES, unpacked
from tests.unit.vpn.members import member

PACE, QUICK = "inter 5s fastinter 1s downinter 2s", "inter 50ms fastinter 50ms downinter 50ms"
NEVER = "inter 1h fastinter 1h downinter 1h"


class FakeEndpoint:
    """Answers its name at two ports, as an endpoint does over HTTP and gRPC, and whether it is ready."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready = True
        self.told_to_answer = threading.Event()
        self._servers: list[ThreadingHTTPServer] = []
        self.start()
        self.http, self.grpc = (int(server.server_port) for server in self._servers)

    def start(self, ports: tuple[int, int] = (0, 0)) -> None:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/slow":
                    endpoint.told_to_answer.wait()
                good = self.path != "/readyz" or endpoint.ready
                self.send_response(200 if good else 503)
                self.end_headers()
                self.wfile.write(endpoint.name.encode())

            def log_message(self, *_: object) -> None:
                """Tests look at answers."""

        self._servers = [ThreadingHTTPServer(("127.0.0.1", port), Handler) for port in ports]
        for server in self._servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()

    def end(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
        self._servers = []

    @property
    def described(self) -> Endpoint:
        return Endpoint(self.name, "127.0.0.1", self.http, self.grpc)


class Proxy:
    """HAProxy on ports of the loopback."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "haproxy.cfg"
        self._program = Program(["haproxy", "-W", "-q", "-f", str(self._file)])
        self.http, self.grpc = free_port(), free_port()

    def lead_to(self, *endpoints: FakeEndpoint, pace: str = NEVER) -> None:
        """Start it with these endpoints, or let it go on with them."""
        wanted = [endpoint.described for endpoint in endpoints]
        text = configuration(wanted, f"127.0.0.1:{self.http}", f"127.0.0.1:{self.grpc}")
        assert len(wanted) == 1 or PACE in text
        self._file.write_text(text.replace(PACE, pace))
        eventually(lambda: self._follow(endpoints[0]))

    def _follow(self, endpoint: FakeEndpoint) -> None:
        # A signal is lost while HAProxy starts; the sidecar sends none within seconds of that
        if not self._program.ensure():
            self._program.reload()
        eventually(lambda: self.is_answered_by(endpoint), 2)

    def answer(self, path: str = "/", port: int | None = None) -> str:
        """Return who answers a new request; raises OSError if nobody does."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.http, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()

    def is_answered_by(self, endpoint: FakeEndpoint) -> None:
        assert (self.answer(), self.answer(port=self.grpc)) == (endpoint.name, endpoint.name)

    def end(self) -> None:
        self._program.end()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def eventually(check: Callable[[], object], limit: float = 30) -> None:
    retrying = Retrying(
        retry=retry_if_exception_type((AssertionError, OSError)),
        wait=wait_fixed(0.02),
        stop=stop_after_delay(limit),
        reraise=True,
    )
    retrying(check)


@pytest.fixture(autouse=True)
def haproxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let HAProxy be found, also where it is not installed."""
    monkeypatch.setenv("PATH", str(Path(unpacked("haproxy", ["haproxy"])).parent), prepend=os.pathsep)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(LIBRARIES), prepend=os.pathsep)


@pytest.fixture
def endpoints() -> Iterator[list[FakeEndpoint]]:
    made = [FakeEndpoint(name) for name in ("own", "seed", "member")]
    yield made
    for endpoint in made:
        endpoint.told_to_answer.set()
        endpoint.end()


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    made = Proxy(tmp_path)
    yield made
    made.end()


@pytest.mark.parametrize("own_endpoint", [True, False])
@pytest.mark.parametrize("others", [[], ["10.77.0.9", "10.77.0.10"]])
def test_haproxy_takes_every_configuration_without_a_warning(
    tmp_path: Path, own_endpoint: bool, others: list[str]
) -> None:
    file = tmp_path / "haproxy.cfg"
    file.write_text(render(member(endpoint_nodes=others), own_endpoint=own_endpoint))

    done = subprocess.run(
        ["haproxy", "-W", "-c", "-f", str(file)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr


def test_a_new_request_is_answered_by_the_next_one_at_once(
    proxy: Proxy, endpoints: list[FakeEndpoint]
) -> None:
    own, seed, other = endpoints
    proxy.lead_to(own, seed, other)  # which are never asked, so the request itself must notice
    proxy.is_answered_by(own)

    own.end()
    proxy.is_answered_by(seed)
    seed.end()
    proxy.is_answered_by(other)


def test_two_that_end_together_are_passed_over(proxy: Proxy, endpoints: list[FakeEndpoint]) -> None:
    own, seed, other = endpoints
    proxy.lead_to(own, seed, other)

    own.end()
    seed.end()

    proxy.is_answered_by(other)


def test_one_that_comes_back_takes_its_place_again(proxy: Proxy, endpoints: list[FakeEndpoint]) -> None:
    own, seed, _ = endpoints
    proxy.lead_to(own, seed, pace=QUICK)
    own.end()
    proxy.is_answered_by(seed)

    own.start((own.http, own.grpc))

    eventually(lambda: proxy.is_answered_by(own))


def test_one_that_lives_but_is_not_ready_is_passed_over(proxy: Proxy, endpoints: list[FakeEndpoint]) -> None:
    own, seed, _ = endpoints
    proxy.lead_to(own, seed, pace=QUICK)

    own.ready = False
    eventually(lambda: proxy.is_answered_by(seed))
    own.ready = True
    eventually(lambda: proxy.is_answered_by(own))


def test_where_none_is_ready_one_says_why(proxy: Proxy, endpoints: list[FakeEndpoint]) -> None:
    own, seed, _ = endpoints
    proxy.lead_to(own, seed, pace=QUICK)

    seed.ready = own.ready = False
    own.end()

    eventually(lambda: proxy.is_answered_by(seed))


def test_a_list_that_changes_is_followed_and_open_streams_go_on(
    proxy: Proxy, endpoints: list[FakeEndpoint]
) -> None:
    seed, other, _ = endpoints
    proxy.lead_to(seed)
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(proxy.answer("/slow")))
    asking.start()

    proxy.lead_to(other, seed)
    eventually(lambda: proxy.is_answered_by(other))
    seed.told_to_answer.set()
    asking.join()

    assert answers == [seed.name]
