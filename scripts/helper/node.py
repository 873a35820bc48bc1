"""What this node's sidecar says of the private network: its report, as ``services.vpn.report`` prints it."""

from pydantic import TypeAdapter, ValidationError

from scripts.helper.engine import Engine
from services.common.errors import Broken, Unavailable
from services.common.node_report import NodeReport

_REPORT = TypeAdapter(NodeReport)


def read_node(engine: Engine, project: str, *, probe: bool = False) -> NodeReport:
    """Ask the sidecar.

    Args:
        engine: runs it.
        project: Compose project name.
        probe: let it ask every other node for an echo.

    Raises:
        Unavailable: it does not run, or is in no pool yet.
        Broken: it is of another version than this helper.
    """
    vpn = next((c for c in engine.containers(project) if c.service == "vpn" and c.state == "running"), None)
    if vpn is None:
        raise Unavailable("the private network's container does not run", "`up` starts it")
    command = ["python3", "-m", "services.vpn.report", *(["--probe"] if probe else [])]
    done = engine.execute(vpn.identity, command)
    if not done.ok:
        lines = done.output.strip().splitlines()
        raise Unavailable(f"asking the private network's container: {lines[-1] if lines else done.code}")
    try:
        return _REPORT.validate_json(done.output)
    except ValidationError as error:
        raise Broken("the private network's container is of another version", "`up` makes it anew") from error
