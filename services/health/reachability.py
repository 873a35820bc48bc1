"""Whether peers answer, who is called next, and what their owners can do when they do not."""

from collections.abc import Mapping, Sequence

MAX_CALLS = 128
"""Peers that are called in one look; in a larger swarm each is called every few looks."""

_REMEDIES = (
    (
        ("not answer within", "timeout", "deadline"),
        "let its TCP port (CALYX_SERVER_PORT, 31331) through the firewall or router in front of it, "
        "or join with --public, which uses relays",
    ),
    (
        ("not found", "no addresses", "no good addresses"),
        "set CALYX_ANNOUNCE_HOST on that machine to the address that others reach it at",
    ),
    (
        ("refused", "dial", "reset", "no route"),
        'its process has ended or moved: "./scripts/calyx status" on that machine says what runs there',
    ),
)
_ELSE = '"./scripts/calyx doctor" on that machine checks its network'


def remedy(problem: str) -> str:
    """Return what the owner of a peer that is not reached can do."""
    text = problem.lower()
    return next((advice for words, advice in _REMEDIES if any(word in text for word in words)), _ELSE)


class Reachability:
    """The last verdict about each peer."""

    def __init__(self) -> None:
        self._verdicts: dict[str, tuple[int, str | None]] = {}
        self._round = 0

    @property
    def problems(self) -> dict[str, str | None]:
        """Return why each peer that was called did not answer, None for those that did."""
        return {peer: problem for peer, (_, problem) in self._verdicts.items()}

    def choose(self, peers: Sequence[str]) -> list[str]:
        """Return whom to call now: those that were never called, then those whose verdict is the oldest.

        Args:
            peers: all that could be called; verdicts about others are forgotten.
        """
        known = set(peers)
        self._verdicts = {peer: verdict for peer, verdict in self._verdicts.items() if peer in known}
        oldest_first = sorted(known, key=lambda peer: (self._verdicts.get(peer, (0, None))[0], peer))
        return oldest_first[:MAX_CALLS]

    def learn(self, problems: Mapping[str, str | None]) -> bool:
        """Take note of verdicts; tell whether one is another than before."""
        self._round += 1
        before = self.problems
        self._verdicts |= {peer: (self._round, problem) for peer, problem in problems.items()}
        return any(bool(before.get(peer)) != bool(problem) for peer, problem in problems.items())
