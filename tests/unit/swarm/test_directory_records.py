"""What the swarm announces, and what strangers announce to harm whoever reads it."""

from dataclasses import replace
from typing import Any

import pytest
from hivemind.p2p import PeerID
from petals.data_structures import RemoteModuleInfo, ServerInfo, ServerState

from services.swarm.directory import (
    MAX_BLOCKS,
    ModelRecord,
    ServerRecord,
    _parse_model,
    _server_records,
)

FIRST = PeerID.from_base58("QmcZf59bWwK5XFi76CZX8cbJ4BhTzzA3gU1ZjYZcYW3dwt")
SECOND = PeerID.from_base58("QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN")


def announced(servers: dict[PeerID, ServerInfo]) -> list[RemoteModuleInfo]:
    """Return four blocks, each announced by the servers that say that they hold it."""
    blocks = [RemoteModuleInfo(f"prefix.{block}", {}) for block in range(4)]
    for peer, about in servers.items():
        for block in blocks[slice(about.start_block, about.end_block)]:
            block.servers[peer] = about
    return blocks


def info(state: ServerState = ServerState.ONLINE, **fields: Any) -> ServerInfo:
    return ServerInfo(**({"state": state, "throughput": 1.0} | fields))


def server(start: int, end: int, state: str = "online") -> ServerRecord:
    (record,) = _server_records(announced({FIRST: info(start_block=start, end_block=end)}))
    return replace(record, state=state)


def test_a_server_is_read_with_all_that_it_says() -> None:
    (record,) = _server_records(
        announced(
            {
                FIRST: info(
                    start_block=1,
                    end_block=3,
                    throughput=2.5,
                    public_name="mine",
                    version="2.2.0",
                    torch_dtype="bfloat16",
                    quant_type="none",
                    adapters=("one",),
                    cache_tokens_left=100,
                    using_relay=True,
                    inference_rps=1.0,
                    forward_rps=2.0,
                    network_rps=3.0,
                    next_pings={SECOND.to_base58(): 0.5},
                )
            }
        )
    )

    assert record == ServerRecord(
        peer_id=FIRST.to_base58(),
        state="online",
        start_block=1,
        end_block=3,
        throughput=2.5,
        public_name="mine",
        version="2.2.0",
        dtype="bfloat16",
        quantization="none",
        adapters=("one",),
        cache_tokens_left=100,
        using_relay=True,
        inference_rps=1.0,
        forward_rps=2.0,
        network_rps=3.0,
        next_pings={SECOND.to_base58(): 0.5},
    )


def test_a_server_that_says_little_is_read_too() -> None:
    (record,) = _server_records(announced({FIRST: info(ServerState.JOINING)}))

    assert (record.state, record.start_block, record.end_block, record.next_pings) == ("joining", 0, 4, {})


def test_servers_stand_in_the_order_of_their_blocks() -> None:
    records = _server_records(
        announced({FIRST: info(start_block=2, end_block=4), SECOND: info(start_block=0, end_block=2)})
    )

    assert [(record.peer_id, record.start_block) for record in records] == [
        (SECOND.to_base58(), 0),
        (FIRST.to_base58(), 2),
    ]


@pytest.mark.parametrize(
    "lie",
    [
        {"start_block": 4, "end_block": 9},
        {"start_block": 10**9, "end_block": 2 * 10**9},
        {"throughput": float("inf")},
        {"throughput": float("nan")},
    ],
)
def test_a_server_that_lies_is_left_out_and_others_are_not(lie: dict[str, Any]) -> None:
    blocks = announced({FIRST: info(), SECOND: info(start_block=0, end_block=4)})
    # Petals' own validation lets some of these pass, depending on pydantic's version
    vars(blocks[0].servers[FIRST]).update(lie)

    assert [record.peer_id for record in _server_records(blocks)] == [SECOND.to_base58()]


def test_a_server_that_claims_more_blocks_than_there_are_is_cut_to_size() -> None:
    (record,) = _server_records(announced({FIRST: info(start_block=2, end_block=10**9)}))

    assert (record.start_block, record.end_block) == (2, 4)


@pytest.mark.parametrize(
    ("prefix", "value"),
    [
        ("prefix", None),
        ("prefix", 7),
        ("prefix", "text"),
        ("prefix", []),
        ("prefix", {}),
        ("prefix", {"num_blocks": "4"}),
        ("prefix", {"num_blocks": 0}),
        ("prefix", {"num_blocks": -1}),
        ("prefix", {"num_blocks": 4.5}),
        ("prefix", {"num_blocks": MAX_BLOCKS + 1}),
        ("prefix", {"num_blocks": 4, "repository": ["a", "list"]}),
        ("prefix", {7: 4}),
        ("pre.fix", {"num_blocks": 4}),
        ("pre fix", {"num_blocks": 4}),
        (7, {"num_blocks": 4}),
        (None, {"num_blocks": 4}),
    ],
)
def test_a_model_that_is_nonsense_is_left_out(prefix: object, value: object) -> None:
    assert _parse_model(prefix, value) is None


def test_a_model_is_read() -> None:
    model = _parse_model("prefix", {"num_blocks": MAX_BLOCKS, "repository": "https://huggingface.co/a/b"})

    assert model is not None
    assert (model.num_blocks, model.repository) == (MAX_BLOCKS, "https://huggingface.co/a/b")


@pytest.mark.parametrize(
    ("repository", "name"),
    [("https://huggingface.co/a/b", "a/b"), ("https://elsewhere.example/a/b", "prefix"), (None, "prefix")],
)
def test_a_model_is_known_by_its_hub_name(repository: str | None, name: str) -> None:
    assert ModelRecord("prefix", repository, 4, ()).name == name


def test_a_model_is_healthy_when_every_block_is_online() -> None:
    halves = ModelRecord("prefix", None, 4, (server(0, 2), server(1, 4)))

    assert halves.online_replicas == [1, 2, 1, 1]
    assert halves.missing_blocks == []
    assert halves.healthy


@pytest.mark.parametrize("state", ["joining", "offline"])
def test_blocks_that_are_not_online_are_missing(state: str) -> None:
    model = ModelRecord("prefix", None, 4, (server(0, 2), server(2, 4, state)))

    assert model.online_replicas == [1, 1, 0, 0]
    assert model.missing_blocks == [2, 3]
    assert not model.healthy
