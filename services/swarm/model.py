"""The client's side of a model: tokenizer, embeddings, norm and head here; blocks in the swarm."""

import logging
from collections.abc import Sequence

import torch
from hivemind import DHT
from petals.client.config import ClientConfig
from petals.client.inference_session import InferenceSession
from petals.client.remote_sequential import RemoteSequential
from petals.client.routing import RemoteSequenceManager
from petals.client.routing.sequence_manager import MissingBlocksError
from petals.data_structures import ServerState
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from services.common.errors import InvalidInput, Unavailable
from services.common.settings import SwarmSettings
from services.swarm.dht import rejoin, start_client
from services.swarm.directory import read_blocks
from services.swarm.loading import load_ends
from services.swarm.precision import choose_dtype, cpu_computes_bfloat16
from services.swarm.session import SessionCache, SwarmLayers
from services.swarm.spec import ModelSpec

logger = logging.getLogger(__name__)

MAX_STEP_TOKENS = 512
"""A longer prompt is sent in several messages, so that no message outgrows libp2p's limits."""


class SwarmModel:
    """A model whose blocks are run by the swarm; make one with ``load``."""

    def __init__(
        self,
        spec: ModelSpec,
        ends: PreTrainedModel,
        dht: DHT,
        sequence: RemoteSequenceManager,
    ) -> None:
        self._spec, self._ends, self._dht, self._sequence = spec, ends, dht, sequence
        config = spec.anatomy.config
        generation = spec.files.generation_config()
        self.name: str = spec.files.name
        self.tokenizer: PreTrainedTokenizerBase = spec.files.tokenizer()
        self.max_length: int = config.max_position_embeddings
        self.vocab_size: int = config.vocab_size
        self.num_blocks: int = spec.num_blocks
        self.dtype: torch.dtype = ends.dtype
        self.eos_token_ids = _token_ids(
            generation.eos_token_id if generation else config.eos_token_id
        ) | _token_ids(self.tokenizer.eos_token_id)

    @classmethod
    def load(cls, settings: SwarmSettings, dtype: str = "auto", route_timeout: float = 15.0) -> "SwarmModel":
        """Load the model's ends and join the swarm; takes seconds.

        Args:
            settings: the model and the peers to enter through.
            dtype: type of embeddings and head; ``auto`` for the model's own if the CPU computes in it.
            route_timeout: seconds to look for servers of missing blocks before a step fails.

        Raises:
            CalyxError: the model cannot be found or read, or no initial peer answers.
        """
        spec = ModelSpec.find(settings)
        cpu = torch.device("cpu")
        numbers = choose_dtype(dtype, spec.anatomy.config.dtype, cpu, cpu_computes_bfloat16())
        dht = start_client(settings.initial_peers)
        config = ClientConfig(
            initial_peers=settings.initial_peers,
            dht_prefix=spec.dht_prefix,
            show_route=False,
            max_retries=_retries_within(route_timeout),
            min_backoff=0.5,
            max_backoff=4,
            ban_timeout=3,
            update_period=15,
        )
        sequence = RemoteSequenceManager(
            config, [spec.uid(block) for block in range(spec.num_blocks)], dht=dht
        )
        middle = SwarmLayers(RemoteSequential(config, sequence_manager=sequence))
        model = cls(spec, load_ends(spec.files, spec.anatomy, dtype=numbers, middle=middle), dht, sequence)
        model._warm_up()
        return model

    def _warm_up(self) -> None:
        """Connect to servers and run one token, so that the first request does not pay for it."""
        try:
            if not self.missing_blocks():
                session = self.open_session(1)
                session.step([0])
                session.close()
        except Unavailable as error:
            logger.info("the swarm is not ready yet", extra={"model": self.name, "problem": str(error)})

    def missing_blocks(self) -> list[int]:
        """Ask the DHT now which blocks no server has online; empty means that the model can be used.

        Raises:
            Unavailable: the DHT does not answer.
        """
        rejoin(self._dht)
        infos = read_blocks(self._dht, self._spec.dht_prefix, self.num_blocks)
        return [
            block
            for block, info in enumerate(infos)
            if not any(server.state == ServerState.ONLINE for server in info.servers.values())
        ]

    def open_session(self, max_length: int) -> "Session":
        """Return a session that can hold ``max_length`` tokens; servers are asked at its first step.

        Raises:
            InvalidInput: the model cannot hold so many.
        """
        if not 1 <= max_length <= self.max_length:
            raise InvalidInput(
                f"a session of {max_length} tokens is not possible", f"ask for 1 to {self.max_length}"
            )
        return Session(self, InferenceSession(self._sequence, max_length), max_length)

    def run(self, cache: SessionCache, token_ids: Sequence[int]) -> torch.Tensor:
        """Send tokens through embeddings, swarm, norm and head; return float32 logits [vocab] after the last."""
        with torch.inference_mode():
            output = self._ends(
                input_ids=torch.tensor([list(token_ids)]), past_key_values=cache, logits_to_keep=1
            )
            logits: torch.Tensor = output.logits[0, -1].float()
            return logits

    def close(self) -> None:
        """Leave the swarm; open sessions fail from now on."""
        self._sequence.shutdown()
        self._dht.shutdown()


class Session:
    """One text in the making; used by one thread at a time, from any thread."""

    def __init__(self, model: SwarmModel, session: InferenceSession, max_length: int) -> None:
        self._model, self._session, self._max_length = model, session, max_length
        self._cache = SessionCache(session)

    @property
    def position(self) -> int:
        """Return how many tokens the servers' caches hold."""
        return int(self._session.position)

    def step(self, token_ids: Sequence[int]) -> torch.Tensor:
        """Send these tokens and return float32 logits [vocab] after the last one.

        Raises:
            InvalidInput: the session would hold more tokens than it was opened for, or none are given.
            Unavailable: some blocks have no server, and none came up within the route timeout.
        """
        if not token_ids:
            raise InvalidInput("a step needs at least one token")
        if self.position + len(token_ids) > self._max_length:
            raise InvalidInput(
                f"{self.position} + {len(token_ids)} tokens are more than the session's {self._max_length}",
                "open the session with a larger max_length, or send less",
            )
        try:
            for start in range(0, len(token_ids), MAX_STEP_TOKENS):
                logits = self._model.run(self._cache, token_ids[start : start + MAX_STEP_TOKENS])
        except MissingBlocksError as error:
            raise Unavailable(
                f"model {self._model.name}: no server for blocks {_ranges(self._model.missing_blocks())}",
                "wait for servers to join, or share a machine that serves them",
            ) from error
        except Exception as error:  # what a peer's failure surfaces as depends on where it died
            raise Unavailable(
                f"model {self._model.name}: the swarm did not answer: {error!r}", "try again"
            ) from error
        return logits

    def close(self) -> None:
        """Free the servers' caches; safe to call again, and when servers are gone."""
        self._session.close()


def _retries_within(seconds: float) -> int:
    """Return how many attempts Petals' backoff (0.5 s, doubling, at most 4 s) makes in about ``seconds``."""
    attempts, waited, delay = 2, 0.0, 0.5
    while waited + delay < seconds:
        waited += delay
        delay = min(2 * delay, 4.0)
        attempts += 1
    return attempts


def _token_ids(value: int | list[int] | None) -> frozenset[int]:
    if value is None:
        return frozenset()
    return frozenset([value] if isinstance(value, int) else value)


def _ranges(blocks: Sequence[int]) -> str:
    """Write block numbers as Petals writes spans: ``0:3, 7:8``, ends excluded."""
    spans: list[list[int]] = []
    for block in blocks:
        if spans and spans[-1][1] == block:
            spans[-1][1] = block + 1
        else:
            spans.append([block, block + 1])
    return ", ".join(f"{first}:{end}" for first, end in spans) or "none"
