"""The life of a server: announce, load a span of blocks, serve it, drain, leave."""

import gc
import logging
import multiprocessing as mp
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from hivemind import DHT
from petals.data_structures import RemoteModuleInfo, ServerState
from petals.server import block_selection
from petals.utils.convert_block import QuantType

from services.common.server_figures import GpuFigures, ServerFigures
from services.swarm.dht import rejoin
from services.swarm.directory import read_blocks
from services.swarm.family.block import cache_bytes_per_token
from services.swarm.family.layer_inputs import LayerInputs
from services.swarm.family.quantized import rounds_inputs
from services.swarm.loading import load_block
from services.swarm.serving.announcement import Announcer, start_announcing
from services.swarm.serving.arena import Arena
from services.swarm.serving.backend import BlockBackend, merge_inference_pools, warm_up
from services.swarm.serving.batching_pool import BatchingPool, batch_inference
from services.swarm.serving.channels import Channels
from services.swarm.serving.cores import Cores
from services.swarm.serving.decode_graphs import CudaGraphs
from services.swarm.serving.groups import GROUP_TOKENS
from services.swarm.serving.handler import TransformerConnectionHandler
from services.swarm.serving.options import SpanOptions
from services.swarm.serving.pace import Pace
from services.swarm.serving.packed import PackedSpan
from services.swarm.serving.packed_check import differs_in_batches
from services.swarm.serving.runtime import Runtime
from services.swarm.serving.scheduler import Scheduler
from services.swarm.serving.session_memory import SessionMemory
from services.swarm.serving.usage import Usage
from services.swarm.spec import ModelSpec

logger = logging.getLogger(__name__)

_ALLOCATION_SECONDS = 600
"""The most that a session waits for memory."""
_BALANCE_QUALITY = 0.75
"""Blocks are moved only if the swarm's slowest block would become faster by a third (Petals' default)."""


def choose_span(dht: DHT, model: ModelSpec, num_blocks: int) -> range:
    """Return the ``num_blocks`` consecutive blocks that the swarm serves worst."""
    blocks = block_selection.choose_best_blocks(
        num_blocks, read_blocks(dht, model.dht_prefix, model.num_blocks)
    )
    return range(blocks[0], blocks[-1] + 1)


class SpanServer:
    """Serves the blocks of ``span`` from ``start()`` to ``shutdown()``.

    Args:
        dht: a running full peer.
        model: the model.
        span: the blocks to serve.
        options: how to serve them.
        read_gpus: what is announced of this machine's GPUs.
    """

    def __init__(
        self,
        dht: DHT,
        model: ModelSpec,
        span: range,
        options: SpanOptions,
        read_gpus: Callable[[], list[GpuFigures]] = list,
    ) -> None:
        self.span = span
        self._dht, self._model, self._options = dht, model, options
        self._adapters = tuple(adapter.name for adapter in options.adapters)
        self._read_gpus, self._usage, self._paused = read_gpus, Usage(len(span)), False
        self._backends: dict[str, BlockBackend] = {}
        self._handlers: list[TransformerConnectionHandler] = []
        self._channels = Channels(options.num_handlers)
        # One thread loads and computes. OpenMP keeps a team of threads for every thread that ever computed, and GNU's
        # puts teams to sleep after each small piece of work once there are more threads than cores: a step took
        # 1.5 times as long.
        self._compute = ThreadPoolExecutor(1, "compute")
        self._arena: Arena | None = None
        self._memory: SessionMemory
        if options.batched:
            self._memory = self._arena = Arena(
                options.attn_cache_tokens, self._cache_bytes_per_token(), _ALLOCATION_SECONDS
            )
        else:
            self._memory = SessionMemory(
                self._cache_bytes_per_token() * options.attn_cache_tokens, _ALLOCATION_SECONDS
            )
        self._runtime: Runtime | None = None
        self._running: Future[None] | None = None
        self._announcer: Announcer | None = None

    def start(self, on_block_loaded: Callable[[int], None]) -> None:
        """Announce JOINING, load the blocks, start serving, announce ONLINE.

        Raises:
            CalyxError: a block could not be loaded; the span is announced OFFLINE again before.
        """
        self._announcer = start_announcing(
            self._dht, self._model, self.span, self._options, self._memory, self._figures
        )
        try:
            self._compute.submit(self._load, on_block_loaded).result()
            self._serve()
        except BaseException:
            self._announcer.announce(ServerState.OFFLINE)
            raise
        self._announcer.announce(ServerState.ONLINE)

    def _cache_bytes_per_token(self) -> int:
        return cache_bytes_per_token(self._model.anatomy, self._options.dtype) * len(self.span)

    def _figures(self) -> ServerFigures:
        pool = next(iter(self._backends.values())).inference_pool if self._runtime is not None else None
        return ServerFigures(
            paused=self._paused,
            tokens_total=self._usage.tokens,
            batches_total=self._usage.batches,
            queued_steps=pool.waiting if pool is not None else 0,
            gpus=self._read_gpus(),
        )

    def _load(self, on_block_loaded: Callable[[int], None]) -> None:
        options, model = self._options, self._model
        inputs = LayerInputs(model.anatomy, options.dtype, options.device)
        for index in self.span:
            block = load_block(
                model.files,
                model.anatomy,
                index,
                inputs,
                quantization=options.quantization,
                adapters=options.adapters,
                prepacked=options.batched,  # the other scheduler is the reference, with nothing of ours in it
            )
            uid = model.uid(index)
            self._backends[uid] = BlockBackend(
                uid,
                block,
                dtype=options.dtype,
                device=options.device,
                memory_cache=self._memory,
                channels=self._channels,
                prefill_chunk_tokens=options.prefill_chunk_tokens,
                max_task_tokens=options.max_session_tokens,
            )
            self._backends[uid].announced_host = options.announced_host
            on_block_loaded(index)
        if self._arena is None or not self._batch(self._arena, inputs):
            merge_inference_pools(self._backends, self._usage)
        warm_up(list(self._backends.values()))

    def _batch(self, arena: Arena, inputs: LayerInputs) -> bool:
        """Let steps of all sessions run together; False, with the reason in the log, if these blocks cannot."""
        options = self._options
        blocks = [backend.block for backend in self._backends.values()]
        arena.lay_out(len(blocks), blocks[0].num_kv_heads, blocks[0].head_size, options.dtype, options.device)
        invariant = options.batch_invariant
        span = PackedSpan(
            blocks,
            inputs,
            arena.keys,
            arena.values,
            invariant=invariant,
            record=CudaGraphs(options.device).record if options.cuda_graphs else None,
        )
        if difference := differs_in_batches(
            blocks,
            inputs,
            options.dtype,
            options.device,
            invariant=invariant,
            rounded=rounds_inputs(options.quantization, options.device),
        ):
            logger.warning("steps run one after another: %s", difference)
            return False
        batch_inference(
            self._backends,
            BatchingPool(
                self._channels,
                self._backends,
                Scheduler(
                    arena,
                    span,
                    Pace(options.batch_tokens, options.batch_seconds),
                    chunk=GROUP_TOKENS if invariant else 1,
                    cores=Cores(options.device),
                ),
                self._usage,
                max_task_tokens=options.max_session_tokens,
                device=options.device,
                first=self.span.start == 0,
            ),
        )
        return True

    def _serve(self) -> None:
        options = self._options
        queues: list[Any] = [mp.Queue() for _ in range(options.num_handlers)]
        self._handlers = [
            TransformerConnectionHandler(
                self._dht,
                self._backends,
                channels=self._channels,
                adapters=self._adapters,
                dht_prefix=self._model.dht_prefix,
                handler_event_queues=queues,
                handler_index=index,
                inference_max_length=options.max_session_tokens,
                request_timeout=180,
                session_timeout=30 * 60,
                step_timeout=5 * 60,
                quant_type=QuantType[options.quantization.upper()],
            )
            for index in range(options.num_handlers)
        ]
        gc.freeze()  # as in the server's ``_run``
        # Handlers are forked: they must exist before the runtime's threads hold any lock
        for handler in self._handlers:
            handler.run_in_background()
        self._channels.start()
        pools = {pool for backend in self._backends.values() for pool in backend.get_pools()}
        self._runtime = Runtime(self._channels, pools)
        self._running = self._compute.submit(self._runtime.run)

    def _read_blocks(self) -> list[RemoteModuleInfo]:
        return read_blocks(self._dht, self._model.dht_prefix, self._model.num_blocks)

    def problem(self) -> str | None:
        """Return what keeps this server from serving, or None if it serves and the swarm knows it."""
        if self._running is None or self._running.done():
            return "the runtime has ended"
        if not all(handler.is_alive() for handler in self._handlers):
            return "a connection handler has ended"
        rejoin(self._dht)
        infos = self._read_blocks()
        for block in self.span:
            info = infos[block].servers.get(self._dht.peer_id)
            if info is None or info.state != ServerState.ONLINE:
                return f"block {block} is not announced as online"
        return None

    def should_move(self) -> bool:
        """Tell whether the swarm would gain if this server held other blocks."""
        infos = self._read_blocks()
        if not any(self._dht.peer_id in info.servers for info in infos):
            return False
        moves: bool = block_selection.should_choose_other_blocks(self._dht.peer_id, infos, _BALANCE_QUALITY)
        return moves

    def drain(self, *, session_seconds: float, step_seconds: float, paused: bool = False) -> None:
        """Announce OFFLINE, take no new session, and let what goes on come to its end.

        Args:
            session_seconds: the most that open sessions are waited for, between whose steps nothing runs.
            step_seconds: the most that steps which wait or run are waited for after that.
            paused: announce that the blocks are meant to come back.
        """
        self._paused = paused
        if self._announcer is not None and self._announcer.is_alive():
            self._announcer.announce(ServerState.OFFLINE)
        self._memory.close()
        _wait_while(lambda: self._memory.in_use, session_seconds)
        _wait_while(lambda: self._runtime is not None and not self._runtime.idle, step_seconds)
        time.sleep(0.1)  # the last answers are still on their way through handlers and libp2p's daemon

    def shutdown(self) -> None:
        """Stop serving and free the memory of the blocks; ``drain`` comes before."""
        for handler in self._handlers:
            handler.shutdown()
        self._channels.close()
        self._compute.shutdown()
        for backend in self._backends.values():
            backend.shutdown()
        self._backends.clear()
        if self._options.device.type == "cuda":
            torch.cuda.empty_cache()


def _wait_while(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while condition() and time.monotonic() < deadline:
        time.sleep(0.05)
