"""Ticks of single tokens as CUDA graphs: started in one call, where Python would start some two thousand kernels.

A graph repeats what was done while it was captured: the same kernels on the same memory. So there is one for each
number of rows and each length of texts, both rounded up, and what differs from tick to tick is written to one place
before: the tokens, where their texts begin and how long they are. All else is computed from these on the device. See
"Accelerating PyTorch with CUDA Graphs" (https://pytorch.org/blog/accelerating-pytorch-with-cuda-graphs/).
"""

import logging
from collections.abc import Callable, Sequence

import torch

from services.swarm.family.examination import NONSENSE
from services.swarm.family.layer_inputs import LayerInputs
from services.swarm.family.position_table import Arguments, KnownPositions
from services.swarm.serving.attention import longest_copied
from services.swarm.serving.groups import GROUP_TOKENS
from services.swarm.serving.nearness import near
from services.swarm.serving.pieces import Batch, Others, Piece, Short

logger = logging.getLogger(__name__)

_ROWS = (1, 4, 16, 32)
"""Of how many tokens there are graphs; a GPU waits for its weights, so some rows more take it no longer."""
_SHORTEST = 256
"""Tokens of the shortest texts that have graphs of their own; longer ones have them for each power of two."""

Replay = Callable[[], torch.Tensor]
Record = Callable[[Replay], Replay]
"""Takes what is to be recorded, and returns what repeats it on the same memory."""


class CudaGraphs:
    """Records on a GPU; all graphs use one piece of memory, in turns."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._stream = device, torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, tick: Replay) -> Replay:
        """Capture a tick without running it; errors are torch's own."""
        graph = torch.cuda.CUDAGraph()
        capture = torch.cuda.graph(
            graph,
            pool=self._pool,
            stream=self._stream,
            capture_error_mode="thread_local",  # other threads may use the GPU meanwhile
        )
        # Where a capture fails, torch leaves its stream the current one
        with torch.cuda.device(self._device), torch.cuda.stream(torch.cuda.current_stream()), capture:
            output = tick()

        def replay() -> torch.Tensor:
            graph.replay()
            return output

        return replay


class _SingleTokens(Batch):
    """One token of each text, where only the device knows which texts these are.

    Args:
        starts: where in the arena the texts begin, [tokens].
        positions: how many tokens each holds already, [tokens].
        length: more than any of them.
        dtype: type of the hidden states.
    """

    def __init__(
        self, starts: torch.Tensor, positions: torch.Tensor, length: int, dtype: torch.dtype
    ) -> None:
        super().__init__((), dtype, starts.device)
        self._starts, self._length = starts, length
        self.positions, self.slots = positions[None], starts + positions
        self._short: dict[int | None, Short] = {}

    def short_and_others(self, longest: int, window: int | None) -> tuple[Short, Others]:
        """Return that all are short: none is longer than ``longest``, or there would be no graph."""
        if window not in self._short:
            seen = self._length if window is None else min(window, self._length)
            ends = self.positions[0] + 1
            firsts = (ends - seen).clamp(min=0)
            rows = torch.arange(len(ends), device=ends.device)
            self._short[window] = Short.of(rows, self._starts + firsts, ends - firsts, seen, self._dtype)
        return self._short[window], []


class _Tick:
    """What is recorded once, and repeated for other tokens.

    Args:
        run: see ``DecodeGraphs``.
        known: what layers get for tokens at the positions of these texts; kept here, for a graph reads it.
        hidden: the tokens of the tick, [rows, hidden]; those of this moment are of no importance.
        nobody: where in the arena a token is that nobody wants.
        length: of the texts.
    """

    def __init__(
        self,
        run: Callable[[torch.Tensor, Batch, Arguments], torch.Tensor],
        known: KnownPositions,
        hidden: torch.Tensor,
        nobody: int,
        length: int,
    ) -> None:
        self._run, self._known, self._hidden, self._nobody, self._length = run, known, hidden, nobody, length
        self._places = torch.zeros(2, len(hidden), dtype=torch.int64, device=hidden.device)
        self.replay: Replay
        """Runs it once it is recorded."""

    def write(self, hidden: torch.Tensor, pieces: Sequence[Piece]) -> None:
        """Make these the tokens of the next tick."""
        missing = self._hidden.shape[0] - len(pieces)
        places = [[piece.start for piece in pieces], [piece.position for piece in pieces]]
        filled = [places[0] + [self._nobody] * missing, places[1] + [0] * missing]
        self._places.copy_(torch.tensor(filled))
        self._hidden[: len(pieces)] = hidden

    def record(self, record: Record, tokens: int) -> None:
        """Record the tick for these and all later tokens; errors are those of whoever records, too.

        Args:
            record: how it is recorded.
            tokens: how many of the rows are somebody's.

        Raises:
            RuntimeError: a replay computes something else.
        """
        # Libraries prepare at first use what a recording must not hold
        expected = self._compute()
        self.replay = record(self._compute)
        if not near(self.replay()[:tokens], expected[:tokens]):
            raise RuntimeError("a replay computes something else")

    def _compute(self) -> torch.Tensor:
        starts, positions = self._places
        batch = _SingleTokens(starts, positions, self._length, self._hidden.dtype)
        return self._run(self._hidden, batch, self._known.of(batch.positions))


class DecodeGraphs:
    """Records each kind of tick when it comes for the first time, and replays it from then on.

    Where that fails, or repeats something else, it is given up: from there on all ticks run as without this.

    Args:
        run: the blocks, for hidden states [tokens, hidden], whose they are, and what the layers get beside them.
        inputs: what the model hands to the layers.
        keys: the arena's, [blocks, tokens, kv heads, head size]; the last ``GROUP_TOKENS`` tokens are nobody's.
        values: like ``keys``.
        record: how it is recorded.
    """

    def __init__(
        self,
        run: Callable[[torch.Tensor, Batch, Arguments], torch.Tensor],
        inputs: LayerInputs,
        keys: torch.Tensor,
        values: torch.Tensor,
        record: Record,
    ) -> None:
        self._run, self._inputs, self._record = run, inputs, record
        self._nobody = keys.shape[1] - GROUP_TOKENS
        self._longest = longest_copied(keys[0], values[0])
        self._ticks: dict[tuple[int, int], _Tick] = {}
        self._works = True

    def run(self, hidden: torch.Tensor, pieces: Sequence[Piece]) -> torch.Tensor | None:
        """Run the tokens [tokens, hidden] of a batch through all blocks; write their keys and values.

        Returns:
            The output, shaped like ``hidden``; None where the batch has to run without a graph.
        """
        if not self._works or any(piece.tokens > 1 for piece in pieces):
            return None
        rows = next((rows for rows in _ROWS if rows >= len(pieces)), None)
        length = max(_SHORTEST, 1 << max(piece.position for piece in pieces).bit_length())
        if rows is None or length > self._longest:
            return None
        known = self._inputs.packed_before(length)
        if known is None:
            return None
        new = (rows, length) not in self._ticks
        if new:
            empty = hidden.new_zeros(rows, hidden.shape[1])
            self._ticks[rows, length] = _Tick(self._run, known, empty, self._nobody, length)
        tick = self._ticks[rows, length]
        tick.write(hidden, pieces)
        try:
            if new:
                tick.record(self._record, len(pieces))
            return tick.replay()[: len(pieces)].clone()
        except NONSENSE as error:
            logger.warning("ticks run without CUDA graphs: %r", error)
            self._works = False
            self._ticks.clear()
            return None
