"""The command line's way into the commands, and the one place where errors become exit codes.

Exit codes: 0 done; 1 failed, with one line on standard error; 2 wrong usage; 130 ended by Ctrl-C.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from scripts.helper.arguments import build_parser
from scripts.helper.choices import chosen
from scripts.helper.commands import (
    chat,
    create,
    doctor,
    down,
    join,
    keeping,
    keys,
    logs,
    members,
    sharing,
    status,
    stop,
    up,
)
from scripts.helper.context import DEFAULT_PROJECT, ROOT, Context
from scripts.helper.environment import read_env_file
from services.common.errors import CalyxError


def main(
    arguments: Sequence[str] | None = None,
    root: Path = ROOT,
    run: Callable[[argparse.Namespace, Path], int] | None = None,
) -> int:
    """Run one command and return the exit code.

    Args:
        arguments: of the command line; None takes the process's.
        root: the folder of ``compose.yaml`` and ``.env``.
        run: does what the parsed arguments say; None runs the command they name.
    """
    try:
        parsed = build_parser().parse_args(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    debug = getattr(parsed, "debug", False)
    try:
        return (run or _run)(parsed, root)
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        return 130
    except BrokenPipeError:
        # The reader of our output has gone; what is left must not fail again when Python closes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            traceback.print_exc()
        sys.stderr.write(f"error: {_one_line(error)}\n")
        return 1


def _run(parsed: argparse.Namespace, root: Path) -> int:
    remembered = chosen(os.environ)
    os.environ.update(read_env_file(root / ".env", os.environ))
    context = _context(parsed, root, remembered)
    match parsed.command:
        case "up":
            options = up.UpOptions(
                yes=parsed.yes,
                build=not parsed.no_build,
                timeout=parsed.timeout,
                monitoring=parsed.monitoring,
            )
            code = up.run(context, options)
        case "down":
            code = down.run(context, volumes=parsed.volumes)
        case "status":
            code = status.run(context, as_json=parsed.json, watch=parsed.watch)
        case "logs":
            code = logs.run(context, service=parsed.service, follow=parsed.follow, tail=parsed.tail)
        case "doctor":
            code = doctor.run(context, as_json=parsed.json)
        case "chat":
            code = chat.run(
                context,
                chat.ChatOptions(
                    parsed.prompt, parsed.model, parsed.raw, parsed.max_length, parsed.temperature
                ),
            )
        case "keys":
            code = keys.run(context, parsed)
        case _:
            code = _run_in_pool(parsed, context, remembered)
    return code


def _run_in_pool(parsed: argparse.Namespace, context: Context, remembered: Mapping[str, str]) -> int:
    project = getattr(parsed, "project", None)
    if parsed.command == "create":
        seed = create.new_pool(parsed.name, project, parsed.address, remembered, server=not parsed.no_server)
        options = create.CreateOptions(yes=parsed.yes, timeout=parsed.timeout, restore=parsed.restore)
        return create.run(context.of(seed), seed, options)
    if parsed.command == "join":
        worker = join.new_pool(vars(parsed), project, remembered)
        joining = join.JoinOptions(token=parsed.token, yes=parsed.yes, timeout=parsed.timeout)
        return join.run(context.of(worker), worker, joining)
    pool = context.pools.choose(getattr(parsed, "pool", None), project).with_settings(remembered)
    context = context.of(pool)
    match parsed.command:
        case "pause":
            code = sharing.pause(context, pool, grace=parsed.grace)
        case "resume":
            code = sharing.resume(context, pool, timeout=parsed.timeout)
        case "stop":
            code = stop.run(context, pool, purge=parsed.purge)
        case "token":
            code = members.token(context, parsed)
        case "nodes":
            code = members.nodes(context, as_json=parsed.json)
        case "credits":
            code = members.credits(context, as_json=parsed.json)
        case "backup":
            code = keeping.backup(context, parsed.file)
        case "restore":
            code = keeping.restore(context, parsed.file)
        case "rotate-ca":
            code = keeping.rotate_ca(context)
        case _:
            code = members.revoke(context, parsed.node)
    return code


def _context(parsed: argparse.Namespace, root: Path, remembered: Mapping[str, str]) -> Context:
    """Return the surroundings: of the pool that is meant, or of a stack on its own."""
    project = getattr(parsed, "project", None) or os.environ.get("COMPOSE_PROJECT_NAME")
    context = Context(project=project or DEFAULT_PROJECT, root=root)
    if parsed.command in ("create", "join"):
        return context
    pool = context.pools.find(getattr(parsed, "pool", None), project)
    return context.of(pool.with_settings(remembered)) if pool else context


def _one_line(error: Exception) -> str:
    if isinstance(error, CalyxError):
        return str(error)
    if isinstance(error, OSError):
        path = f": {error.filename}" if error.filename else ""
        return f"{error.strerror or error}{path} — add --debug to see where"
    text = " ".join(str(error).split())
    return f"unexpected {type(error).__name__}: {text} — this is a mistake of ours; --debug shows where"
