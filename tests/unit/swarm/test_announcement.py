"""What our servers announce is what Petals announces, and one field more that stock peers leave out."""

import pickle

from petals.data_structures import ServerInfo, ServerState

from services.common.server_figures import GpuFigures, ServerFigures
from services.swarm.parsing import ServerParser, parse_model
from services.swarm.serving.announcement import Announcement
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


def test_a_token_that_passes_through_some_blocks_counts_as_a_part() -> None:
    usage = Usage(num_blocks=4)
    usage.served(tokens=10, blocks=4)
    usage.served(tokens=6, blocks=2)

    assert usage.tokens == 13
