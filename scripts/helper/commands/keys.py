"""``calyx keys``: who may call the endpoint of this machine, and how much."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from scripts.helper.commands.members import moment, table
from scripts.helper.context import Context, command_line
from scripts.helper.engine import Engine
from scripts.helper.one_off import Surroundings
from services.common.errors import Refused, Unavailable

_IMAGE = "calyx/petals:endpoint"
_COMMAND = ("python", "-m", "services.endpoint.access")
_USER = "10001"
_EXPORTED = "/tmp/keys.json"  # noqa: S108 - in a container of its own


def run(context: Context, parsed: argparse.Namespace) -> int:
    """Make, list or revoke API keys, or ask for none any more, as the command line said."""
    keys = Keys(context, Engine.connect(context.environment))
    match parsed.action:
        case "create":
            made = keys.ask("create", parsed.name, *_limits(parsed))
            context.steps.step(f"The API key {made['name']}, shown only now:")
            context.steps.detail(made["key"])
            context.steps.detail("programs send it as their API key; requests without a key are refused now")
        case "revoke":
            left = keys.ask("revoke", parsed.name)["keys"]
            context.steps.step(f"The API key {parsed.name} is good for nothing any more")
            if not left:
                off = command_line(context.project, "keys off")
                context.steps.detail(f"no key is left, so nobody is let in; `{off}` asks for none again")
        case "off":
            keys.ask("off")
            context.steps.step("All API keys are forgotten; the endpoint asks for none")
        case _:
            _show(keys.ask("list"), as_json=parsed.json)
    return 0


class Keys:
    """The keys of the endpoint on this machine. They are in a volume, which the endpoint itself can only read.

    Args:
        context: names the project.
        engine: runs what writes them.

    Raises:
        Refused: this machine has no endpoint of its own.
        Unavailable: the stack was never started.
    """

    def __init__(self, context: Context, engine: Engine) -> None:
        if context.pool is not None and context.pool.role == "worker" and not context.pool.endpoint:
            raise Refused(
                f"this machine asks the endpoint of the seed of {context.pool.name}", "make keys on the seed"
            )
        self._volume = f"{context.project}_access"
        if self._volume not in engine.volumes(context.project):
            raise Unavailable(
                f"{context.project} was never started here",
                f"run {command_line(context.project, 'up')} first",
            )
        self._engine = engine

    def ask(self, *words: str, files: Mapping[str, bytes] | None = None) -> Any:
        """Return the JSON that a command of ``python -m services.endpoint.access`` prints.

        Args:
            words: the command.
            files: place in its container → content, which it can read.

        Raises:
            Refused: it does not do that; with its reason.
        """
        done = self._engine.run_once(
            _IMAGE,
            [*_COMMAND, *words],
            Surroundings(volumes={self._volume: "/access"}, files=files or {}, user=_USER),
        )
        lines = done.output.strip().splitlines()
        if not done.ok:
            raise Refused((lines[-1] if lines else f"it ended with {done.code}").removeprefix("keys: "))
        return json.loads(lines[-1])

    def export(self) -> bytes | None:
        """Return all that is kept of the keys, which are only their hashes; ``None`` if there never was one.

        Raises:
            Refused: the file of keys is broken.
        """
        ring = self.ask("export")
        return None if ring is None else json.dumps(ring).encode()

    def replace(self, exported: bytes) -> None:
        """Put what ``export`` returned in the place of the keys that are here.

        Raises:
            Refused: it is something else.
        """
        self.ask("import", _EXPORTED, files={_EXPORTED: exported})


def _limits(parsed: argparse.Namespace) -> Sequence[str]:
    options = {
        "--requests-per-minute": parsed.requests_per_minute,
        "--concurrency": parsed.concurrency,
        "--expires": parsed.expires,
    }
    return [word for name, value in options.items() if value is not None for word in (name, str(value))]


def _show(found: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    elif not found["required"]:
        sys.stdout.write("The endpoint asks for no key.\n")
    else:
        sys.stdout.write("\n".join(render(found["keys"])) + "\n")


def render(keys: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each key below a heading."""
    rows = [("NAME", "CREATED", "EXPIRES", "PER MINUTE", "AT ONCE")]
    rows += [
        (
            key["name"],
            moment(key["created_at"]),
            moment(key["expires_at"]),
            str(key["requests_per_minute"] or "any"),
            str(key["concurrency"] or "any"),
        )
        for key in keys
    ]
    return table(rows)
