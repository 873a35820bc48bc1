"""How fast one stream is: through the endpoint, through the swarm alone, and without any swarm."""

import json
import subprocess
from pathlib import Path

from scripts.benchmarks.figures import Figure
from services.common.errors import Unavailable

_PROBE = Path(__file__).with_name("stream_probe.py")


def measure(root: Path, project: str) -> list[Figure]:
    """Return tokens a second and their ratios, measured in turns inside the endpoint's container.

    Raises:
        Unavailable: no stack of ``project`` answers.
    """
    command = ["docker", "compose", "--project-name", project, "exec", "-T", "endpoint", "python", "-"]
    with _PROBE.open() as script:
        done = subprocess.run(command, cwd=root, stdin=script, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no output"]
        raise Unavailable(f"measuring a stream: {lines[-1]}", "start the stack: ./scripts/calyx up")
    speed = json.loads(done.stdout.splitlines()[-1])
    endpoint, session, plain = speed["endpoint"], speed["session"], speed["plain"]
    return [
        Figure("one stream through the endpoint", endpoint, "tokens/s"),
        Figure("one stream through the swarm's session, no endpoint", session, "tokens/s"),
        Figure("one stream of plain transformers, same type", plain, "tokens/s"),
        Figure("what the endpoint adds to a token of that session", speed["endpoint_adds_ms"], "ms", 2),
        Figure("endpoint against the swarm's session", speed["endpoint_to_session"], "x", 0.9),
        Figure("endpoint against plain transformers", speed["endpoint_to_plain"], "x", 0.75),
    ]
