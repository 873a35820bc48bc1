"""What may be written on the command line: every command with its options and examples."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from scripts.helper.pools import check_name
from services.common.errors import CalyxError
from services.common.token import JoinToken


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
        "--pool",
        type=_pool,
        default=argparse.SUPPRESS,
        metavar="NAME",
        help="which pool, if this machine is in several",
    )
    shared.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show where an error came from"
    )
    parser = _Parser(
        prog="./scripts/calyx",
        description="Share a GPU with a Petals swarm, and use large language models over one endpoint.",
        epilog="Start with: ./scripts/calyx up (one machine), create (a pool of several) or join (enter one)",
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
        "up",
        "set up what is missing, start the stack and wait for the model",
        "up",
        "up --yes --timeout 900",
        "up --monitoring",
    )
    command.add_argument("--yes", action="store_true", help="install what is missing without asking")
    command.add_argument("--no-build", action="store_true", help="use the images as they are")
    command.add_argument("--monitoring", action="store_true", help="add a Prometheus; it stays until `down`")
    command.add_argument(
        "--timeout", type=_seconds, default=600.0, metavar="SECONDS", help="longest wait (default: 600)"
    )

    command = add("down", "remove the stack; keys and weights are kept", "down", "down --volumes")
    command.add_argument("--volumes", action="store_true", help="remove keys and weights too")

    command = add(
        "status",
        "show what runs, who is reached and which models answer",
        "status",
        "status --watch",
        "status --json",
    )
    output = command.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="for programs")
    output.add_argument("--watch", action="store_true", help="show it again every two seconds, until Ctrl-C")

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
        'chat "Name the capital of France."',
        'chat --raw "A cat sat"',
    )
    command.add_argument("prompt", nargs="?", help="one question (default: ask on the terminal)")
    command.add_argument("--model", metavar="NAME", help="hub name (default: the one in the settings)")
    command.add_argument("--raw", action="store_true", help="continue the text instead of answering it")
    command.add_argument(
        "--max-length", type=_count, default=512, metavar="TOKENS", help="of everything said (default: 512)"
    )
    command.add_argument("--temperature", type=float, help="sample at this temperature (default: likeliest)")
    _add_keys_command(add)
    _add_pool_commands(add)
    return parser


def _add_keys_command(add: Callable[..., argparse.ArgumentParser]) -> None:
    command = add(
        "keys",
        "make, list and revoke API keys of this machine's endpoint; without any, it asks for none",
        "keys create phone",
        "keys create batch --requests-per-minute 60 --concurrency 2 --expires 30d",
        "keys list",
        "keys revoke phone",
        "keys off",
    )
    actions = command.add_subparsers(dest="action", metavar="ACTION", required=True)
    action = actions.add_parser(
        "create", help="make one and print it; from the first one on, a key is asked for"
    )
    action.add_argument("name", metavar="NAME", help="what to call it, such as who uses it")
    action.add_argument("--requests-per-minute", type=_count, metavar="N", help="(default: any number)")
    action.add_argument(
        "--concurrency",
        type=_count,
        metavar="N",
        help="requests and connections at once (default: any number)",
    )
    action.add_argument("--expires", metavar="TIME", help="such as 24h, 30d (default: never)")
    action = actions.add_parser("list", help="show all; what they are is known to nobody")
    action.add_argument("--json", action="store_true", help="for programs")
    actions.add_parser("revoke", help="withdraw one").add_argument("name", metavar="NAME")
    actions.add_parser("off", help="forget all, and ask for none any more")


def _add_pool_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    command = add(
        "create",
        "make this machine the seed of a new pool, and print how others join it",
        "create home --address 203.0.113.7",
        "create home --address seed.example.org --no-server",
        "create home --address seed.example.org --restore home.tar",
    )
    command.add_argument("name", type=_pool, metavar="NAME", help="the pool's name")
    command.add_argument(
        "--address", required=True, type=_host, metavar="HOST", help="where other machines reach this one"
    )
    command.add_argument("--no-server", action="store_true", help="share no blocks from this machine")
    command.add_argument(
        "--restore", type=Path, metavar="FILE", help="a backup: the pool whose seed was lost goes on here"
    )
    _add_setting_up(command)

    command = add(
        "token",
        "on the seed: make, list and withdraw the tokens that let machines in",
        "token create --ttl 1h --uses 1",
        "token list",
        "token revoke ID",
        "token check calyx1_…",
    )
    actions = command.add_subparsers(dest="action", metavar="ACTION", required=True)
    action = actions.add_parser("create", help="make one and print it")
    action.add_argument("--role", choices=("worker", "user"), default="worker", help="(default: worker)")
    action.add_argument("--ttl", default="24h", metavar="TIME", help="such as 30m, 24h, 7d (default: 24h)")
    action.add_argument("--uses", type=_count, default=1, metavar="N", help="machines let in (default: 1)")
    actions.add_parser("list", help="show all, without their secrets")
    actions.add_parser("revoke", help="withdraw one").add_argument("id", metavar="ID")
    actions.add_parser("check", help="say whether one lets a machine in").add_argument(
        "text", metavar="TOKEN"
    )

    command = add(
        "join",
        "share this machine with the pool that a token names, or with Petals' public swarm",
        "join calyx1_…",
        "join --public --model OWNER/NAME",
    )
    swarm = command.add_mutually_exclusive_group(required=True)
    swarm.add_argument("token", nargs="?", type=_token, metavar="TOKEN", help="as the pool's owner gave it")
    swarm.add_argument(
        "--public", action="store_true", help="Petals' public swarm: no token, no private network"
    )
    command.add_argument(
        "--name",
        metavar="NODE",
        help="what this machine is called (default: its host name, and in the public swarm nothing)",
    )
    command.add_argument("--device", metavar="DEVICE", help="auto, cpu, cuda or cuda:N (default: auto)")
    command.add_argument("--num-blocks", type=_count, metavar="N", help="(default: as many as fit)")
    command.add_argument(
        "--block-indices", metavar="A:B", help="exactly these (default: what the pool needs)"
    )
    command.add_argument("--public-name", metavar="TEXT", help="shown on the health page")
    command.add_argument(
        "--endpoint",
        action="store_true",
        help="run an endpoint here too, which the pool turns to while the seed's is not ready",
    )
    command.add_argument("--model", metavar="NAME", help="hub name (default: the one in the settings)")
    _add_setting_up(command)

    command = add(
        "pause", "stop sharing for a while; this machine stays in its pool", "pause", "pause --grace 60"
    )
    command.add_argument(
        "--grace", type=_count, default=15, metavar="SECONDS", help="for open sessions (default: 15)"
    )
    command = add("resume", "share again after a pause", "resume")
    _add_timeout(command)
    command = add("stop", "leave a pool", "stop", "stop --purge")
    command.add_argument("--purge", action="store_true", help="remove downloaded weights too")

    command = add("nodes", "on the seed: show who is in the pool", "nodes", "nodes --json")
    command.add_argument("--json", action="store_true", help="for programs")
    command = add("credits", "on the seed: show what each node shared", "credits", "credits --json")
    command.add_argument("--json", action="store_true", help="for programs")
    command = add("revoke", "on the seed: put a node out of the pool", "revoke attic")
    command.add_argument("node", metavar="NODE", help="its name, as `nodes` shows it")
    command = add(
        "backup", "on the seed: write the pool's keys, members and API keys to a file", "backup home.tar"
    )
    command.add_argument("file", type=Path, metavar="FILE", help="a new file; whoever has it has the pool")
    command = add("restore", "on the seed: become the pool of a backup again", "restore home.tar")
    command.add_argument("file", type=Path, metavar="FILE", help="what `backup` wrote")
    add("rotate-ca", "on the seed: give the pool's network a new certificate authority", "rotate-ca")


def _add_setting_up(command: argparse.ArgumentParser) -> None:
    command.add_argument("--yes", action="store_true", help="install what is missing without asking")
    _add_timeout(command)


def _add_timeout(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--timeout", type=_seconds, default=600.0, metavar="SECONDS", help="longest wait (default: 600)"
    )


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


def _pool(text: str) -> str:
    try:
        return check_name(text)
    except CalyxError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _token(text: str) -> JoinToken:
    try:
        return JoinToken.parse(text)
    except CalyxError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _host(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9A-Fa-f:]+", text):
        raise argparse.ArgumentTypeError(f"must be a name or an IP address, without a port, not {text!r}")
    return text
