"""Carrying out what was decided: run a program, write a file, and keep a record of both."""

from dataclasses import dataclass
from pathlib import Path

from scripts.helper.failures import explain
from scripts.helper.install.apt import QUIET_ENVIRONMENT
from scripts.helper.progress import Steps
from scripts.helper.shell import Shell


@dataclass(frozen=True)
class Changes:
    """Changes this machine.

    Attributes:
        shell: runs programs.
        steps: where progress goes.
        log: file that the programs' whole output is added to.
    """

    shell: Shell
    steps: Steps
    log: Path

    def run(self, argv: tuple[str, ...]) -> None:
        """Run a program that asks nothing; what it writes passes by.

        Raises:
            CalyxError: it failed; with the reason that its output gives.
        """
        finished = self.shell.run(argv, env=QUIET_ENVIRONMENT, on_line=self.steps.live)
        self._record(f"$ {' '.join(argv)}\n{finished.output}exit {finished.code}\n")
        if not finished.ok:
            raise explain(f"running {argv[0]}", finished.output, self.log)

    def write(self, path: Path, text: str) -> None:
        """Write a file whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        self.steps.detail(f"wrote {path}")
        self._record(f"wrote {path}:\n{text}")

    def _record(self, text: str) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as file:
            file.write(text)
