"""The seed's authority, asked by its own command line inside its container: it has no port for this."""

import json
from typing import Any

from scripts.helper.context import Context, command_line
from scripts.helper.engine import Engine
from services.common.errors import Refused, Unavailable


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
        running = [
            container
            for container in self._engine.containers(self._context.project)
            if container.service == "authority" and container.state == "running"
        ]
        if not running:
            raise Unavailable(
                "the pool's authority does not run", command_line(self._context.project, "up") + " starts it"
            )
        done = self._engine.execute(running[0].identity, ["python3", "-m", "services.authority", *words])
        lines = done.output.strip().splitlines()
        if not done.ok:
            raise Refused(lines[-1].removeprefix("authority: ") if lines else f"it ended with {done.code}")
        return json.loads(done.output)
