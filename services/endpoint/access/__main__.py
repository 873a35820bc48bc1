"""``python -m services.endpoint.access``: make, list, revoke and move API keys; what it prints is JSON."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from services.common.durations import seconds
from services.common.errors import CalyxError, InvalidInput
from services.common.settings import EndpointSettings
from services.endpoint.access.keys import KeyFile, KeyRing


def run(arguments: Sequence[str], file: KeyFile, now: float) -> Any:
    """Carry out one command and return what to print.

    Args:
        arguments: of the command line.
        file: the keys.
        now: seconds since the epoch.

    Raises:
        CalyxError: it cannot be done.
    """
    parsed = _parser().parse_args(arguments)
    match parsed.action:
        case "create":
            return _create(parsed, file, now)
        case "export":
            exported = file.read()
            return exported and exported.model_dump()
        case "import":
            file.replace(_exported(Path(parsed.file)))
        case "revoke":
            file.change(lambda ring: ring.without_key(parsed.name))
        case "off":
            file.forget()
    ring = file.read() or KeyRing(required=False)
    return {"required": ring.required, "keys": [one.model_dump(exclude={"hash"}) for one in ring.keys]}


def _create(parsed: argparse.Namespace, file: KeyFile, now: float) -> dict[str, str]:
    try:
        lifetime = None if parsed.expires is None else seconds(parsed.expires)
    except ValueError as error:
        raise InvalidInput(f"--expires: {error}") from None
    made: list[str] = []

    def add(ring: KeyRing) -> KeyRing:
        ring, key = ring.with_key(
            parsed.name,
            now,
            expires_in=lifetime,
            requests_per_minute=parsed.requests_per_minute,
            concurrency=parsed.concurrency,
        )
        made.append(key)
        return ring

    file.change(add)
    return {"name": parsed.name, "key": made[0]}


def _exported(path: Path) -> KeyRing:
    ring = KeyFile(path).read()
    if ring is None:
        raise InvalidInput(f"{path} is not there", "name a file that `export` wrote")
    return ring


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.endpoint.access")
    actions = parser.add_subparsers(dest="action", required=True)
    create = actions.add_parser("create")
    create.add_argument("name")
    create.add_argument("--requests-per-minute", type=int)
    create.add_argument("--concurrency", type=int)
    create.add_argument("--expires")
    actions.add_parser("list")
    actions.add_parser("revoke").add_argument("name")
    actions.add_parser("off")
    actions.add_parser("export")
    actions.add_parser("import").add_argument("file")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Return the exit code: 0, or 1 with one line on what is wrong."""
    try:
        answer = run(arguments, KeyFile(EndpointSettings.load().keys_file), time.time())
    except CalyxError as error:
        sys.stderr.write(f"keys: {error}\n")
        return 1
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
