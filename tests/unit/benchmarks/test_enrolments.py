"""How enrolments of many nodes are counted."""

import threading

from scripts.benchmarks.enrolments import AT_ONCE, enrol_all, public_key
from services.authority.certificates import checked_public_key
from services.common.errors import Refused
from services.common.token import JoinToken
from services.vpn.membership import Membership
from tests.unit.vpn.members import member

TOKEN = JoinToken("home", "203.0.113.7:7443", "ab" * 32, "id", "secret")


def test_members_and_refusals_are_told_apart() -> None:
    def enrol(_: JoinToken, name: str) -> Membership:
        if name.endswith("3"):
            raise Refused("enrolling: this token is used up", "ask for another")
        return member(name=name)

    outcome = enrol_all(TOKEN, [f"bench-{number}" for number in range(10)], enrol=enrol)

    assert len(outcome.members) == 9
    assert outcome.errors == ("enrolling: this token is used up — ask for another",)
    assert outcome.seconds >= 0


def test_those_who_come_together_are_all_there_at_once() -> None:
    there = threading.Barrier(AT_ONCE, timeout=60)

    def enrol(_: JoinToken, name: str) -> Membership:
        there.wait()
        return member(name=name)

    outcome = enrol_all(TOKEN, [str(number) for number in range(AT_ONCE)], together=True, enrol=enrol)

    assert len(outcome.members) == AT_ONCE
    assert outcome.errors == ()


def test_a_key_is_one_that_the_authority_takes() -> None:
    one, other = public_key(), public_key()

    assert checked_public_key(one) == one != other
