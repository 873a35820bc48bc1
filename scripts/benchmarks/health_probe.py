"""Runs in the tests' environment: how the health exporter takes a large swarm, and how the reference's way does.

The swarm is described in ``health_swarm``. Prints one line of JSON, see ``Measured``.
"""

import services.swarm  # isort: skip  # noqa: F401 - lets Petals be imported

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from hivemind import DHT
from hivemind.dht import DHTNode
from hivemind.p2p import PeerID
from hivemind.proto import runtime_pb2
from petals.data_structures import RemoteSpanInfo, ServerState
from petals.server.handler import TransformerConnectionHandler
from petals.utils.dht import _get_remote_module_infos, compute_spans
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from scripts.benchmarks.health_swarm import BLOCKS, MODELS, large_swarm
from services.swarm.dht import start_client
from services.swarm.directory import Directory
from services.swarm.processes import end_children

ROUNDS = 3
_PERIOD = 5.0
_WATCH_SECONDS = 25.0
"""How long metrics are asked for again and again; several looks happen in between."""
_START_SECONDS = 120


@dataclass(frozen=True)
class Measured:
    """What was measured.

    Attributes:
        look: seconds of one look of ours, median.
        reference: seconds in which the reference's way fetches everything and renders it, median.
        update: seconds of a look as the running exporter says.
        page: seconds from asking for the page to its last byte, the slowest.
        metrics: the same of ``/metrics``, the slowest of all that were asked for without a pause.
        scrapes: how many those were.
        page_bytes: size of the page.
        memory: bytes of all processes of the exporter, shared ones counted once.
    """

    look: float
    reference: float
    update: float
    page: float
    metrics: float
    scrapes: int
    page_bytes: int
    memory: int


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder, large_swarm(Path(folder)) as peers:
        ours, theirs = _compare(peers)
        with _exporter(peers, Path(folder)) as (url, process):
            update = json.loads(_get(f"{url}/api/v2/state")[1])["update_duration"]
            pages = [_get(f"{url}/") for _ in range(ROUNDS)]
            scrapes = _scrape(f"{url}/metrics")
            memory = _memory(process)
        measured = Measured(
            look=ours,
            reference=theirs,
            update=update,
            page=max(seconds for seconds, _ in pages),
            metrics=max(scrapes),
            scrapes=len(scrapes),
            page_bytes=len(pages[0][1]),
            memory=memory,
        )
    sys.stdout.write(json.dumps(asdict(measured)) + "\n")
    sys.stdout.flush()
    end_children()
    os._exit(0)  # hivemind's threads of events outlive their table


def _compare(peers: Sequence[str]) -> tuple[float, float]:
    directory, table = Directory(peers), start_client(peers)
    ours, theirs = [], []
    for _ in range(ROUNDS):
        begin = time.monotonic()
        models = directory.look().models
        directory.reach([server.peer_id for model in models for server in model.servers][:128])
        ours.append(time.monotonic() - begin)
        begin = time.monotonic()
        _as_the_reference(table)
        theirs.append(time.monotonic() - begin)
    directory.close()
    table.shutdown()
    return statistics.median(ours), statistics.median(theirs)


def _as_the_reference(table: DHT) -> str:
    """Fetch every block of every model at once, call every server at once, then draw a row for each server."""
    spans, reached = table.run_coroutine(_fetch_and_call)
    rows = [
        f"<tr><td>{peer}</td>"
        + "".join(f'<td class="{reached.get(peer)}">●</td>' for _ in range(span.start, span.end))
        + "</tr>"
        for peer, span in spans
    ]
    return "\n".join(rows)


async def _fetch_and_call(
    dht: DHT, node: DHTNode
) -> tuple[list[tuple[PeerID, RemoteSpanInfo]], dict[PeerID, bool]]:
    # The keys of so many blocks do not fit into a question through the pipe of hivemind's process
    uids = [f"model-{number}-hf.{block}" for number in range(MODELS) for block in range(BLOCKS)]
    infos = await _get_remote_module_infos(dht, node, uids, None, None, latest=True)
    spans: list[tuple[PeerID, RemoteSpanInfo]] = []
    for first in range(0, len(infos), BLOCKS):
        spans += compute_spans(infos[first : first + BLOCKS], min_state=ServerState.OFFLINE).items()
    online = [peer for peer, span in spans if span.state == ServerState.ONLINE]
    reached = await asyncio.gather(*(_reaches(node, peer) for peer in online))
    return spans, dict(zip(online, reached, strict=True))


async def _reaches(node: DHTNode, peer: PeerID) -> bool:
    try:
        async with asyncio.timeout(5):
            stub = TransformerConnectionHandler.get_stub(node.p2p, peer)
            await stub.rpc_info(runtime_pb2.ExpertUID())
    except Exception:
        # As the reference does: whatever happens, the peer is not reached
        return False
    return True


@contextmanager
def _exporter(peers: Sequence[str], folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    environment = {
        **os.environ,
        "CALYX_INITIAL_PEERS": " ".join(peers),
        "CALYX_HEALTH_HOST": "127.0.0.1",
        "CALYX_HEALTH_LISTEN_PORT": str(port),
        "CALYX_HEALTH_UPDATE_PERIOD": str(_PERIOD),
        "CALYX_HEALTH_HISTORY_FILE": str(folder / "history.sqlite3"),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "services.health"], env=environment, stdout=sys.stderr, stderr=sys.stderr
    )
    try:
        waiting = Retrying(
            retry=retry_if_exception_type(OSError),
            wait=wait_fixed(0.5),
            stop=stop_after_delay(_START_SECONDS),
        )
        waiting(lambda: _get(f"http://127.0.0.1:{port}/healthz"))
        yield f"http://127.0.0.1:{port}", psutil.Process(process.pid)
    finally:
        for one in (*psutil.Process(process.pid).children(recursive=True), process):
            one.kill()
        process.wait()


def _get(url: str) -> tuple[float, bytes]:
    begin = time.monotonic()
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=30) as answer:
        content: bytes = answer.read()
    return time.monotonic() - begin, content


def _scrape(url: str) -> list[float]:
    """Ask for metrics ten times a second, whatever the exporter does meanwhile."""
    seconds: list[float] = []
    over = threading.Event()
    threading.Timer(_WATCH_SECONDS, over.set).start()
    while not over.wait(0.1):
        seconds.append(_get(url)[0])
    return seconds


def _memory(process: psutil.Process) -> int:
    """Return the memory of a process and its children, with what they share counted once."""
    family = [process, *process.children(recursive=True)]
    return sum(int(one.memory_full_info().pss) for one in family)


if __name__ == "__main__":
    main()
