from collections.abc import Iterator

import pytest

from scripts.helper.commands.logs import Line, as_they_come, choose
from services.common.errors import InvalidInput, Unavailable
from tests.unit.helper.helper_fakes import container

BOTH = [container("vpn"), container("server")]


def test_one_service_or_all() -> None:
    assert choose(BOTH, None, "calyx") == BOTH
    assert choose(BOTH, "server", "calyx") == [BOTH[1]]


def test_a_service_that_does_not_exist() -> None:
    with pytest.raises(InvalidInput, match="there is no service 'sever' — choose one of server, vpn"):
        choose(BOTH, "sever", "calyx")


def test_a_stack_that_was_never_started() -> None:
    with pytest.raises(
        Unavailable, match=r"mine has no containers — start it by \./scripts/calyx --project mine up"
    ):
        choose([], None, "mine")


def test_followed_logs_come_together() -> None:
    streams = [iter([("1", "a", "x"), ("3", "a", "y")]), iter([("2", "b", "z")])]
    assert sorted(as_they_come(streams)) == [("1", "a", "x"), ("2", "b", "z"), ("3", "a", "y")]


def test_an_engine_that_stops_ends_following() -> None:
    def broken() -> Iterator[Line]:
        yield "1", "a", "x"
        raise Unavailable("the Docker engine stopped answering")

    lines = as_they_come([broken()])
    assert next(lines) == ("1", "a", "x")
    with pytest.raises(Unavailable, match="stopped answering"):
        next(lines)
