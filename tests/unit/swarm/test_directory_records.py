"""What the swarm announces, and what strangers announce to harm whoever reads it."""

from dataclasses import replace
from typing import Any

import pytest
from hivemind import PeerID

from services.common.server_figures import MAX_GPUS, ServerFigures
from services.swarm.parsing import MAX_BLOCKS, MAX_LIFETIME, Announced, ServerParser, is_peer_id, parse_model
from services.swarm.records import ModelRecord, ServerRecord

FIRST = "QmcZf59bWwK5XFi76CZX8cbJ4BhTzzA3gU1ZjYZcYW3dwt"
SECOND = "QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN"
LONG = PeerID(b"\x00\xff" + bytes(255)).to_base58()
"""Well formed, but such a key would have been hashed; a few of them fill a question to hivemind's process."""
SHORT = PeerID(b"\x12\x10" + bytes(16)).to_base58()
NOW = 1_800_000_000.0
Blocks = list[dict[Any, Announced]]


def announced(servers: dict[Any, Any], expires_at: float = NOW + 60) -> Blocks:
    """Return four blocks, each with what servers write under those that they say that they hold."""
    blocks: Blocks = [{} for _ in range(4)]
    for peer, value in servers.items():
        about = value[2] if isinstance(value, tuple) and len(value) > 2 and isinstance(value[2], dict) else {}
        start, end = about.get("start_block"), about.get("end_block")
        numbers = [one if isinstance(one, int) else None for one in (start, end)]
        for block in blocks[slice(*numbers)]:
            block[peer] = value, expires_at
    return blocks


def value(state: int = 2, throughput: Any = 1.0, **fields: Any) -> tuple[int, Any, dict[str, Any]]:
    return state, throughput, fields


def read(blocks: Blocks) -> tuple[tuple[ServerRecord, ...], dict[str, int]]:
    """Return the servers of a model, and why others were left out."""
    parser = ServerParser(NOW)
    model = parse_model("prefix", {"num_blocks": len(blocks)})
    return parser.read_model("prefix", model, blocks).servers, dict(+parser.rejected)


def server(start: int, end: int, state: str = "online") -> ServerRecord:
    ((record,), _) = read(announced({FIRST: value(start_block=start, end_block=end)}))
    return replace(record, state=state)


def test_a_server_is_read_with_all_that_it_says() -> None:
    figures = ServerFigures(tokens_total=7)
    ((record,), rejected) = read(
        announced(
            {
                FIRST: value(
                    throughput=2.5,
                    start_block=1,
                    end_block=3,
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
                    next_pings={SECOND: 0.5},
                    calyx=figures.model_dump(),
                )
            }
        )
    )

    assert rejected == {}
    assert record == ServerRecord(
        peer_id=FIRST,
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
        next_pings={SECOND: 0.5},
        expires_at=NOW + 60,
        figures=figures,
    )


def test_a_server_that_says_little_is_read_too() -> None:
    ((record,), _) = read(announced({FIRST: (1, 1.0)}))

    assert (record.state, record.start_block, record.end_block, record.next_pings) == ("joining", 0, 4, {})


def test_servers_stand_in_the_order_of_their_blocks() -> None:
    records, _ = read(
        announced(
            {FIRST: value(start_block=2, end_block=4), SECOND: value(start_block=0, end_block=2)},
        )
    )

    assert [(record.peer_id, record.start_block) for record in records] == [(SECOND, 0), (FIRST, 2)]


def test_the_highest_state_of_a_server_counts_as_for_petals_clients() -> None:
    blocks = announced({FIRST: (1, 1.0)})
    blocks[2][FIRST] = (2, 1.0), NOW + 60

    ((record,), _) = read(blocks)

    assert (record.state, record.start_block, record.end_block) == ("online", 2, 3)


LIES: list[tuple[str, Any]] = [
    ("server", None),
    ("server", 7),
    ("server", "text"),
    ("server", []),
    ("server", (2,)),
    ("server", (7, 1.0, {})),
    ("server", ([2], 1.0, {})),
    ("server", (2, -1.0, {})),
    ("server", (2, "fast", {})),
    ("server", (2, float("inf"), {})),
    ("server", (2, float("nan"), {})),
    ("server", (2, 1.0, "nonsense")),
    ("server", (2, 1.0, {7: 8})),
    ("server", (2, 1.0, {"state": 2})),
    ("server", value(start_block=0, end_block="all")),
    ("server", value(adapters=7)),
    ("server", value(public_name=["a"])),
    ("server", value(next_pings={"a": "soon"})),
    ("server", value(cache_tokens_left=-1)),
    ("span", value(start_block=4, end_block=9)),
    ("span", value(start_block=3, end_block=1)),
    ("span", value(start_block=10**9, end_block=2 * 10**9)),
]


@pytest.mark.parametrize(("reason", "lie"), LIES)
def test_a_server_that_lies_is_left_out_and_others_are_not(reason: str, lie: Any) -> None:
    blocks = announced({SECOND: value(start_block=0, end_block=4)})
    blocks[0][FIRST] = lie, NOW + 60

    records, rejected = read(blocks)

    assert [record.peer_id for record in records] == [SECOND]
    assert rejected == {reason: 1}


def test_values_that_cannot_even_be_compared() -> None:
    def deep() -> Any:
        value: Any = []
        for _ in range(5000):
            value = [value]
        return value

    blocks = announced({SECOND: value(start_block=0, end_block=4)})
    blocks[0][FIRST], blocks[1][FIRST] = (deep(), NOW + 60), (deep(), NOW + 60)

    records, rejected = read(blocks)

    assert [record.peer_id for record in records] == [SECOND]
    assert rejected == {"server": 2}


@pytest.mark.parametrize("ends", [NOW + 2 * MAX_LIFETIME, NOW - 2 * MAX_LIFETIME, float("inf"), float("nan")])
def test_an_announcement_for_ever_is_left_out(ends: float) -> None:
    records, rejected = read(announced({FIRST: value()}, expires_at=ends))

    assert (records, rejected) == ((), {"expiration": 4})


@pytest.mark.parametrize(
    "peer",
    [7, None, b"bytes", "", "no peer", "é", "Qm" + "x" * 44, "x" * 10**6, "<b>Qm</b>", "Qmaaaa", LONG, SHORT],
)
def test_who_is_no_peer_is_left_out(peer: Any) -> None:
    records, rejected = read(announced({peer: value(), FIRST: value()}))

    assert [record.peer_id for record in records] == [FIRST]
    assert rejected == {"peer": 4}


def test_ids_of_both_kinds_of_keys_are_peers() -> None:
    assert is_peer_id(FIRST)
    assert is_peer_id("12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA")


@pytest.mark.parametrize(
    "figures",
    [
        7,
        [],
        {"tokens_total": -1},
        {"tokens_total": 10**30},
        {"tokens_total": "many"},
        {"paused": "yes"},
        {"gpus": [{"name": "x" * 1000, "memory_used_bytes": 1, "memory_total_bytes": 2}]},
        {"gpus": [{"name": "a", "memory_used_bytes": 1, "memory_total_bytes": 2, "utilization": 7.0}]},
        {
            "gpus": [
                {"name": "a", "memory_used_bytes": 1, "memory_total_bytes": 2, "power_watts": float("nan")}
            ]
        },
        {"gpus": [{"name": "a", "memory_used_bytes": 1, "memory_total_bytes": 2}] * (MAX_GPUS + 1)},
    ],
)
def test_figures_that_cannot_be_true_cost_the_figures_alone(figures: Any) -> None:
    ((record,), rejected) = read(announced({FIRST: value(calyx=figures)}))

    assert (record.state, record.figures) == ("online", None)
    assert rejected == {"figures": 1}


def test_megabytes_of_text_are_cut() -> None:
    long = "x" * 10**6
    ((record,), _) = read(
        announced({FIRST: value(public_name=long, adapters=[long] * 1000, next_pings={long: 1.0})})
    )

    assert record.public_name is not None
    assert len(record.public_name) <= 400
    assert sum(map(len, record.adapters)) <= 64 * 400
    assert all(len(peer) <= 400 for peer in record.next_pings)


def test_a_server_that_claims_more_blocks_than_there_are_is_cut_to_size() -> None:
    ((record,), _) = read(announced({FIRST: value(start_block=2, end_block=10**9)}))

    assert (record.start_block, record.end_block) == (2, 4)


@pytest.mark.parametrize(
    ("prefix", "announcement"),
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
        ("p" * 1000, {"num_blocks": 4}),
        ("\N{SNAKE}" * 100, {"num_blocks": 4}),
        ("prefix", {"num_blocks": 4, "repository": "https://" + "x" * 10**6}),
        ("pre.fix", {"num_blocks": 4}),
        ("pre fix", {"num_blocks": 4}),
        (7, {"num_blocks": 4}),
        (None, {"num_blocks": 4}),
    ],
)
def test_a_model_that_is_nonsense_is_left_out(prefix: object, announcement: object) -> None:
    assert parse_model(prefix, announcement) is None


def test_a_model_is_read() -> None:
    model = parse_model("prefix", {"num_blocks": MAX_BLOCKS, "repository": "https://huggingface.co/a/b"})

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
