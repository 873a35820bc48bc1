from pathlib import Path

import pytest

from scripts.helper.failures import explain, telling_line
from services.common.errors import Broken, CalyxError, InvalidSetting, Refused, Unavailable


@pytest.mark.parametrize(
    ("output", "kind", "words"),
    [
        ("#9 ERROR: write /x: no space left on device", Refused, "no space is left"),
        (
            "driver failed programming external connectivity on endpoint calyx-vpn-1: "
            "Bind for 127.0.0.1:8000 failed: port is already allocated",
            Refused,
            "port 8000 is taken",
        ),
        (
            "Ports are not available: exposing port TCP 127.0.0.1:8080 -> 0.0.0.0:0: "
            "listen tcp 127.0.0.1:8080: bind: address already in use",
            Refused,
            "port 8080 is taken",
        ),
        (
            'error gathering device information while adding custom device "/dev/net/tun": no such file',
            Refused,
            "modprobe tun",
        ),
        (
            'Error response from daemon: could not select device driver "nvidia" with capabilities: [[gpu]]',
            Refused,
            "container toolkit",
        ),
        (
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock.",
            Unavailable,
            "stopped answering",
        ),
        (
            "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock",
            Refused,
            "group 'docker'",
        ),
        ("ssl.SSLCertVerificationError: certificate verify failed", Refused, "CALYX_CA_BUNDLE"),
        ("ERROR: No matching distribution found for torch==2.13", Unavailable, "CALYX_WHEELHOUSE"),
        ("ERROR: failed to solve: process did not complete: exit code: 137", Refused, "out of memory"),
        (
            'failed to read /x/.env: line 3: unexpected character "!" in variable name',
            InvalidSetting,
            "line 3",
        ),
    ],
)
def test_known_failures_say_what_to_do(output: str, kind: type[CalyxError], words: str) -> None:
    error = explain("starting", f"some line before\n{output}\nsome line after")
    assert type(error) is kind
    assert words in str(error)
    assert "\n" not in str(error)
    assert error.remedy


def test_an_unknown_failure_keeps_its_own_words_and_names_the_log() -> None:
    error = explain("building", "fine\nERROR: the moon is in the way\nbye", Path("/var/x.log"))
    assert type(error) is Broken
    assert str(error) == "building: ERROR: the moon is in the way — the whole output is in /var/x.log"


def test_a_failure_without_words() -> None:
    assert telling_line("\n \n") == "it said nothing"


def test_without_a_telling_line_the_last_one_tells() -> None:
    assert telling_line("one\ntwo\n") == "two"
