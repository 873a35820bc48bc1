"""How the signing program is called and understood; a script stands in for it."""

import json
import sys
import textwrap
from pathlib import Path

import pytest

from services.authority.certificates import Signed, Subject
from services.authority.nebula_cert import NebulaCert
from services.common.errors import Broken

STAND_IN = """
    import json, pathlib, stat, sys
    command, *rest = sys.argv[1:]
    pairs = rest[1:] if rest[0] == "-json" else rest
    options = dict(zip(pairs[::2], pairs[1::2]))
    folders = [pathlib.Path(v).parent for k, v in options.items() if k in ("-path", "-out-crt")]
    pathlib.Path(LOG).open("a").write(json.dumps({
        "command": command, "options": options, "modes": [stat.S_IMODE(f.stat().st_mode) for f in folders],
    }) + "\\n")
    for name in ("-out-crt", "-out-key"):
        if name in options:
            pathlib.Path(options[name]).write_text(name + "\\n")
    if command == "print":
        print(PRINTED)
    if command == FAILS:
        sys.exit("Error: root certificate is expired\\nmore")
"""
TIMES = {"notBefore": "2026-11-24T07:42:03+01:00", "notAfter": "2026-11-24T07:43:03+01:00"}
GOOD = {"details": TIMES, "fingerprint": "09e9"}


class StandIn:
    """An executable that does as it is told and notes its arguments."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        self.path = folder / "nebula-cert"
        self.write()

    def write(self, printed: str = json.dumps(GOOD), fails: str = "") -> None:
        head = f"#!{sys.executable}\nLOG, PRINTED, FAILS = {str(self.log)!r}, {printed!r}, {fails!r}\n"
        self.path.write_text(head + textwrap.dedent(STAND_IN))
        self.path.chmod(0o755)

    def calls(self) -> list[dict]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
def stand_in(tmp_path: Path) -> StandIn:
    return StandIn(tmp_path)


@pytest.fixture
def program(stand_in: StandIn) -> NebulaCert:
    return NebulaCert(str(stand_in.path))


def test_an_authority_is_made_by_flags_of_version_1_9(program: NebulaCert, stand_in: StandIn) -> None:
    assert program.make_ca("pool", 3600) == ("-out-crt\n", "-out-key\n")

    (call,) = stand_in.calls()
    assert call["command"] == "ca"
    assert call["options"].keys() == {"-name", "-duration", "-out-crt", "-out-key"}
    assert (call["options"]["-name"], call["options"]["-duration"]) == ("pool", "3600s")


def test_a_node_s_certificate_is_signed_in_a_folder_that_nobody_else_enters(
    program: NebulaCert, stand_in: StandIn
) -> None:
    signed = program.sign(("crt", "key"), Subject("pub", "alice", "10.77.0.5/16", ("member", "worker")), 60)

    assert signed == Signed("-out-crt\n", "09e9", 1795502523, 1795502583)
    sign, _ = stand_in.calls()
    shown = {name: sign["options"][name] for name in ("-name", "-ip", "-groups", "-duration")}
    assert shown == {"-name": "alice", "-ip": "10.77.0.5/16", "-groups": "member,worker", "-duration": "60s"}
    assert sign["modes"] == [0o700]
    assert not Path(sign["options"]["-ca-key"]).parent.exists()


def test_what_the_program_says_is_passed_on_in_one_line(program: NebulaCert, stand_in: StandIn) -> None:
    stand_in.write(fails="sign")

    with pytest.raises(Broken, match=r"^running nebula-cert|running .*: root certificate is expired$"):
        program.sign(("crt", "key"), Subject("pub", "a", "10.0.0.1/8", ("seed",)), 60)
    (call,) = stand_in.calls()
    assert not Path(call["options"]["-ca-key"]).parent.exists()


@pytest.mark.parametrize(
    "printed", ["", "no", "[]", "{}", '{"details": {"notAfter": 7}, "fingerprint": "a"}']
)
def test_an_answer_of_another_version_is_broken(program: NebulaCert, stand_in: StandIn, printed: str) -> None:
    stand_in.write(printed)

    with pytest.raises(Broken, match=r"printed what is not understood — install Nebula 1\.9"):
        program.read("pem")


def test_a_program_that_is_not_there_is_said() -> None:
    with pytest.raises(Broken, match="running no-such-program ca: No such file"):
        NebulaCert("no-such-program").make_ca("pool", 60)
