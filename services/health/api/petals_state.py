"""``/api/v1/state``: the fields of health.petals.dev under their names, so that what was written for it works here.

https://github.com/petals-infra/health.petals.dev shows how they are made. Where it differs: every model of this swarm
counts as official, a server that its owner paused is "offline", and addresses of peers are not told.
"""

from typing import Any

from services.health.api.reports import contributors, issues
from services.health.collector import Knowledge
from services.health.snapshot import Model, Server

_MIN_BLOCKS = 10
"""Servers that hold fewer blocks show no public name."""
_HUB = "https://huggingface.co/"


def petals_state(knowledge: Knowledge, period: float) -> dict[str, Any]:
    """Return the body; its shape is the same before the swarm was seen.

    Args:
        knowledge: what the collector knows.
        period: seconds between two looks.
    """
    snapshot = knowledge.snapshot
    return {
        "bootstrap_states": [
            "online" if problem is None else "unreachable" for problem in knowledge.entrances.values()
        ],
        "top_contributors": contributors(snapshot, _MIN_BLOCKS) if snapshot else {},
        "model_reports": [_report(model) for model in snapshot.models] if snapshot else [],
        "reachability_issues": [
            {"peer_id": issue.peer_id, "err": issue.problem} for issue in issues(knowledge)
        ],
        "last_updated": snapshot.taken_at if snapshot else None,
        "update_period": period,
        "update_duration": knowledge.duration,
    }


def _report(model: Model) -> dict[str, Any]:
    pings: dict[str, dict[str, float]] = {}
    for origin in model.servers:
        for peer_id, seconds in origin.next_pings.items():
            pings.setdefault(peer_id, {})[origin.peer_id] = seconds
    rows = sorted(model.servers, key=lambda server: server.peer_id)
    return {
        "name": model.name,
        "short_name": model.name.split("/")[-1],
        "state": "healthy" if model.healthy else "broken",
        "server_rows": [_row(server, pings.get(server.peer_id, {})) for server in rows],
        "num_blocks": model.num_blocks,
        "repository": model.repository or _HUB + model.name,
        "dht_prefix": model.dht_prefix,
        "official": True,
        "limited": False,
    }


def _row(server: Server, pings_to_me: dict[str, float]) -> dict[str, Any]:
    state = "offline" if server.state == "paused" else server.state
    row = {
        "short_peer_id": "..." + server.peer_id[-6:],
        "peer_id": server.peer_id,
        "peer_ip_info": "unknown",
        "show_public_name": state == "online" and server.num_blocks >= _MIN_BLOCKS,
        "state": state,
        "span": {
            "peer_id": server.peer_id,
            "start": server.start_block,
            "end": server.end_block,
            "length": server.num_blocks,
            "server_info": _server_info(server, "online" if state == "unreachable" else state),
        },
        "adapters": [{"name": name, "short_name": name.split("/")[-1]} for name in server.adapters],
        "pings_to_me": pings_to_me,
    }
    if server.cache_tokens_left is not None:
        # Stock servers announce what one block's keys or values alone could hold; ours what all together can
        share = 1 if server.figures is not None else 2 * server.num_blocks
        row["cache_tokens_left_per_block"] = server.cache_tokens_left // share
    return row


def _server_info(server: Server, announced: str) -> dict[str, Any]:
    return {
        "state": announced,
        "throughput": server.throughput,
        "start_block": server.start_block,
        "end_block": server.end_block,
        "public_name": server.public_name,
        "version": server.version,
        "network_rps": server.network_rps,
        "forward_rps": server.forward_rps,
        "inference_rps": server.inference_rps,
        "adapters": list(server.adapters),
        "torch_dtype": server.dtype,
        "quant_type": server.quantization,
        "using_relay": server.using_relay,
        "cache_tokens_left": server.cache_tokens_left,
        "next_pings": dict(server.next_pings),
    }
