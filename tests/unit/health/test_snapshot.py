"""What strangers announce becomes a true and bounded picture."""

import math

import pytest

from services.health.snapshot import (
    MAX_BLOCKS,
    MAX_MODELS,
    MAX_SERVERS,
    MAX_TEXT,
    Model,
    take_snapshot,
)
from services.swarm.records import ModelRecord
from tests.unit.health.swarm_fakes import model, server


def only_model(record: ModelRecord) -> Model:
    (one,) = take_snapshot([record], taken_at=0.0).models
    return one


def test_counts_copies_of_each_block_from_servers_that_are_online():
    one = only_model(
        model(
            server(peer_id="a", start_block=0, end_block=3),
            server(peer_id="b", start_block=2, end_block=4),
            server(peer_id="c", start_block=0, end_block=4, state="joining"),
            server(peer_id="d", start_block=0, end_block=4, state="offline"),
        )
    )
    assert one.replicas == (1, 1, 2, 1)
    assert one.missing_blocks == ()
    assert one.healthy
    assert one.counts == {"online": 2, "joining": 1, "offline": 1, "paused": 0, "unreachable": 0}


def test_names_the_blocks_that_nobody_has():
    one = only_model(model(server(start_block=1, end_block=3), blocks=5))
    assert one.missing_blocks == (0, 3, 4)
    assert not one.healthy


def test_a_model_without_servers_is_shown_as_missing_all_blocks():
    assert only_model(model(blocks=2)).missing_blocks == (0, 1)


def test_models_that_can_be_used_come_first_then_by_name():
    snapshot = take_snapshot(
        [model(prefix="a"), model(server(), prefix="c"), model(server(), prefix="b")], taken_at=7.0
    )
    assert [one.name for one in snapshot.models] == ["b", "c", "a"]
    assert snapshot.taken_at == 7.0


@pytest.mark.parametrize("blocks", [-1, 0, MAX_BLOCKS + 1, 10**9])
def test_a_model_of_an_absurd_number_of_blocks_is_left_out(blocks):
    snapshot = take_snapshot([model(server(), blocks=blocks), model(server(), prefix="good")], taken_at=0.0)
    assert [one.name for one in snapshot.models] == ["good"]
    assert snapshot.left_out == 2, "the model and its server"


@pytest.mark.parametrize(
    "values",
    [
        {"start_block": -1},
        {"start_block": 2, "end_block": 2},
        {"start_block": 3, "end_block": 1},
        {"end_block": 5},
        {"end_block": 10**9},
        {"state": "excellent"},
        {"peer_id": "\x00\u202e"},
    ],
)
def test_a_server_that_cannot_be_is_left_out(values):
    snapshot = take_snapshot([model(server(**values), server(peer_id="good"))], taken_at=0.0)
    (one,) = snapshot.models
    assert [one.peer_id for one in one.servers] == ["good"]
    assert snapshot.left_out == 1


@pytest.mark.parametrize("figure", [math.nan, math.inf, -1.0, 1e300])
def test_figures_that_cannot_be_true_are_unknown(figure):
    (one,) = only_model(
        model(server(throughput=figure, inference_rps=figure, forward_rps=figure, network_rps=figure))
    ).servers
    assert (one.throughput, one.inference_rps, one.forward_rps, one.network_rps) == (None,) * 4


@pytest.mark.parametrize(
    ("tokens", "kept"), [(0, 0), (16384, 16384), (-1, None), (10**30, None), (None, None)]
)
def test_cache_room_is_kept_when_it_can_be_true(tokens, kept):
    (one,) = only_model(model(server(cache_tokens_left=tokens))).servers
    assert one.cache_tokens_left == kept


@pytest.mark.parametrize(
    ("announced", "kept"),
    [
        ("  shelf\n", "shelf"),
        ("a\x00b\x1b[31mc", "ab[31mc"),
        ("\u202egpj.exe", "gpj.exe"),
        ("lone\ud800surrogate", "lonesurrogate"),
        ("<b>kept, and escaped by the page</b>", "<b>kept, and escaped by the page</b>"),
        ("", None),
        ("\u200b", None),
        ("x" * 10**6, "x" * (MAX_TEXT - 1) + "…"),
    ],
)
def test_names_are_cut_and_hold_only_what_is_printed(announced, kept):
    (one,) = only_model(model(server(public_name=announced))).servers
    assert one.public_name == kept


def test_all_servers_count_but_only_so_many_are_shown():
    many = [server(peer_id=f"peer{number}") for number in range(MAX_SERVERS + 5)]
    snapshot = take_snapshot([model(*many)], taken_at=0.0)
    (one,) = snapshot.models
    assert len(one.servers) == MAX_SERVERS
    assert one.replicas == (MAX_SERVERS + 5,) * 4
    assert snapshot.left_out == 5


def test_a_flood_of_models_does_not_push_out_those_that_can_be_used():
    flood = [model(prefix=f"flood{number:03}") for number in range(MAX_MODELS + 8)]
    snapshot = take_snapshot([*flood, model(server(), prefix="useful")], taken_at=0.0)
    assert len(snapshot.models) == MAX_MODELS
    assert snapshot.models[0].name == "useful"
    assert snapshot.left_out == 9


def test_two_models_of_one_name_are_told_apart():
    claim = "https://huggingface.co/owner/name"
    snapshot = take_snapshot(
        [model(prefix="impostor", repository=claim), model(server(), prefix="name-hf", repository=claim)],
        taken_at=0.0,
    )
    assert [(one.name, one.healthy) for one in snapshot.models] == [
        ("owner/name", True),
        ("owner/name (impostor)", False),
    ]
