"""The overview as lines for people, but for the swarm: see ``swarm_text``."""

from datetime import UTC, datetime, timedelta

from scripts.helper.gpus import GpuState
from scripts.helper.overview import Overview, ServiceState
from services.common.node_report import NodeReport, PeerReport

_SOON = timedelta(days=30)
_GIB = 1024**3
_PEERS_SHOWN = 20


def render(overview: Overview, now: datetime) -> list[str]:
    """Return the overview as lines, with ages at ``now``; without the swarm."""
    lines = [f"{'SERVICE':<11}{'STATE':<9}{'HEALTH':<11}{'SINCE':<12}WHAT IT SAYS"]
    lines += [_service(service, now) for service in overview.services]
    lines.append("")
    if pool := overview.pool:
        paused = ", paused: ./scripts/calyx resume shares again" if pool.paused else ""
        lines.append(f"pool      {pool.name}, this machine is {pool.part}{paused}")
    if overview.node:
        lines += _node(overview.node, now)
    lines += [f"GPU       {_gpu(gpu)}" for gpu in overview.gpus]
    if overview.endpoint:
        lines.append(f"endpoint  {overview.endpoint}")
    if overview.health:
        lines.append(f"health    {overview.health}")
    return lines


def _service(service: ServiceState, now: datetime) -> str:
    since = _since(service.since, now)
    words = (
        f"{service.name:<11}{service.state:<9}{service.health or '-':<11}{since:<12}{service.detail or ''}"
    )
    return words.rstrip()


def _node(node: NodeReport, now: datetime) -> list[str]:
    lines = [
        f"network   {node.name} is {node.address}, its certificate is renewed before {_moment(node.expires_at)}"
    ]
    if node.ca_expires_at is not None:
        lines.append(
            f"          the pool's authority ends on {_moment(node.ca_expires_at)}{_hurry(node.ca_expires_at, now)}"
        )
    lines += [f"peer      {_peer(peer)}" for peer in node.peers[:_PEERS_SHOWN]]
    if len(node.peers) > _PEERS_SHOWN:
        lines.append(f"          and {len(node.peers) - _PEERS_SHOWN} more")
    return lines + [f"problem   {problem}" for problem in node.problems]


def _hurry(ends: float, now: datetime) -> str:
    soon = datetime.fromtimestamp(ends, UTC) - now < _SOON
    return ": renew it on the seed by ./scripts/calyx rotate-ca" if soon else ""


def _peer(peer: PeerReport) -> str:
    match peer.way:
        case "direct":
            way = f"direct ({peer.through})"
        case "relayed":
            way = f"relayed by {peer.through}"
        case _:
            way = "no tunnel yet"
    return f"{peer.name} {peer.address}: {way}"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _gpu(gpu: GpuState) -> str:
    busy = "" if gpu.utilization is None else f", {gpu.utilization:.0%} busy"
    return f"{gpu.name}: {gpu.memory_used / _GIB:.1f} of {gpu.memory_total / _GIB:.1f} GiB in use{busy}"


def ranges(blocks: list[int]) -> str:
    """Return 0, 1, 2, 7 as ``0-2, 7``."""
    parts: list[list[int]] = []
    for block in blocks:
        if parts and block == parts[-1][1] + 1:
            parts[-1][1] = block
        else:
            parts.append([block, block])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def _since(moment: str | None, now: datetime) -> str:
    if moment is None:
        return "-"
    return span_words((now - datetime.fromisoformat(moment)).total_seconds())


def span_words(seconds: float) -> str:
    """Say a span of time in the largest unit that fits, such as ``3 minutes``."""
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{max(0, int(seconds))} seconds"
