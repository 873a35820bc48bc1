"""What our servers announce is what Petals announces, and one field more that stock peers leave out."""

import pickle
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

from petals.data_structures import ModelInfo, ServerInfo, ServerState

from services.common.server_figures import GpuFigures, ServerFigures
from services.swarm.parsing import ServerParser, parse_model
from services.swarm.serving.announcement import Announcement, Announcer
from services.swarm.serving.usage import Usage

PEER = "QmcZf59bWwK5XFi76CZX8cbJ4BhTzzA3gU1ZjYZcYW3dwt"


def test_figures_are_those_of_the_moment_it_is_sent() -> None:
    figures = [ServerFigures(tokens_total=1), ServerFigures(tokens_total=2)]
    announcement = Announcement(lambda: figures.pop(0), state=ServerState.JOINING, throughput=1.0)
    announcement.state = ServerState.ONLINE
    announcement.cache_tokens_left = 7

    sent = [pickle.loads(pickle.dumps(announcement)).to_tuple() for _ in range(2)]

    assert [more["calyx"]["tokens_total"] for _, _, more in sent] == [1, 2]
    assert [(state, more["cache_tokens_left"]) for state, _, more in sent] == [(2, 7), (2, 7)]


def test_petals_reads_its_own_fields_and_we_read_ours() -> None:
    gpu = GpuFigures(name="NVIDIA L4", memory_used_bytes=1, memory_total_bytes=2, utilization=0.25)
    figures = ServerFigures(paused=True, tokens_total=5, batches_total=2, queued_steps=1, gpus=[gpu])
    announcement = Announcement(
        lambda: figures, state=ServerState.OFFLINE, throughput=1.0, start_block=0, end_block=2
    )

    value = pickle.loads(pickle.dumps(announcement)).to_tuple()

    stock = ServerInfo.from_tuple(value)
    assert (stock.state, stock.start_block, stock.end_block) == (ServerState.OFFLINE, 0, 2)
    model = parse_model("prefix", {"num_blocks": 2})
    (record,) = ServerParser(0.0).read_model("prefix", model, [{PEER: (value, 60.0)}] * 2).servers
    assert record.figures == figures


class BusyTable:
    """Notes what is written; while the first announcement is on its way the server is told to leave."""

    def __init__(self) -> None:
        self.written: list[ServerState] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def run_coroutine(self, question: partial[Any], return_future: bool = False) -> Any:
        info = question.keywords.get("server_info")
        if info is None:
            return {} if not return_future else []
        self.written.append(ServerState(pickle.loads(pickle.dumps(info)).to_tuple()[0]))
        self.meanwhile()
        return {}


def test_the_last_word_is_heard_also_while_another_is_on_its_way() -> None:
    table = BusyTable()
    announcement = Announcement(
        ServerFigures, state=ServerState.JOINING, throughput=1.0, torch_dtype="float32"
    )
    announcer = Announcer(
        ["prefix.0"],
        table,
        announcement,
        ModelInfo(num_blocks=1),
        block_config=SimpleNamespace(hidden_size=1, num_key_value_groups=1),
        memory_cache=SimpleNamespace(bytes_left=0),
        update_period=60.0,
        expiration=60.0,
    )
    announcer._ping_next_servers = dict
    table.meanwhile = lambda: setattr(announcement, "state", ServerState.OFFLINE)
    announcer.start()
    announcer.join()

    announcer.announce(ServerState.OFFLINE)

    assert table.written == [ServerState.JOINING, ServerState.OFFLINE]


def test_a_token_that_passes_through_some_blocks_counts_as_a_part() -> None:
    usage = Usage(num_blocks=4)
    usage.served(tokens=10, blocks=4)
    usage.served(tokens=6, blocks=2)

    assert usage.tokens == 13
