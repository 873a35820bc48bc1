"""A model hub of one repository on the loopback, as much of its protocol as ``huggingface_hub`` speaks."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "c0ffee" + "0" * 34


@dataclass
class FakeHub:
    """What the hub holds, and what it was asked for.

    Attributes:
        name: the only repository, as ``owner/name``.
        folder: its files.
        url: where the hub is reached.
        gated: refuse everybody without a token.
        stalled: let nobody have the weights before this event.
        downloads: names of the files that were asked for, in order.
        tokens: what callers wrote into ``Authorization``.
    """

    name: str
    folder: Path
    url: str = ""
    gated: bool = False
    stalled: threading.Event | None = None
    downloads: list[str] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)

    @property
    def shards(self) -> list[str]:
        """Return which files with weights were sent, in order."""
        return [name for name in self.downloads if name.endswith(".safetensors")]


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        token = self.headers.get("Authorization")
        self.hub.tokens.add(token)
        path = self.path.split("?")[0].lstrip("/")
        if not path.removeprefix("api/models/").startswith(self.hub.name):
            return self._refuse(404, "RepoNotFound", with_body=with_body)
        if self.hub.gated and token is None:
            return self._refuse(401, "GatedRepo", with_body=with_body)
        # Behind the repository stand "resolve/<revision>/<file>", "tree/<revision>" or "revision/<revision>"
        _, _, rest = (
            path.removeprefix("api/models/").removeprefix(f"{self.hub.name}").lstrip("/").partition("/")
        )
        revision, _, name = rest.partition("/")
        if revision not in ("", "main", COMMIT):
            return self._refuse(404, "RevisionNotFound", with_body=with_body)
        if path.startswith("api/"):
            return self._list(path, with_body=with_body)
        if not (self.hub.folder / name).is_file():
            return self._refuse(404, "EntryNotFound", with_body=with_body)
        return self._send_file(name, with_body=with_body)

    def _list(self, path: str, *, with_body: bool) -> None:
        names = sorted(file.name for file in self.hub.folder.iterdir())
        tree = [{"type": "file", "path": name, "size": 0, "oid": "0" * 40} for name in names]
        about = {"id": self.hub.name, "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
        self._send(200, json.dumps(tree if "/tree/" in path else about).encode(), {}, with_body=with_body)

    def _send_file(self, name: str, *, with_body: bool) -> None:
        content = (self.hub.folder / name).read_bytes()
        if with_body and name.endswith(".safetensors") and self.hub.stalled is not None:
            self.hub.stalled.wait()
        etag = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
        if with_body:
            self.hub.downloads.append(name)  # before whoever asks can go on
        self._send(200, content, etag, with_body=with_body)

    def _refuse(self, status: int, code: str, *, with_body: bool) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code}, with_body=with_body)

    def _send(self, status: int, body: bytes, headers: dict[str, str], *, with_body: bool) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), "X-Repo-Commit": COMMIT, **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@contextmanager
def fake_hub(name: str, folder: Path) -> Iterator[FakeHub]:
    """Serve ``folder`` as the repository ``name``, on a free port, until the context ends."""
    hub = FakeHub(name, folder)
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield hub
        finally:
            if hub.stalled is not None:
                hub.stalled.set()
            server.shutdown()
            thread.join()
