"""The Python example of the page that people come from works; what it is told is where, and which model."""

import ast
import re
import sys
from pathlib import Path

from tests.integration.stack.pool import MODEL, Pool, run

EXAMPLE = Path(__file__).with_name("seed_example.py")


def test_the_example_prints_text_and_its_speed(pool: Pool, tmp_path: Path) -> None:
    theirs = EXAMPLE.read_text()
    mine = theirs.replace('"192.168.68.67:31220"', f'"{pool.endpoint}"', 1)
    mine = mine.replace('"mistralai/Mixtral-8x22B-Instruct-v0.1"', f'"{MODEL}"', 1)
    changed = sum(a != b for a, b in zip(theirs.splitlines(), mine.splitlines(), strict=True))
    program = tmp_path / "example.py"
    program.write_text(mine)

    done = run([sys.executable, program], {"PATH": "/usr/bin:/bin"}, limit=180)

    assert changed == 2
    assert done.code == 0, done.err
    answer, speed = done.out.splitlines()
    printed = re.fullmatch(r"\[[\d.]+ secs\] (\{.+\})", answer)
    assert printed, answer
    told = ast.literal_eval(printed[1])
    assert told["ok"] is True
    assert len(re.findall(r"[a-z]{2,}", told["outputs"])) > 20, "a story has words"
    assert re.fullmatch(r"[\d.]+ tokens/s", speed)
