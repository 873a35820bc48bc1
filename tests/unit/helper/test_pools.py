"""The folders of the pools that a machine is part of."""

import stat
from pathlib import Path

import pytest

from scripts.helper.context import ROOT
from scripts.helper.pools import Pool, Pools
from services.common.errors import Broken, InvalidInput, Unavailable

HOME = Pool("home", "calyx-home", "worker", {"CALYX_NODE_NAME": "attic"})
CLUB = Pool("club", "calyx-club", "seed", server=False)


@pytest.fixture
def pools(tmp_path: Path) -> Pools:
    return Pools(tmp_path / "pools")


def test_a_pool_comes_back_as_it_was(pools: Pools) -> None:
    for pool in (HOME, CLUB):
        pools.save(pool)

    assert [pools.load(name) for name in pools.names()] == [CLUB, HOME]


def test_nobody_else_may_look_into_it(pools: Pools, tmp_path: Path) -> None:
    pools.save(HOME)

    assert stat.S_IMODE((tmp_path / "pools/home").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "pools/home/pool.json").stat().st_mode) == 0o600


def test_the_only_pool_needs_no_name(pools: Pools) -> None:
    pools.save(HOME)

    assert pools.choose(None, None) == HOME


def test_one_of_several_must_be_named(pools: Pools) -> None:
    for pool in (HOME, CLUB):
        pools.save(pool)

    assert pools.choose("club", None) == CLUB
    assert pools.choose(None, "calyx-home") == HOME
    with pytest.raises(InvalidInput, match="club, home — choose by --pool"):
        pools.choose(None, None)


def test_a_stack_on_its_own_is_no_pool(pools: Pools) -> None:
    pools.save(HOME)

    assert pools.find(None, "calyx") is None


def test_a_machine_in_no_pool_learns_how_to_be_in_one(pools: Pools) -> None:
    with pytest.raises(Unavailable, match=r"in no pool — \./scripts/calyx create"):
        pools.choose(None, None)


def test_a_pool_that_nobody_joined(pools: Pools) -> None:
    pools.save(HOME)

    with pytest.raises(InvalidInput, match="no pool club — it is in: home"):
        pools.load("club")


@pytest.mark.parametrize("name", ["", "..", "a/b", "Home", "-a", "a" * 41])
def test_a_name_that_could_leave_the_folder_or_the_project(pools: Pools, name: str) -> None:
    with pytest.raises(InvalidInput, match="no name for a pool"):
        pools.load(name)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "home"}'])
def test_a_record_that_is_spoilt_is_named(pools: Pools, tmp_path: Path, text: str) -> None:
    pools.save(HOME)
    (tmp_path / "pools/home/pool.json").write_text(text)

    with pytest.raises(Broken, match=r"pools/home/pool\.json"):
        pools.load("home")


@pytest.mark.parametrize(
    ("pool", "part", "answers"),
    [
        (Pool("home", "calyx-home", "seed"), "the seed", True),
        (CLUB, "the seed", False),
        (HOME, "a worker", False),
        (Pool("home", "calyx-home", "worker", server=False), "a user", False),
        (Pool("public", "calyx-public", "public"), "a server of Petals' public swarm", False),
    ],
)
def test_what_a_machine_is_in_a_pool(pool: Pool, part: str, answers: bool) -> None:
    assert (pool.part, pool.answers) == (part, answers)
    assert (ROOT / pool.fragment).is_file()


def test_the_model_that_was_chosen_is_known() -> None:
    assert Pool("public", "calyx-public", "public", {"CALYX_MODEL": "big/one"}).model == "big/one"
    assert HOME.model is None


def test_a_pool_that_was_left_is_forgotten(pools: Pools) -> None:
    pools.save(HOME)
    pools.remove("home")
    pools.remove("home")

    assert pools.names() == []
