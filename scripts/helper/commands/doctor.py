"""``calyx doctor``: can this machine run the stack, does it reach its pool, and if not, what to do."""

import json
import sys
from dataclasses import asdict

from scripts.helper.checks import CHECKS, Check, EngineFacts, check_mesh, inspect_machine
from scripts.helper.context import Context
from scripts.helper.engine import Engine
from scripts.helper.node import read_node
from scripts.helper.pools import Pool
from scripts.helper.ports import engine_facts, wanted_ports
from services.common.errors import CalyxError

_SIGNS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


def run(context: Context, *, as_json: bool) -> int:
    """Show every check; exit code 1 if any fails."""
    ports = wanted_ports(context.pool)
    engine: Engine | None = None
    facts: EngineFacts | None = None
    problem = ""
    try:
        engine = Engine.connect(context.environment)
        facts = engine_facts(engine, context.project)
    except CalyxError as error:
        problem = str(error)
    machine = inspect_machine(context.shell, facts, problem, ports)
    checks = [check(machine) for check in CHECKS]
    if engine is not None and context.pool is not None and context.pool.meshed:
        checks += _reachability(engine, context.pool)
    text = json.dumps([asdict(check) for check in checks], indent=2) if as_json else "\n".join(render(checks))
    sys.stdout.write(text + "\n")
    return int(any(check.verdict == "fail" for check in checks))


def _reachability(engine: Engine, pool: Pool) -> list[Check]:
    try:
        return check_mesh(read_node(engine, pool.project, probe=True))
    except CalyxError as error:
        return [Check(f"pool {pool.name}", "fail", error.problem, error.remedy)]


def render(checks: list[Check]) -> list[str]:
    """Return the checks as lines for people."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{_SIGNS[check.verdict]}  {check.name.ljust(width)}  {check.detail}")
        if check.remedy and check.verdict != "ok":
            lines.append(f"{' ' * (width + 6)}  → {check.remedy}")
    return lines
