"""The command line: what may be written there, and the one place where errors become exit codes.

Exit codes: 0 done; 1 failed, with one line on standard error; 2 wrong usage; 130 ended by Ctrl-C.
"""

import argparse
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from scripts.helper.commands import chat, doctor, down, logs, status, up
from scripts.helper.context import DEFAULT_PROJECT, ROOT, Context
from scripts.helper.environment import read_env_file
from services.common.errors import CalyxError


class _Parser(argparse.ArgumentParser):
    """Reports wrong usage in one line."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        self.exit(2, f"error: {message} — see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every command; the parsed arguments name the command in ``command``."""
    shared = _Parser(add_help=False)
    shared.add_argument(
        "--project",
        type=_project,
        default=argparse.SUPPRESS,
        metavar="NAME",
        help="Compose project name; stacks of different names live side by side (default: calyx)",
    )
    shared.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show where an error came from"
    )
    parser = _Parser(
        prog="./scripts/calyx",
        description="Share a GPU with a Petals swarm, and use large language models over one endpoint.",
        epilog="Start with: ./scripts/calyx up",
        parents=[shared],
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name: str, summary: str, *examples: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=summary,
            description=summary,
            parents=[shared],
            formatter_class=argparse.RawDescriptionHelpFormatter,
            epilog="examples:\n" + "\n".join(f"  ./scripts/calyx {example}" for example in examples),
        )

    command = add(
        "up", "set up what is missing, start the stack and wait for the model", "up", "up --yes --timeout 900"
    )
    command.add_argument("--yes", action="store_true", help="install what is missing without asking")
    command.add_argument("--no-build", action="store_true", help="use the images as they are")
    command.add_argument(
        "--timeout", type=_seconds, default=600.0, metavar="SECONDS", help="longest wait (default: 600)"
    )

    command = add("down", "remove the stack; keys and weights are kept", "down", "down --volumes")
    command.add_argument("--volumes", action="store_true", help="remove keys and weights too")

    command = add("status", "show what runs and which models answer", "status", "status --json")
    command.add_argument("--json", action="store_true", help="for programs")

    command = add("logs", "show what the services wrote", "logs server", "logs --follow --tail 20")
    command.add_argument("service", nargs="?", help="one service (default: all)")
    command.add_argument("-f", "--follow", action="store_true", help="go on with new lines")
    command.add_argument(
        "--tail", type=_count, default=100, metavar="LINES", help="newest lines (default: 100)"
    )

    command = add("doctor", "check whether this machine can run the stack", "doctor", "doctor --json")
    command.add_argument("--json", action="store_true", help="for programs")

    command = add(
        "chat",
        "talk with the model",
        "chat",
        'chat "What is the capital of France?"',
        'chat --raw "A cat sat"',
    )
    command.add_argument("prompt", nargs="?", help="one question (default: ask on the terminal)")
    command.add_argument("--model", metavar="NAME", help="hub name (default: the one in the settings)")
    command.add_argument("--raw", action="store_true", help="continue the text instead of answering it")
    command.add_argument(
        "--max-length", type=_count, default=512, metavar="TOKENS", help="of everything said (default: 512)"
    )
    command.add_argument("--temperature", type=float, help="sample at this temperature (default: likeliest)")
    return parser


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
    os.environ.update(read_env_file(root / ".env", os.environ))
    project = getattr(parsed, "project", None) or os.environ.get("COMPOSE_PROJECT_NAME") or DEFAULT_PROJECT
    context = Context(project=project, root=root)
    match parsed.command:
        case "up":
            options = up.UpOptions(yes=parsed.yes, build=not parsed.no_build, timeout=parsed.timeout)
            return up.run(context, options)
        case "down":
            return down.run(context, volumes=parsed.volumes)
        case "status":
            return status.run(context, as_json=parsed.json)
        case "logs":
            return logs.run(context, service=parsed.service, follow=parsed.follow, tail=parsed.tail)
        case "doctor":
            return doctor.run(context, as_json=parsed.json)
        case _:
            return chat.run(
                context,
                chat.ChatOptions(
                    parsed.prompt, parsed.model, parsed.raw, parsed.max_length, parsed.temperature
                ),
            )


def _one_line(error: Exception) -> str:
    if isinstance(error, CalyxError):
        return str(error)
    if isinstance(error, OSError):
        path = f": {error.filename}" if error.filename else ""
        return f"{error.strerror or error}{path} — add --debug to see where"
    text = " ".join(str(error).split())
    return f"unexpected {type(error).__name__}: {text} — this is a mistake of ours; --debug shows where"


def _project(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", text):
        raise argparse.ArgumentTypeError(f"must be small letters, digits, - and _, not {text!r}")
    return text


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, not {text}")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return value
