"""The command line: ``python3 -m services.authority`` serves, with a command it administers the pool."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.authority.administration import Administration
from services.authority.archive import restore, write_backup
from services.authority.authority import Authority, open_authority
from services.authority.serving import serve
from services.authority.state_folder import StateFolder, new_secret_file
from services.authority.tokens import ISSUED_ROLES
from services.common.durations import seconds
from services.common.errors import Broken, InvalidInput
from services.common.settings import AuthoritySettings

_STANDARD = Path("-")
_Command = Callable[[argparse.Namespace, AuthoritySettings], None]


def parser() -> argparse.ArgumentParser:
    """Return what reads the arguments; ``command`` is the function that carries them out."""
    top = argparse.ArgumentParser(prog="python3 -m services.authority", description=__doc__)
    top.set_defaults(command=_serve)
    commands = top.add_subparsers(metavar="COMMAND")

    tokens = commands.add_parser("token", help="make, list, check and revoke tokens")
    actions = tokens.add_subparsers(metavar="ACTION", required=True)
    create = actions.add_parser("create", help="make a token and print it, once")
    create.set_defaults(command=_create_token)
    create.add_argument("--role", choices=ISSUED_ROLES, required=True)
    create.add_argument("--ttl", type=_duration, default="24h", help="such as 90m, 24h or 7d; default 24h")
    create.add_argument("--uses", type=int, default=1, help="how many nodes may enrol with it; default 1")
    actions.add_parser("list", help="every token, as JSON").set_defaults(command=_list_tokens)
    revoke_token = actions.add_parser("revoke", help="make a token worthless")
    revoke_token.set_defaults(command=_revoke_token)
    revoke_token.add_argument("id")
    check = actions.add_parser("check", help="what a token is good for")
    check.set_defaults(command=_check_token)
    check.add_argument("token", help="its text, or - to read it from standard input")

    nodes = commands.add_parser("nodes", help="every node that enrolled")
    nodes.set_defaults(command=_nodes)
    nodes.add_argument("--json", action="store_true")
    revoke = commands.add_parser("revoke", help="take a node out of the pool")
    revoke.set_defaults(command=_revoke_node)
    revoke.add_argument("node", help="its name or its id")
    revoke.add_argument("--reason", default="by the pool's owner")

    shared = commands.add_parser("credits", help="what each node shared, as JSON")
    shared.set_defaults(command=_credits)

    rotate = commands.add_parser("rotate-ca", help="make a new certificate authority for the mesh")
    rotate.set_defaults(command=_rotate)
    backup = commands.add_parser("backup", help="write the keys and the database to one file")
    backup.set_defaults(command=_backup)
    backup.add_argument("file", type=Path, help="- for standard output")
    restoring = commands.add_parser("restore", help="become the authority of a backup")
    restoring.set_defaults(command=_restore)
    restoring.add_argument("file", type=Path, help="- for standard input")
    restoring.add_argument("--replace", action="store_true", help="give up the authority that is there")
    return top


def run(arguments: Sequence[str], settings: AuthoritySettings) -> None:
    """Carry out one command; exits with 2 if ``arguments`` are none.

    Raises:
        CalyxError: it cannot be carried out.
    """
    parsed = parser().parse_args(arguments)
    command: _Command = parsed.command
    try:
        command(parsed, settings)
    except OSError as error:
        raise Broken(f"using {error.filename or 'a file'}: {error.strerror}", "check the disk") from error


def _duration(text: str) -> int:
    try:
        return seconds(text)
    except ValueError as error:
        # argparse repeats the words of this error alone
        raise argparse.ArgumentTypeError(str(error)) from error


def _serve(_: argparse.Namespace, settings: AuthoritySettings) -> None:
    serve(open_authority(settings))


def _create_token(parsed: argparse.Namespace, settings: AuthoritySettings) -> None:
    _print(_administration(settings).create_token(parsed.role, parsed.ttl, parsed.uses))


def _list_tokens(_: argparse.Namespace, settings: AuthoritySettings) -> None:
    _print(_administration(settings).tokens())


def _revoke_token(parsed: argparse.Namespace, settings: AuthoritySettings) -> None:
    _administration(settings).revoke_token(parsed.id)
    _print({"id": parsed.id})


def _check_token(parsed: argparse.Namespace, settings: AuthoritySettings) -> None:
    text = sys.stdin.read() if parsed.token == str(_STANDARD) else parsed.token
    _print(_administration(settings).check_token(text))


def _nodes(parsed: argparse.Namespace, settings: AuthoritySettings) -> None:
    nodes = _administration(settings).nodes()
    if parsed.json:
        _print(nodes)
        return
    rows = [("NAME", "ROLE", "ADDRESS", "STATE", "SEEN", "ID")]
    rows += [
        (one["name"], one["role"], one["address"] or "-", one["state"], _time(one["seen_at"]), one["id"])
        for one in nodes
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def _credits(_: argparse.Namespace, settings: AuthoritySettings) -> None:
    _print(_administration(settings).credits())


def _revoke_node(parsed: argparse.Namespace, settings: AuthoritySettings) -> None:
    _print({"id": _administration(settings).revoke_node(parsed.node, parsed.reason)})


def _rotate(_: argparse.Namespace, settings: AuthoritySettings) -> None:
    _print(_administration(settings).rotate_ca())


def _backup(parsed: argparse.Namespace, settings: AuthoritySettings) -> None:
    authority = open_authority(settings)
    if parsed.file == _STANDARD:
        write_backup(authority, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    else:
        with new_secret_file(parsed.file) as file:
            write_backup(authority, file)
        _print({"file": str(parsed.file)})
    if not authority.database.is_sqlite:
        sys.stderr.write("authority: the backup has the keys; save the PostgreSQL database by pg_dump\n")


def _restore(parsed: argparse.Namespace, settings: AuthoritySettings) -> None:
    state = StateFolder(settings.authority_dir)
    try:
        source = nullcontext(sys.stdin.buffer) if parsed.file == _STANDARD else parsed.file.open("rb")
    except OSError as error:
        raise InvalidInput(f"restoring: {parsed.file}: {error.strerror}") from error
    with source as file:
        restore(state, file, parsed.replace)
    _print({"file": str(parsed.file)})


def _administration(settings: AuthoritySettings) -> Administration:
    authority: Authority = open_authority(settings)
    return Administration(authority)


def _print(document: Any) -> None:
    sys.stdout.write(json.dumps(document) + "\n")


def _time(value: int | None) -> str:
    return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S") if value else "never"
