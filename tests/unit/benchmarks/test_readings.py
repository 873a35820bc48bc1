"""What benchmarks read out of other programs' output."""

import json

import pytest

from scripts.benchmarks.container_stats import Usage, read_stats
from scripts.benchmarks.generation import longest_gap
from scripts.benchmarks.latency import median_echo
from scripts.benchmarks.machine import free_ports
from scripts.benchmarks.pool import differing, moment_of
from services.common.errors import Broken, Unavailable


@pytest.mark.parametrize(
    ("cpu", "memory", "usage"),
    [
        ("0.00%", "0B / 0B", Usage(0, 0)),
        ("172.31%", "1.5GiB / 16GiB", Usage(172.31, 1.5 * 1024**3)),
        ("0.5%", "668KiB / 23.54GiB", Usage(0.5, 668 * 1024)),
    ],
)
def test_stats_of_a_container(cpu: str, memory: str, usage: Usage) -> None:
    assert read_stats(json.dumps({"CPUPerc": cpu, "MemUsage": memory}) + "\n") == usage


@pytest.mark.parametrize(
    "line",
    [
        "",
        "nothing",
        "{}",
        '{"CPUPerc": "1%", "MemUsage": "-- / --"}',
        '{"CPUPerc": "1%", "MemUsage": "1XB / 1XB"}',
    ],
)
def test_stats_in_another_form(line: str) -> None:
    with pytest.raises(Broken, match="reading docker stats"):
        read_stats(line)


def test_the_longest_gap_between_tokens() -> None:
    assert longest_gap([10.0, 10.5, 13.5, 13.75]) == 3.0


@pytest.mark.parametrize("moments", [[], [1.0]])
def test_an_answer_without_gaps(moments: list[float]) -> None:
    with pytest.raises(Unavailable, match="less than two"):
        longest_gap(moments)


def test_the_median_echo() -> None:
    output = "".join(
        f"64 bytes from 10.77.0.1: icmp_seq=1 ttl=64 time={time} ms\n" for time in ("0.41", "9", "0.43")
    )

    assert median_echo(output + "rtt min/avg/max/mdev = 0.41/3.28/9/4.0 ms\n") == 0.43


def test_no_echo() -> None:
    with pytest.raises(Unavailable, match="ping wrote no time"):
        median_echo("100 packets transmitted, 0 received, 100% packet loss\n")


def test_the_moment_of_a_line() -> None:
    lines = [(0.5, "[16:28:14] Token format is correct"), (7.25, "[16:28:21] vpn: the node's network is up")]

    assert moment_of("vpn: the node's network is up", lines) == 7.25
    with pytest.raises(Unavailable, match="did not write 'server: "):
        moment_of("server: ", lines)


@pytest.mark.parametrize(
    ("one", "other", "count"), [("", "", 0), ("same", "same", 0), ("same", "some", 3), ("sam", "same", 1)]
)
def test_how_far_texts_differ(one: str, other: str, count: int) -> None:
    assert differing(one, other) == differing(other, one) == count


def test_ports_are_all_different() -> None:
    assert len(set(free_ports(20))) == 20
