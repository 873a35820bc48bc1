"""Which servers a text is sent to when some of them fail."""

import asyncio
import threading
from contextlib import ExitStack
from math import inf

import pytest
from hivemind import get_dht_time
from hivemind.dht.node import Blacklist
from hivemind.p2p import PeerID
from petals.client.config import ClientConfig
from petals.client.routing import RemoteSequenceManager
from petals.client.routing.sequence_info import RemoteSequenceInfo
from petals.client.routing.sequence_manager import SequenceManagerState
from petals.client.routing.spending_policy import NoSpendingPolicy
from petals.data_structures import RemoteModuleInfo, RemoteSpanInfo, ServerInfo, ServerState
from petals.utils.ping import PingAggregator

from services.swarm.client.company import Company
from services.swarm.client.routes import AnsweringServer, MissingBlocks, PetalsRoutes

BLOCKS = 4
UIDS = tuple(f"model.{index}" for index in range(BLOCKS))
ONE, OTHER, HALF = (PeerID(bytes([number] * 32)) for number in range(3))


class FakeThread:
    """Petals' thread that reads the DHT: it does so when a test lets it."""

    def __init__(self) -> None:
        self.ready, self.trigger = threading.Event(), threading.Event()

    def is_alive(self) -> bool:
        return True


class FakeSequence(RemoteSequenceManager):
    """Petals' own choice among servers, which are those that the test names."""

    def __init__(self, *spans: tuple[PeerID, range]) -> None:
        self.config = ClientConfig()
        self.state = SequenceManagerState(
            sequence_info=RemoteSequenceInfo.make_empty(UIDS), banned_peers=Blacklist(30, 2)
        )
        self.lock_changes, self._thread_start_lock = threading.Lock(), threading.Lock()
        self.policy = NoSpendingPolicy()
        self.ping_aggregator = PingAggregator(None)
        self._thread = FakeThread()
        self.read_dht(*spans)

    def read_dht(self, *spans: tuple[PeerID, range]) -> None:
        servers = {
            peer: (blocks, ServerInfo(ServerState.ONLINE, 1.0, blocks.start, blocks.stop))
            for peer, blocks in spans
        }
        self.state.sequence_info.update_(
            [
                RemoteModuleInfo(
                    uid, {peer: info for peer, (blocks, info) in servers.items() if index in blocks}
                )
                for index, uid in enumerate(UIDS)
            ]
        )
        self._thread.trigger.clear()
        self._thread.ready.set()

    @property
    def reads_dht(self) -> bool:
        return self._thread.trigger.is_set()


async def found(routes: PetalsRoutes) -> list[tuple[PeerID, int, int]]:
    async with asyncio.timeout(5):
        return [(span.peer_id, span.start, span.end) for span in await routes.find(0, BLOCKS, 10)]


async def test_a_server_that_failed_is_replaced_without_reading_the_dht() -> None:
    sequence = FakeSequence((ONE, range(BLOCKS)), (OTHER, range(BLOCKS)))
    routes = PetalsRoutes(sequence)
    [first] = await routes.find(0, BLOCKS, 10)
    others = {ONE, OTHER} - {first.peer_id}

    routes.failed(first)

    assert await found(routes) == [(peer, 0, BLOCKS) for peer in others]
    assert first.peer_id in sequence.state.banned_peers
    assert not sequence.reads_dht


async def test_a_server_without_another_for_all_its_blocks_is_kept_until_the_dht_is_read() -> None:
    sequence = FakeSequence((ONE, range(BLOCKS)), (HALF, range(2)))
    routes = PetalsRoutes(sequence)
    [span] = await routes.find(2, BLOCKS, 10)

    routes.failed(span)
    assert sequence.reads_dht
    sequence.read_dht((HALF, range(2)), (OTHER, range(2, BLOCKS)))

    assert await found(routes) == [(HALF, 0, 2), (OTHER, 2, BLOCKS)]


async def test_blocks_without_any_server_are_named() -> None:
    routes = PetalsRoutes(FakeSequence((HALF, range(2))))

    with pytest.raises(MissingBlocks, match="no server for blocks 2:4"):
        await routes.find(0, BLOCKS, 10)


async def test_finding_waits_for_what_is_being_read() -> None:
    sequence = FakeSequence((HALF, range(2)))
    routes = PetalsRoutes(sequence)
    routes.failed(None)
    assert sequence.reads_dht

    finding = asyncio.ensure_future(found(routes))
    await asyncio.sleep(0)
    sequence.read_dht((HALF, range(2)), (OTHER, range(2, BLOCKS)))

    assert await finding == [(HALF, 0, 2), (OTHER, 2, BLOCKS)]


@pytest.mark.parametrize(
    ("announced", "shown"),
    [
        ("tulip", "tulip"),
        (None, None),
        ("", None),
        ("\n\u202e", None),
        ("tu\nlip " + "x" * 999, "tulip " + "x" * 54),
    ],
)
def test_a_server_is_shown_by_a_short_printable_name(announced: str | None, shown: str | None) -> None:
    info = ServerInfo(ServerState.ONLINE, 1.0, public_name=announced)
    span = RemoteSpanInfo(ONE, 1, 3, info)
    assert AnsweringServer.of(span) == AnsweringServer(ONE.to_base58(), shown, 1, 3)


async def test_what_servers_answer_for_is_counted_by_their_blocks() -> None:
    counted: list[tuple[str, int, int]] = []
    routes = PetalsRoutes(FakeSequence((ONE, range(BLOCKS))), lambda *answer: counted.append(answer))
    [span] = await routes.find(1, BLOCKS, 10)

    routes.succeeded(span, 7)

    assert counted == [(ONE.to_base58(), 7, 3)]


@pytest.mark.parametrize(
    ("texts", "there", "back", "between", "pushing", "passing_on"),
    [
        (1, 0.002, 0.003, 0.001, True, True),
        (1, 0.030, 0.030, 0.050, True, True),
        (1, 0.030, 0.030, 0.070, False, True),
        (1, 0.030, 0.030, 0.120, False, False),
        (1, None, 0.030, 0.001, False, True),
        (1, 0.030, None, 0.001, False, True),
        (1, 0.030, 0.030, inf, False, True),
        (1, inf, 0.030, 0.001, False, True),
        (4, 0.002, 0.003, 0.001, False, True),
        (4, 0.030, 0.030, 0.030, True, True),
        (4, 0.030, 0.030, None, True, True),
        (16, 0.030, 0.030, 0.030, False, True),
        (16, 0.030, 0.030, 0.120, False, False),
        (16, 0.090, 0.090, 0.030, True, True),
    ],
)
async def test_servers_push_and_pass_on_where_that_spares_more_time_than_its_messages_take(
    texts: int,
    there: float | None,
    back: float | None,
    between: float | None,
    *,
    pushing: bool,
    passing_on: bool,
) -> None:
    sequence = FakeSequence((ONE, range(2)), (OTHER, range(2, BLOCKS)))
    routes = PetalsRoutes(sequence)
    span, following = await routes.find(0, BLOCKS, 10)
    for one, seconds in ((span, there), (following, back)):
        if seconds is not None:
            sequence.ping_aggregator.ping_emas.store(one.peer_id, seconds, get_dht_time() + 60)
    if between is not None:
        span.server_info.next_pings = {following.peer_id.to_base58(): between}

    with ExitStack() as stepping:
        for _ in range(texts):
            stepping.enter_context(routes.company)
        assert routes.pushing_pays(span, following) == pushing
        assert routes.passing_on_pays(span, following) == passing_on


def test_texts_that_step_together_again_and_again_are_in_company_from_the_first_one_on() -> None:
    company = Company()
    for _ in range(3):
        with ExitStack() as stepping:
            for _ in range(16):
                stepping.enter_context(company)

    with company:
        assert company.size > 15


def test_company_that_has_gone_is_forgotten() -> None:
    company = Company()
    with ExitStack() as stepping:
        for _ in range(16):
            stepping.enter_context(company)

    for _ in range(200):
        with company:
            pass

    assert company.size == 1


def test_a_step_that_fails_is_no_company() -> None:
    company = Company()
    with pytest.raises(KeyError), company:
        raise KeyError

    with company:
        assert company.size == 1
