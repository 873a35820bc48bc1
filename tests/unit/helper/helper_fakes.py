"""A machine that tests arrange by hand: its programs, its time, its containers, its terminal."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from scripts.helper.containers import Container
from scripts.helper.progress import Steps
from scripts.helper.shell import NOT_FOUND, Finished
from scripts.helper.stack import Timer


class FakeShell:
    """Programs that answer what they were told to; every call is kept.

    ``answers`` maps the beginning of a command line to what it writes, or to how it ends.
    """

    def __init__(self, answers: Mapping[str, str | Finished] | None = None, installed: str = "") -> None:
        self.answers = dict(answers or {})
        self.installed = set(installed.split())
        self.calls: list[str] = []
        self.spawned: list[str] = []
        self.environments: list[dict[str, str]] = []
        self.when: dict[str, Callable[[], None]] = {}

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
        limit: float | None = None,
    ) -> Finished:
        line = " ".join(argv)
        self.calls.append(line)
        self.environments.append(dict(env or {}))
        for beginning, happens in self.when.items():
            if line.startswith(beginning):
                happens()
        for beginning, answer in self.answers.items():
            if line.startswith(beginning):
                finished = answer if isinstance(answer, Finished) else Finished(0, answer)
                for output in finished.output.splitlines() if on_line else ():
                    on_line(output)
                return finished
        return Finished(NOT_FOUND, f"{argv[0]}: not found")

    def spawn(self, argv: Sequence[str], log: Path) -> None:
        self.spawned.append(" ".join(argv))

    def find(self, name: str) -> str | None:
        return f"/usr/bin/{name}" if name in self.installed else None


class FakeTime:
    """Passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.on_sleep: Callable[[], None] = lambda: None

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        self.on_sleep()

    def timer(self, limit: float) -> Timer:
        return Timer(self.seconds + limit, now=lambda: self.seconds, sleep=self.sleep)


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Written(Steps):
    """Steps whose text tests read."""

    def __init__(self, stream: io.StringIO | None = None) -> None:
        self.stream = stream or io.StringIO()
        super().__init__(self.stream, clock=lambda: datetime(2026, 1, 1, 16, 28, 14))

    @property
    def text(self) -> str:
        return self.stream.getvalue()


def container(service: str, state: str = "running", **values: object) -> Container:
    ordinary = Container(identity=f"id-{service}", service=service, state=state, health="healthy")
    return replace(ordinary, **values)  # type: ignore[arg-type]


def moment(second: int) -> datetime:
    return datetime(2026, 1, 1, 12, 0, second, tzinfo=UTC)
