"""What several answers say of a snapshot: who shares how much, and who is not reached."""

from collections import Counter
from dataclasses import dataclass

from services.health.collector import Knowledge
from services.health.reachability import remedy
from services.health.snapshot import Snapshot

MAX_ISSUES = 100
MAX_CONTRIBUTORS = 100


@dataclass(frozen=True)
class Issue:
    """A peer that is not reached, and what its owner can do; ``name`` says what it is to people."""

    peer_id: str
    name: str
    problem: str
    remedy: str


def contributors(snapshot: Snapshot, min_blocks: int = 1) -> dict[str, int]:
    """Return how many blocks are online under each public name, the most first.

    Args:
        snapshot: of the swarm.
        min_blocks: servers that hold fewer are not counted.
    """
    blocks: Counter[str] = Counter()
    for model in snapshot.models:
        for server in model.servers:
            if server.public_name and server.state == "online" and server.num_blocks >= min_blocks:
                blocks[server.public_name] += server.num_blocks
    ordered = sorted(blocks.items(), key=lambda item: (-item[1], item[0]))
    return dict(ordered[:MAX_CONTRIBUTORS])


def issues(knowledge: Knowledge) -> list[Issue]:
    """Return the peers that are not reached, those first through which others enter the swarm."""
    found = {
        peer_id: Issue(
            peer_id,
            "bootstrap peer",
            problem,
            "nobody can join through it: check that its container runs and that its port (31330) is open",
        )
        for peer_id, problem in knowledge.entrances.items()
        if problem is not None
    }
    for model in knowledge.snapshot.models if knowledge.snapshot else ():
        for server in model.servers:
            if server.problem is not None and server.peer_id not in found:
                name = f"server {server.public_name}" if server.public_name else "server"
                found[server.peer_id] = Issue(server.peer_id, name, server.problem, remedy(server.problem))
    return list(found.values())[:MAX_ISSUES]
