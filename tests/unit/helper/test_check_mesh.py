"""What `doctor` says of the ways between this node and the others."""

from dataclasses import replace

import pytest

from scripts.helper.checks import Check, check_mesh
from services.common.node_report import NodeReport, PeerReport

SEED = PeerReport("seed", "10.77.0.1", "direct", "203.0.113.7:4242", "running", 0.5)
NODE = NodeReport(
    "home", "attic", "worker", "10.77.0.5", "203.0.113.7:7443", 0.0, None, True, "good", [SEED], seen=True
)


def test_everything_is_reached() -> None:
    assert check_mesh(NODE) == [
        Check("authority", "ok", "203.0.113.7:7443 answers"),
        Check("this node", "ok", "the pool sees attic at 10.77.0.5"),
        Check("way to seed", "ok", "direct by 203.0.113.7:4242: an echo took 0.5 ms"),
    ]


@pytest.mark.parametrize(
    ("peer", "verdict", "detail"),
    [
        (
            replace(SEED, way="relayed", through="seed", milliseconds=1.25),
            "ok",
            "relayed by seed: an echo took 1.2 ms",
        ),
        (replace(SEED, milliseconds=None), "fail", "no echo, though there is a tunnel"),
        (
            replace(SEED, way="none", through="", milliseconds=None),
            "fail",
            "no tunnel: no direct way was found",
        ),
        (replace(SEED, state="gone", milliseconds=None), "warn", "that machine is gone"),
        (replace(SEED, state="paused"), "ok", "direct"),
    ],
)
def test_each_way(peer: PeerReport, verdict: str, detail: str) -> None:
    *_, check = check_mesh(replace(NODE, peers=[peer]))

    assert check.verdict == verdict
    assert detail in check.detail
    assert check.verdict == "ok" or check.remedy


def test_an_authority_that_does_not_answer() -> None:
    found = check_mesh(
        replace(NODE, peers=[], seen=None, problems=["the authority does not answer — check it"])
    )

    assert [(check.name, check.verdict) for check in found] == [("authority", "fail")]


def test_a_node_that_the_pool_misses() -> None:
    assert check_mesh(replace(NODE, seen=False))[1].verdict == "warn"
