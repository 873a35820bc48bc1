"""Many nodes at once, in threads as the server has them, on the database that a pool has."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from services.authority.authority import Authority, open_authority
from services.common.errors import Refused
from services.common.settings import AuthoritySettings
from tests.unit.authority.authority_fakes import Clock, FakeSigner, Pool

NODES = 50


def test_fifty_nodes_get_fifty_addresses(pool: Pool) -> None:
    token = pool.token(uses=NODES)
    with ThreadPoolExecutor(NODES) as threads:
        nodes = list(threads.map(lambda n: pool.enrol(f"n{n}", token, key=n), range(NODES)))

    assert {node.address for node in nodes} == {f"10.77.0.{n}/16" for n in range(1, NODES + 1)}
    assert pool.owner.tokens()[0]["used"] == NODES


def test_a_token_is_used_no_more_often_than_it_may(pool: Pool) -> None:
    token = pool.token(uses=7)

    def enrol(number: int) -> str:
        try:
            return pool.enrol(f"n{number}", token, key=number).address
        except Refused as error:
            return error.problem

    with ThreadPoolExecutor(NODES) as threads:
        answers = Counter(threads.map(enrol, range(NODES)))

    assert answers.pop("enrolling: this token is used up, 7 times") == NODES - 7
    assert sorted(answers.values()) == [1] * 7
    assert len(pool.owner.nodes()) == 7


def test_one_of_many_with_the_same_name_gets_it(pool: Pool) -> None:
    token = pool.token(uses=NODES)

    def enrol(number: int) -> bool:
        try:
            pool.enrol("alice", token, key=number)
        except Refused:
            return False
        return True

    with ThreadPoolExecutor(20) as threads:
        assert sum(threads.map(enrol, range(20))) == 1
    assert pool.owner.tokens()[0]["used"] == 1


def test_two_processes_on_one_folder_are_one_authority(
    pool: Pool, settings: AuthoritySettings, signer: FakeSigner, clock: Clock
) -> None:
    # Engines of their own share nothing but the file, as the server and a command in its container do.
    opened: list[Authority] = [open_authority(settings, signer) for _ in range(4)]
    token = pool.token(uses=NODES)
    pools = [Pool(authority, clock) for authority in opened]
    with ThreadPoolExecutor(20) as threads:
        nodes = list(threads.map(lambda n: pools[n % 4].enrol(f"n{n}", token, key=n), range(20)))
    for authority in opened:
        authority.database.close()

    assert len({node.address for node in nodes}) == 20
    assert len(pool.owner.nodes()) == 20
