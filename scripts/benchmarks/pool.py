"""A pool of three machines on this one: joining, the tunnel, losing a server, pausing, a crowd at the authority."""

import re
import time
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from tenacity import Retrying, retry_if_exception_type, stop_after_delay

from scripts.benchmarks import enrolments, latency
from scripts.benchmarks.container_stats import usage
from scripts.benchmarks.figures import Figure
from scripts.benchmarks.generation import generate, generate_while, longest_gap
from scripts.benchmarks.machine import SEED_ADDRESS, Machine, docker, machines
from services.common.errors import Unavailable
from services.common.settings import SwarmSettings
from services.common.token import JoinToken

_CONNECTED = "vpn: the node's network is up"
_SERVING = "server: server holds its blocks"
_NAME = "bench"
_KILL_AFTER = 40
"""Tokens of an answer that have come when its server is looked for and killed."""
_FREE_SECONDS, _ANSWER_SECONDS = 60.0, 180.0


def measure(root: Path, project: str) -> list[Figure]:
    """Return figures of a pool that is made for this and removed afterwards; takes about ten minutes.

    Raises:
        Unavailable: a command failed; with its last line.
    """
    with machines(root, f"{project}-bench", ("seed", "attic", "cellar")) as (seed, attic, cellar):
        seed.calyx("create", _NAME, "--address", SEED_ADDRESS, "--no-server", "--yes")
        token = invite(seed, uses=2)
        figures = _joins([attic, cellar], token)
        figures += latency.measure(seed, attic, cellar)
        figures += _failover(seed, [attic, cellar])
        figures += _pause(attic)
        crowd = invite(seed, uses=enrolments.NODES + enrolments.AT_ONCE)
        return figures + enrolments.measure(JoinToken.parse(crowd))


def invite(seed: Machine, uses: int) -> str:
    """Return a new token that lets so many machines in."""
    made = seed.calyx("token", "create", "--uses", str(uses))
    found = re.search(r"calyx1_\S+", made)
    if found is None:
        raise Unavailable("making a token: the helper printed none")
    return found[0]


def _joins(workers: Sequence[Machine], token: str) -> list[Figure]:
    """Let workers join one after another, each with the whole model; the slowest counts."""
    connected, serving = [], []
    for worker in workers:
        name = worker.project.rpartition("-")[2]
        lines = worker.timed("join", token, "--name", name, "--yes")
        connected.append(moment_of(_CONNECTED, lines))
        serving.append(moment_of(_SERVING, lines))
    return [
        Figure("join to connected", max(connected), "s", 20),
        Figure("join to the first served block", max(serving), "s", 60),
    ]


def moment_of(text: str, lines: Sequence[tuple[float, str]]) -> float:
    """Return the second at which a command wrote a line with a text.

    Raises:
        Unavailable: it wrote none.
    """
    for second, line in lines:
        if text in line:
            return second
    raise Unavailable(f"measuring: the helper did not write {text!r}")


def _failover(seed: Machine, workers: Sequence[Machine]) -> list[Figure]:
    """Kill the server that an answer comes from, and bring it back."""
    model = SwarmSettings.load().model
    servers = [worker.container("server") for worker in workers]

    def kill_the_busy_one() -> None:
        docker("kill", "--signal", "KILL", max(servers, key=lambda server: usage(server).cpu))

    _until_it_answers(seed.endpoint_port, model)
    calm = generate(seed.endpoint_port, model)
    disturbed = generate_while(seed.endpoint_port, model, _KILL_AFTER, kill_the_busy_one)
    if len(disturbed.moments) != len(calm.moments):
        raise Unavailable(
            f"measuring a failover: {len(disturbed.moments)} tokens came instead of {len(calm.moments)}"
        )
    for worker in workers:
        worker.calyx("resume")
    before, after = longest_gap(calm.moments), longest_gap(disturbed.moments)
    return [
        Figure("longest gap between tokens", before, "s"),
        Figure("longest gap when the server is killed", after, "s"),
        Figure("added by a failover", after - before, "s", 5),
        Figure("characters that differ after a failover", differing(calm.text, disturbed.text), "chars"),
    ]


def _until_it_answers(port: int, model: str) -> None:
    """Generate once, so that what is done only once is done; servers may still be finding each other."""
    retrying = Retrying(
        retry=retry_if_exception_type(Unavailable), stop=stop_after_delay(_ANSWER_SECONDS), reraise=True
    )
    retrying(generate, port, model)


def differing(one: str, other: str) -> int:
    """Return how many characters of the longer text come after the beginning that both share."""
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
    return max(len(one), len(other)) - shared


def _pause(worker: Machine) -> list[Figure]:
    """Pause a worker with a server that serves, and resume it."""
    server = worker.container("server")
    before = usage(server).memory
    begin = time.monotonic()
    with worker.started("pause") as pausing:
        left, seconds = before, 0.0
        while left > 0.05 * before and seconds < _FREE_SECONDS:
            left = usage(server).memory
            seconds = time.monotonic() - begin
        pausing.communicate()
    if pausing.returncode:
        raise Unavailable("measuring a pause: it failed", f"./scripts/calyx --project {worker.project} pause")
    begin = time.monotonic()
    worker.calyx("resume")
    return [
        Figure("memory of the server", before / 1e6, "MB"),
        Figure("memory that a pause leaves taken", 100 * left / before, "%", 5),
        Figure("pause to memory freed", seconds, "s", 10),
        Figure("resume to serving again", time.monotonic() - begin, "s"),
    ]
