"""The client's side of a model: tokenizer, embeddings, norm and head here; blocks in the swarm."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from functools import partial
from typing import Any

import torch
from hivemind import DHT
from hivemind.moe.client.remote_expert_worker import RemoteExpertWorker
from petals.client.config import ClientConfig
from petals.client.routing import RemoteSequenceManager
from petals.data_structures import ServerInfo, ServerState
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from services.common.errors import InvalidInput, Unavailable
from services.common.served_tokens import ServedTokens
from services.common.settings import SwarmSettings
from services.swarm.client.batches import Batches
from services.swarm.client.chain import Chain
from services.swarm.client.draft import Draft
from services.swarm.client.ends import Ends, ToEmbed, ToRead
from services.swarm.client.routes import PetalsRoutes
from services.swarm.client.session import AsyncSession
from services.swarm.dht import rejoin, start_client
from services.swarm.directory import read_blocks
from services.swarm.family.prepacked import prepack
from services.swarm.loading import load_ends, load_whole
from services.swarm.precision import choose_dtype, cpu_computes_bfloat16
from services.swarm.spec import ModelSpec

logger = logging.getLogger(__name__)

COMPUTING = ThreadPoolExecutor(1, "ends")
"""Where embeddings and heads of all models of this process are computed. OpenMP keeps a team of threads for every
thread that computes; with more threads than cores GNU's library lets all of them sleep after every product, so a
second thread would make each step slower for everybody."""
_TIED_HEAD_BYTES = 512 * 2**20
"""Up to this size, a head that is tied to the embeddings is kept a second time, for a product in half the time."""


class SwarmModel:
    """A model whose blocks are run by the swarm; make one with ``load``.

    Its sessions need no threads of their own: hivemind's event loop carries their messages, and one thread computes
    for all that wait at the same time.

    Args:
        spec: which model.
        ends: what of it is not in the swarm.
        dht: a running client.
        routes: where servers of its blocks are found.
        patience: seconds to look for servers of missing or lost blocks before a step fails.
        max_length: the most tokens that a session may hold, if that is less than the model can.
        shares_dht: whether others need the client when this model is closed.
        draft: guesses how texts go on.
    """

    def __init__(
        self,
        spec: ModelSpec,
        ends: Ends,
        dht: DHT,
        routes: PetalsRoutes,
        patience: float,
        max_length: int | None = None,
        shares_dht: bool = False,
        draft: Draft | None = None,
    ) -> None:
        self._spec, self._dht, self._routes, self._patience = spec, dht, routes, patience
        self._shares_dht, self._draft = shares_dht, draft
        self._embedding: Batches[ToEmbed, torch.Tensor] = Batches(ends.embed, COMPUTING)
        self._reading: Batches[ToRead, Any] = Batches(ends.read, COMPUTING)
        config = spec.anatomy.config
        generation = spec.files.generation_config()
        self.name: str = spec.files.name
        self._adapter: str | None = None
        self._base: SwarmModel | None = None
        self.tokenizer: PreTrainedTokenizerBase = spec.files.tokenizer()
        self.max_length: int = min(spec.anatomy.max_length, max_length or spec.anatomy.max_length)
        self.memory_bytes: int = ends.memory_bytes + (draft.memory_bytes if draft else 0)
        self.vocab_size: int = config.vocab_size
        self.num_blocks: int = spec.num_blocks
        self.dtype: torch.dtype = ends.dtype
        self.eos_token_ids = _token_ids(
            generation.eos_token_id if generation else config.eos_token_id
        ) | _token_ids(self.tokenizer.eos_token_id)

    @classmethod
    def load(
        cls,
        settings: SwarmSettings,
        dtype: str = "auto",
        route_timeout: float = 15.0,
        *,
        dht: Callable[[], DHT] | None = None,
        max_length: int | None = None,
        served: ServedTokens | None = None,
        draft: str | None = None,
    ) -> "SwarmModel":
        """Load the model's ends and join the swarm; takes seconds.

        Args:
            settings: the model and the peers to enter through.
            dtype: type of embeddings and head; ``auto`` for the model's own if the CPU computes in it.
            route_timeout: seconds to look for servers of missing or lost blocks before a step fails.
            dht: gives the client that the models of this process share; without it, this model starts its own.
            max_length: the most tokens that a session may hold, if that is less than the model can.
            served: counts what servers answer for.
            draft: the name of a small model of the same tokens that guesses how texts go on.

        Raises:
            CalyxError: a model cannot be found or read, the two do not fit, or no initial peer answers.
        """
        spec = ModelSpec.find(settings)
        cpu = torch.device("cpu")
        numbers = choose_dtype(dtype, spec.anatomy.config.dtype, cpu, cpu_computes_bfloat16())
        small = None if draft is None else _load_draft(draft, spec, settings, numbers)
        client = dht() if dht else start_client(settings.initial_peers)
        ends = Ends(partial(_ends_on_cpu, spec, numbers), invariant=settings.batch_invariant)
        count = partial((served or ServedTokens()).add, spec.files.name)
        routes = PetalsRoutes(_servers(spec, client), count)
        model = cls(spec, ends, client, routes, route_timeout, max_length, dht is not None, small)
        model._warm_up()
        return model

    def with_adapter(self, adapter: str) -> "SwarmModel":
        """Return this model as it is with a LoRA adapter of its servers, under the adapter's name.

        Only servers that offer the adapter are asked. Ends and connections are shared with this model, which lives as
        long; close it last.
        """
        adapted = copy(self)
        adapted.name = adapted._adapter = adapter
        adapted._base = self
        servers = _servers(self._spec, self._dht, adapter)
        adapted._routes = PetalsRoutes(servers, self._routes.count)
        return adapted

    def _warm_up(self) -> None:
        """Connect to servers and run one token, so that the first request does not pay for it."""
        try:
            if not self.missing_blocks():
                RemoteExpertWorker.run_coroutine(self._run_one_token())
        except Unavailable as error:
            logger.info("the swarm is not ready yet", extra={"model": self.name, "problem": str(error)})

    async def _run_one_token(self) -> None:
        session = self.open_session(1)
        try:
            await session.logits([0])
        finally:
            await session.close()

    def missing_blocks(self) -> list[int]:
        """Ask the DHT now which blocks no server has online, with the adapter; empty means that it can be used.

        Raises:
            Unavailable: the DHT does not answer.
        """
        rejoin(self._dht)
        infos = read_blocks(self._dht, self._spec.dht_prefix, self.num_blocks)
        return [
            block
            for block, info in enumerate(infos)
            if not any(self._is_served_by(server) for server in info.servers.values())
        ]

    def _is_served_by(self, server: ServerInfo) -> bool:
        offered = self._adapter is None or self._adapter in server.adapters
        return server.state == ServerState.ONLINE and offered

    def open_session(self, max_length: int) -> AsyncSession:
        """Return a session that can hold ``max_length`` tokens; servers are asked at its first step.

        Raises:
            InvalidInput: the model cannot hold so many.
        """
        if not 1 <= max_length <= self.max_length:
            raise InvalidInput(
                f"a session of {max_length} tokens is not possible", f"ask for 1 to {self.max_length}"
            )
        chain = Chain(self._routes, max_length, self._patience)
        return AsyncSession(self.name, chain, self._embedding, self._reading, max_length)

    async def guess(self, tokens: Sequence[int], count: int) -> list[int]:
        """Let the draft model, if there is one, guess at most ``count`` tokens that follow; see ``Draft.go_on``."""
        return await self._draft.go_on(tokens, count) if self._draft else []

    def close(self) -> None:
        """Leave the swarm; open sessions fail from now on. With an adapter, only what is its own ends."""
        self._routes.close()
        if self._adapter is None and not self._shares_dht:
            self._dht.shutdown()


def _servers(spec: ModelSpec, dht: DHT, adapter: str | None = None) -> RemoteSequenceManager:
    config = ClientConfig(
        initial_peers=[],  # the DHT knows them
        dht_prefix=spec.dht_prefix,
        active_adapter=adapter,
        show_route=False,
        ban_timeout=3,
        update_period=15,
    )
    return RemoteSequenceManager(config, [spec.uid(block) for block in range(spec.num_blocks)], dht=dht)


def _token_ids(value: int | list[int] | None) -> frozenset[int]:
    if value is None:
        return frozenset()
    return frozenset([value] if isinstance(value, int) else value)


def _ends_on_cpu(spec: ModelSpec, dtype: torch.dtype, gap: nn.Module) -> PreTrainedModel:
    ends = load_ends(spec.files, spec.anatomy, dtype=dtype, middle=gap)
    prepack(ends, twice=_TIED_HEAD_BYTES)
    return ends


def _load_draft(name: str, large: ModelSpec, settings: SwarmSettings, dtype: torch.dtype) -> Draft:
    own = {"model": name, "revision": None, "dht_prefix": None}
    small = ModelSpec.find(settings.model_copy(update=own))
    if small.files.tokenizer().get_vocab() != large.files.tokenizer().get_vocab():
        raise InvalidInput(
            f"{name} has other tokens than {large.files.name}", "choose a draft model of the same family"
        )
    model = load_whole(small.files, small.anatomy, dtype=dtype)
    prepack(model)
    return Draft(model, small.anatomy.max_length, large.anatomy.config.vocab_size, COMPUTING)
