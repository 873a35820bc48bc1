"""What counts as shared: what the seed saw itself, once, whatever ends in between and whoever lies."""

import json
from pathlib import Path

import pytest

from services.common.credits import ACCOUNT, LEDGER, Account, Ledger, read_document
from services.common.errors import Unavailable
from services.common.served_tokens import Served
from services.common.server_figures import ServerFigures
from services.health.collector import Collector
from services.health.credits.creditor import Creditor
from services.health.credits.meter import Meter
from tests.unit.health.swarm_fakes import Clock, FakeDirectory, model, server

PEER = "12D3KooWExamplePeer1"
HOME = "10.77.0.5"
PERIOD = 600
LOOK = 30.0


class Seed:
    """An exporter with its folder; ``restart`` is a new process on the same folder."""

    def __init__(self, collector: Collector, directory: FakeDirectory, clock: Clock, folder: Path) -> None:
        self.collector, self.directory, self.clock, self.folder = collector, directory, clock, folder
        self.run, self.served = 1.0, {}
        self.endpoint_answers = True
        directory.records = [model(server())]
        directory.places = {PEER: (HOME, range(4))}
        self.restart()

    def restart(self) -> None:
        self.creditor = Creditor(
            self.collector, self.folder, PERIOD, self._meter, pick=lambda server: server.end_block - 1
        )

    def _meter(self) -> Meter:
        if not self.endpoint_answers:
            raise Unavailable("asking the endpoint: no")
        return Meter(self.run, {("tiny-hf", peer): served for peer, served in self.served.items()})

    async def look(self, times: int = 1, seconds: float = LOOK) -> None:
        for _ in range(times):
            self.clock.now += seconds
            await self.collector.update()
            await self.creditor.look()

    @property
    def entries(self) -> list:
        return read_document(self.folder / ACCOUNT, Account).entries

    @property
    def total(self) -> tuple[float, int, int]:
        """Block-seconds, tokens and token-blocks of everybody, closed or not."""
        account = json.loads((self.folder / ACCOUNT).read_text())
        lines = account["entries"] + account["lines"]
        names = "block_seconds", "tokens", "token_blocks"
        return tuple(sum(line[name] for line in lines) for name in names)

    def book(self, upto: int, observer: str | None = None) -> None:
        observer = observer or read_document(self.folder / ACCOUNT, Account).observer
        (self.folder / LEDGER).write_text(Ledger(observer=observer, booked=upto).model_dump_json())


@pytest.fixture
def seed(collector: Collector, directory: FakeDirectory, clock: Clock, tmp_path: Path) -> Seed:
    return Seed(collector, directory, clock, tmp_path)


async def test_blocks_count_for_the_time_between_two_looks(seed: Seed) -> None:
    await seed.look()
    assert seed.total == (0, 0, 0)
    await seed.look(2)
    assert seed.total == (2 * 4 * LOOK, 0, 0)


async def test_whoever_moves_counts_with_the_blocks_that_were_there_all_the_time(seed: Seed) -> None:
    await seed.look()
    seed.directory.records = [model(server(end_block=1))]
    await seed.look()
    seed.directory.records = [model(server())]
    await seed.look()
    assert seed.total[0] == 2 * LOOK


async def test_announcing_more_than_one_has_brings_nothing(seed: Seed) -> None:
    boast = ServerFigures(tokens_total=10**15, batches_total=10**15)
    seed.directory.records = [model(server(throughput=1e9, figures=boast))]
    seed.directory.places = {PEER: (HOME, range(3))}
    await seed.look(5)
    assert seed.total == (0, 0, 0)


@pytest.mark.parametrize("state", ["joining", "offline"])
async def test_only_who_is_online_counts(seed: Seed, state: str) -> None:
    seed.directory.records = [model(server(state=state))]
    await seed.look(3)
    assert seed.total[0] == 0


async def test_who_is_not_reached_or_not_where_it_says_counts_not(seed: Seed) -> None:
    seed.directory.places = {}
    await seed.look(3)
    assert seed.total[0] == 0


@pytest.mark.parametrize("seconds", [3 * LOOK + 1, -3600.0, 86400.0])
async def test_a_gap_or_a_clock_that_was_set_counts_nothing(seed: Seed, seconds: float) -> None:
    await seed.look()
    await seed.look(seconds=seconds)
    assert seed.total[0] == 0
    await seed.look()
    assert seed.total[0] == 4 * LOOK


async def test_a_restart_forgets_nothing_and_counts_nothing_twice(seed: Seed) -> None:
    seed.served = {PEER: Served(10, 40)}
    await seed.look()
    seed.served = {PEER: Served(15, 60)}
    await seed.look()
    for _ in range(3):
        seed.restart()
        await seed.look()
    assert seed.total == (4 * LOOK, 5, 20)
    seed.served = {PEER: Served(16, 64)}
    await seed.look()
    assert seed.total == (2 * 4 * LOOK, 6, 24)


async def test_a_restarted_endpoint_counts_from_nothing(seed: Seed) -> None:
    await seed.look()
    seed.served = {PEER: Served(10, 40)}
    await seed.look()
    seed.run, seed.served = 2.0, {PEER: Served(50, 200)}
    await seed.look()
    assert seed.total[1:] == (60, 240)


async def test_what_an_endpoint_counted_before_this_file_began_is_left_alone(seed: Seed) -> None:
    seed.served = {PEER: Served(1000, 4000)}
    await seed.look(2)
    assert seed.total[1:] == (0, 0)


async def test_tokens_wait_until_their_server_is_seen(seed: Seed) -> None:
    places, seed.directory.places = seed.directory.places, {}
    await seed.look()
    seed.served = {PEER: Served(10, 40), "12D3KooWStranger": Served(99, 99)}
    await seed.look()
    assert seed.total[1:] == (0, 0)
    seed.directory.places = places
    await seed.look()
    assert seed.total[1:] == (10, 40)


async def test_the_last_tokens_of_a_server_that_left_count(seed: Seed) -> None:
    await seed.look()
    seed.directory.records, seed.served = [], {PEER: Served(10, 40)}
    await seed.look()
    assert seed.total == (0, 10, 40)


async def test_an_endpoint_that_does_not_answer_costs_no_block_second(seed: Seed) -> None:
    seed.endpoint_answers = False
    await seed.look(2)
    assert seed.total[0] == 4 * LOOK


async def test_entries_are_closed_after_a_period_and_kept_until_they_are_booked(seed: Seed) -> None:
    looks = int(PERIOD / LOOK)
    await seed.look(looks)
    assert seed.entries == []
    await seed.look()
    (entry,) = seed.entries
    assert (entry.number, entry.peer_id, entry.address, entry.model) == (1, PEER, HOME, "tiny-hf")
    assert (entry.public_name, entry.block_seconds) == ("shelf", 4 * PERIOD)
    assert entry.ends_at - entry.begins_at == PERIOD

    seed.restart()
    await seed.look(looks + 1)
    assert [one.number for one in seed.entries] == [1, 2], "an authority that is down is waited for"
    assert seed.entries[0] == entry

    seed.book(2, observer="0" * 16)
    await seed.look()
    assert len(seed.entries) == 2, "those of another folder were booked"
    seed.book(1)
    await seed.look()
    assert [one.number for one in seed.entries] == [2]


async def test_a_damaged_file_begins_anew_under_another_name(seed: Seed) -> None:
    await seed.look(2)
    path = seed.folder / ACCOUNT
    before = json.loads(path.read_text())["observer"]
    path.write_text(path.read_text()[:50])
    seed.restart()
    await seed.look(2)
    assert json.loads(path.read_text())["observer"] != before
    assert seed.total[0] == 4 * LOOK


async def test_every_announced_block_may_be_asked_for(seed: Seed) -> None:
    asked: list[int] = []
    seed.directory.witness = lambda claims: asked.extend(claim.block for claim in claims) or {}
    seed.creditor = Creditor(seed.collector, seed.folder, PERIOD, seed._meter)
    seed.directory.records = [model(server(start_block=1))]
    await seed.look(60)
    assert set(asked) == {1, 2, 3}


async def test_the_loop_goes_on_when_the_swarm_cannot_be_asked(seed: Seed) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            raise InterruptedError

    creditor = Creditor(seed.collector, seed.folder, PERIOD, seed._meter, sleep=sleep)
    with pytest.raises(InterruptedError):
        await creditor.run()
    assert pauses == [LOOK, LOOK]


async def test_a_damaged_ledger_keeps_nothing_from_being_counted(seed: Seed) -> None:
    (seed.folder / LEDGER).write_text("{")
    await seed.look(2)
    assert seed.total[0] == 4 * LOOK


async def test_names_of_any_length_keep_nobody_from_being_booked(seed: Seed) -> None:
    long = "https://huggingface.co/" + "x" * 500
    seed.directory.records = [
        model(server(), prefix="y" * 120, repository=long),
        model(server(public_name="z" * 500), prefix="y" * 119 + "z", repository=long),
    ]
    await seed.look(int(PERIOD / LOOK) + 1)
    assert len(seed.entries) > 0
