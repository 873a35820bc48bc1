"""BuildKit's plain progress, reduced to what a person wants to see: one line per step that really ran.

::

    #7 [server wheels 2/3] RUN pip install -r requirements.txt      a step is announced
    #7 CACHED                                                       … and was built before: nothing to show
    #7 0.812 Collecting torch                                       … or works
    #7 DONE 41.2s                                                   … and ends
"""

import re
from dataclasses import dataclass

from scripts.helper.progress import Steps

_HEADER = re.compile(r"^#(\d+) \[(.+?)\] (.+)$")
_DONE = re.compile(r"^#(\d+) DONE ([\d.]+)s$")
_CACHED = re.compile(r"^#(\d+) CACHED$")
_WORKING = re.compile(r"^#(\d+) [\d.]+ (.*)$")
_SHOWN = 90


@dataclass
class _Vertex:
    title: str
    announced: bool = False


class BuildProgress:
    """Feeds on the lines of ``docker compose build --progress plain``.

    Args:
        steps: where the reduced lines go.
        shortest: seconds that a step must have taken to be worth a line once it is done.
    """

    def __init__(self, steps: Steps, shortest: float = 3.0) -> None:
        self._steps = steps
        self._shortest = shortest
        self._vertices: dict[str, _Vertex] = {}

    def feed(self, line: str) -> None:
        """Take one line."""
        if match := _HEADER.match(line):
            number, where, instruction = match.groups()
            if "internal" not in where.split():
                title = _title(where, instruction)
                self._vertices.setdefault(number, _Vertex(title))
        elif match := _CACHED.match(line):
            self._vertices.pop(match[1], None)
        elif match := _DONE.match(line):
            vertex = self._vertices.pop(match[1], None)
            seconds = float(match[2])
            if vertex and seconds >= self._shortest:
                self._steps.detail(f"{vertex.title} ({seconds:.0f} s)")
        elif (match := _WORKING.match(line)) and (vertex := self._vertices.get(match[1])):
            if not vertex.announced:
                self._steps.begin(vertex.title)
                vertex.announced = True
            self._steps.live(f"{vertex.title}: {match[2]}")


def _title(where: str, instruction: str) -> str:
    """Return ``server: RUN pip install …`` for ``server wheels 2/3`` and its instruction."""
    image = where.split(maxsplit=1)[0]
    text = re.sub(r"--mount=\S+\s+", "", " ".join(instruction.split()))
    full = f"{image}: {text}"
    return full if len(full) <= _SHOWN else full[: _SHOWN - 1] + "…"
