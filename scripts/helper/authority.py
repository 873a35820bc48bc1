"""The seed's authority, asked by its own command line inside its container: it has no port for this."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from scripts.helper.backup_file import add_keys
from scripts.helper.containers import Container
from scripts.helper.context import Context, command_line
from scripts.helper.engine import Engine
from scripts.helper.one_off import Surroundings
from scripts.helper.shell import Finished
from services.common.errors import InvalidInput, Refused, Unavailable

_IMAGE = "calyx/authority"
_USER = "10001"
_COMMAND = ["python3", "-m", "services.authority"]
_BACKUP = "/tmp/backup"  # noqa: S108 - in a container of its own
_STOP_SECONDS = 10


class Authority:
    """The authority of the pool whose seed this machine is.

    Args:
        context: names the project.
        engine: runs it.

    Raises:
        Refused: this machine is not the pool's seed.
    """

    def __init__(self, context: Context, engine: Engine) -> None:
        if context.pool is None or context.pool.role != "seed":
            raise Refused("only the pool's seed can do this", "run it on the machine that created the pool")
        self._context, self._engine = context, engine

    def ask(self, *words: str) -> Any:
        """Return the JSON that a command of ``python -m services.authority`` prints.

        Raises:
            Unavailable: the authority does not run.
            Refused: it does not do that; with its reason.
        """
        done = self._engine.execute(self._running().identity, [*_COMMAND, *words])
        _demand(done)
        return json.loads(done.output)

    def backup(self, target: Path, api_keys: bytes | None = None) -> str | None:
        """Write the pool's keys and database to a file that only this user can read.

        Args:
            target: the file.
            api_keys: those of the endpoint, which go into the same file.

        Returns:
            What the backup lacks, if it lacks something.

        Raises:
            InvalidInput: the file is there already.
            Unavailable: the authority does not run.
            Refused: it does not do that; with its reason.
        """
        if target.exists():
            raise InvalidInput(f"{target} is there already", "name another file, or remove that one")
        authority = self._running().identity
        handle, scratch = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.absolute().parent)
        try:
            with os.fdopen(handle, "w+b") as file:
                done = self._engine.execute_into(authority, [*_COMMAND, "backup", "-"], file)
                _demand(done)
                if api_keys is not None:
                    add_keys(file, api_keys)
                file.flush()
                os.fsync(file.fileno())
            os.rename(scratch, target)
        except BaseException:
            os.unlink(scratch)
            raise
        return _last_line(done)

    def restore(self, content: bytes) -> None:
        """Become the authority of a backup; what is there is kept if that fails.

        Raises:
            Refused: it is no backup, or a damaged one.
        """
        running = self._find()
        if running is not None:
            self._engine.stop(running.identity, seconds=_STOP_SECONDS)
        try:
            done = self._engine.run_once(
                _IMAGE,
                [*_COMMAND, "restore", "--replace", _BACKUP],
                Surroundings(
                    volumes={f"{self._context.project}_authority": "/authority"},
                    files={_BACKUP: content},
                    user=_USER,
                ),
            )
            _demand(done)
        finally:
            if running is not None:
                self._engine.start(running.identity)

    def _find(self) -> Container | None:
        found = self._engine.containers(self._context.project)
        return next((c for c in found if c.service == "authority" and c.state == "running"), None)

    def _running(self) -> Container:
        running = self._find()
        if running is None:
            raise Unavailable(
                "the pool's authority does not run", command_line(self._context.project, "up") + " starts it"
            )
        return running


def _demand(done: Finished) -> None:
    if not done.ok:
        raise Refused((_last_line(done) or f"it ended with {done.code}").removeprefix("authority: "))


def _last_line(done: Finished) -> str | None:
    lines = done.output.strip().splitlines()
    return lines[-1] if lines else None
