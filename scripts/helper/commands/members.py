"""``calyx token``, ``nodes``, ``credits``, ``revoke``: the seed says who may come, is there, shares and must go."""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from scripts.helper.authority import Authority
from scripts.helper.context import Context
from scripts.helper.engine import Engine


def token(context: Context, parsed: argparse.Namespace) -> int:
    """Make, list, withdraw or check tokens, as the command line said."""
    authority = Authority(context, Engine.connect(context.environment))
    match parsed.action:
        case "create":
            made = authority.ask(
                *("token", "create", "--role", parsed.role, "--ttl", parsed.ttl, "--uses", str(parsed.uses))
            )
            context.steps.step(f"A token for a {parsed.role}, good for {parsed.uses}; a machine joins by:")
            context.steps.detail(f"./scripts/calyx join {made['token']}")
        case "list":
            _show(authority.ask("token", "list"))
        case "revoke":
            authority.ask("token", "revoke", parsed.id)
            context.steps.step(f"The token {parsed.id} lets nobody in any more")
        case _:
            _show(authority.ask("token", "check", parsed.text))
    return 0


def nodes(context: Context, *, as_json: bool) -> int:
    """Show who is in the pool, and who was."""
    found = Authority(context, Engine.connect(context.environment)).ask("nodes", "--json")
    if as_json:
        _show(found)
    else:
        sys.stdout.write("\n".join(render(found)) + "\n")
    return 0


def credits(context: Context, *, as_json: bool) -> int:
    """Show what each node shared in all its time."""
    found = Authority(context, Engine.connect(context.environment)).ask("credits")
    if as_json:
        _show(found)
    else:
        sys.stdout.write("\n".join(render_credits(found)) + "\n")
    return 0


def render_credits(nodes: list[dict[str, Any]]) -> list[str]:
    """Return a line for each node below a heading."""
    rows = [("NAME", "PUBLIC NAME", "BLOCK-HOURS", "TOKENS", "TOKENS x BLOCKS")]
    rows += [
        (
            node["name"],
            node["public_name"] or "-",
            f"{node['block_seconds'] / 3600:,.1f}",
            f"{node['tokens']:,}",
            f"{node['token_blocks']:,}",
        )
        for node in nodes
    ]
    return table(rows)


def render(nodes: list[dict[str, Any]]) -> list[str]:
    """Return a line for each node below a heading."""
    rows = [("NAME", "ROLE", "ADDRESS", "STATE", "ENDPOINT", "SEEN")]
    rows += [
        (
            node["name"],
            node["role"],
            node["address"] or "-",
            node["state"],
            "yes" if node.get("endpoint") or node["role"] == "seed" else "-",
            moment(node["seen_at"]),
        )
        for node in nodes
    ]
    return table(rows)


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a line for each row, whose cells stand below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def revoke(context: Context, node: str) -> int:
    """Put a node out; the others hear of it within half a minute."""
    Authority(context, Engine.connect(context.environment)).ask("revoke", node)
    context.steps.step(f"{node} is out of the pool: everybody closes their tunnels to it within 30 s")
    return 0


def moment(seconds: int | None) -> str:
    """Return a time as people read it, "never" for none."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if seconds else "never"


def _show(answer: object) -> None:
    sys.stdout.write(json.dumps(answer, indent=2) + "\n")
