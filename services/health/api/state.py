"""``/api/v2/state``: everything that the collector knows."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from services.health.api.reports import contributors, issues
from services.health.collector import Knowledge
from services.health.snapshot import Model, Server


def state_document(knowledge: Knowledge, period: float, now: float) -> dict[str, Any]:
    """Return the body, a :class:`services.health.api.schema.SwarmState`.

    Args:
        knowledge: what the collector knows.
        period: seconds between two looks.
        now: the current time in seconds since the epoch.
    """
    snapshot = knowledge.snapshot
    age = knowledge.age(now)
    return {
        "last_updated": datetime.fromtimestamp(snapshot.taken_at, UTC).isoformat() if snapshot else None,
        "age_seconds": None if age is None else round(age, 3),
        "update_period": period,
        "update_duration": round(knowledge.duration, 3),
        "models": [_model_document(model) for model in snapshot.models] if snapshot else [],
        "bootstrap": [
            {"peer_id": peer_id, "reachable": problem is None, "problem": problem}
            for peer_id, problem in knowledge.entrances.items()
        ],
        "contributors": contributors(snapshot) if snapshot else {},
        "reachability_issues": [asdict(issue) for issue in issues(knowledge)],
        "departed": [asdict(one) for one in knowledge.departed],
        "left_out": snapshot.left_out if snapshot else 0,
        "rejected": dict(knowledge.rejected),
        "error": knowledge.error,
    }


def _model_document(model: Model) -> dict[str, Any]:
    return {
        "name": model.name,
        "dht_prefix": model.dht_prefix,
        "repository": model.repository,
        "num_blocks": model.num_blocks,
        "healthy": model.healthy,
        "missing_blocks": list(model.missing_blocks),
        "blocks": list(model.replicas),
        "throughput_min": min(model.throughputs),
        "servers": [_server_document(server) for server in model.servers],
    }


def _server_document(server: Server) -> dict[str, Any]:
    # asdict would copy each value of a thousand servers deeply
    document = {name: getattr(server, name) for name in Server.__dataclass_fields__}
    document["adapters"], document["next_pings"] = list(server.adapters), dict(server.next_pings)
    document["figures"] = server.figures.model_dump() if server.figures else None
    return document
