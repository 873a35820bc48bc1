"""On which cores a tick computes: on all, or on one less while steps of other sessions are on their way.

A batch of single tokens waits for weights to come from memory more than it computes, so a core fewer makes it hardly
slower; handlers, libp2p's daemon and often a client on the same machine then work beside it instead of in its place.
Where all sessions are in the batch, nobody else has anything to do.
"""

from collections import deque
from collections.abc import Hashable, Mapping

import torch

from services.swarm.kernels.team import bind_team, cores

_REMEMBERED = 8
"""Steps; sessions of other batches come back soon."""


class Cores:
    """Chooses for the thread that uses it; for its own batches alone.

    Each thread that computes has a core for itself, if there are as many threads as cores and these are all alike.
    With fewer threads, those of two servers would meet on the same cores.

    Args:
        device: where blocks run; on a GPU nothing is to choose.
    """

    def __init__(self, device: torch.device) -> None:
        self._chooses = device.type == "cpu"
        self._all = torch.get_num_threads()
        self._lately: deque[Hashable] = deque(maxlen=_REMEMBERED)
        known = cores()
        alike = len(known) == self._all and len(set(map(len, known))) == 1
        self._own = known if alike else []
        self._chosen = 0

    def suit(self, batch: Mapping[Hashable, int]) -> None:
        """Let the next batch have the cores that it needs, given how many tokens each session runs in it."""
        leaves_one = max(batch.values()) == 1 and not batch.keys() >= set(self._lately)
        self._lately.extend(batch)
        wanted = max(1, self._all - leaves_one)
        if self._chooses and wanted != self._chosen:
            self._chosen = wanted
            torch.set_num_threads(wanted)
            if self._own:
                bind_team(self._own[:wanted])
