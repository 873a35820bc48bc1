"""Runs the server until it is told to stop: choose blocks, load and serve them, watch, move, drain."""

import gc
import logging
from pathlib import Path

from services.common import logs
from services.common.errors import CalyxError, InvalidSetting
from services.common.heartbeat import DEFAULT_PATH, Heartbeat
from services.common.network_watch import end_when_left_behind
from services.common.settings import LoggingSettings, ServerSettings, SwarmSettings
from services.server.capacity import blocks_that_fit, choose_device, free_memory, reserve
from services.server.gpus import gpu_reader
from services.server.last_span import LastSpan
from services.server.pausing import GRACE_NAME, Grace
from services.server.stopping import Stopped, StopRequest
from services.server.watching import Watch
from services.swarm import dht
from services.swarm.adapters import find_adapters
from services.swarm.family.block import cache_bytes_per_token
from services.swarm.family.quantized import rounds_inputs
from services.swarm.loading import block_bytes
from services.swarm.precision import choose_dtype, cpu_computes_bfloat16
from services.swarm.serving.options import SpanOptions
from services.swarm.serving.span_server import SpanServer, choose_span
from services.swarm.spec import ModelSpec

logger = logging.getLogger(__name__)


def main(heartbeat: Path = DEFAULT_PATH) -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    stop = StopRequest()
    try:
        logs.configure(LoggingSettings.load())
        end_when_left_behind()
        grace = Grace(heartbeat.with_name(GRACE_NAME))
        _run(ServerSettings.load(), SwarmSettings.load(), Heartbeat(heartbeat), grace, stop)
    except CalyxError as error:
        logger.error("%s", error)
        return 1
    except Stopped:
        logger.info("stopped before all blocks were loaded")
    return 0


def _run(
    settings: ServerSettings, swarm: SwarmSettings, heartbeat: Heartbeat, grace: Grace, stop: StopRequest
) -> None:
    # Processes that are forked share this one's memory until either writes to it, and looking for garbage writes to
    # every object that is not frozen: 108 MB for each process
    gc.freeze()
    with stop.interrupting():
        model = ModelSpec.find(swarm)
        options = _options(settings, model, swarm)
        _check_graphs(options)
        _check_quantization(options, model)
        fixed_span = parse_span(settings.block_indices, model.num_blocks)
        last = LastSpan(
            settings.server_identity.with_suffix(".span.json"), swarm.model, swarm.revision, model.num_blocks
        )
        num_blocks = len(fixed_span) if fixed_span else _count_blocks(settings.num_blocks, model, options)
        span = fixed_span or last.recall(num_blocks, exactly=settings.num_blocks is not None)
        peer = dht.start_peer(
            swarm.initial_peers,
            port=settings.server_port,
            identity=settings.server_identity,
            announce_host=swarm.announce_host,
            relays=settings.relays,
        )
    about = {"model": model.files.name, "device": options.device, "dtype": options.dtype}
    about["reached"] = "through relays" if peer.client_mode else "directly"
    logger.info("joined the swarm", extra={"peer": peer.peer_id, **about})
    watch = Watch(heartbeat, stop.wait)
    read_gpus = gpu_reader(wanted=options.device.type == "cuda")
    while not stop.is_set():
        with stop.interrupting():
            blocks = span or choose_span(peer, model, num_blocks)
            server = SpanServer(peer, model, blocks, options, read_gpus)
            _start(server, heartbeat)
        last.remember(server.span)
        watch.follow(server, may_move=fixed_span is None)
        heartbeat.beat(False, "leaving the swarm")
        sessions = grace.left() if stop.is_set() else 0.0
        server.drain(
            session_seconds=sessions,
            step_seconds=settings.drain_seconds,
            paused=stop.is_set() and grace.paused(),
        )
        logger.info("announced offline and drained")
        if not stop.is_set():
            server.shutdown()
            span = fixed_span


def _options(settings: ServerSettings, model: ModelSpec, swarm: SwarmSettings) -> SpanOptions:
    device = choose_device(settings.device)
    dtype = choose_dtype(settings.dtype, model.anatomy.config.dtype, device, cpu_computes_bfloat16())
    return SpanOptions(
        device=device,
        dtype=dtype,
        quantization=settings.quantization,
        adapters=find_adapters(settings.adapters, swarm, model.anatomy),
        attn_cache_tokens=settings.attn_cache_tokens,
        max_session_tokens=settings.max_session_tokens,
        prefill_chunk_tokens=settings.prefill_chunk_tokens,
        batched=settings.scheduler == "batched",
        batch_tokens=settings.batch_tokens,
        batch_seconds=settings.batch_seconds,
        batch_invariant=swarm.batch_invariant,
        cuda_graphs=settings.cuda_graphs,
        num_handlers=settings.num_handlers,
        announce_period=settings.announce_period,
        throughput=settings.throughput,
        public_name=settings.public_name,
        announced_host=swarm.announce_host,
    )


def _check_graphs(options: SpanOptions) -> None:
    if not options.cuda_graphs:
        return
    reasons = {
        f"on {options.device} there are none": options.device.type != "cuda",
        "with CALYX_SCHEDULER=stock nothing of ours runs": not options.batched,
        "CALYX_BATCH_INVARIANT=1 has its own order of work": options.batch_invariant,
    }
    if refused := [reason for reason, holds in reasons.items() if holds]:
        raise InvalidSetting(f"CUDA graphs are wanted, but {refused[0]}", "set CALYX_CUDA_GRAPHS=0")


def _check_quantization(options: SpanOptions, model: ModelSpec) -> None:
    kept = options.quantization
    if kept == "none":
        return
    if options.batch_invariant and rounds_inputs(kept, options.device):
        raise InvalidSetting(
            f"with weights of {kept} on {options.device}, an answer's rounding depends on who runs beside it",
            "set CALYX_QUANTIZATION=nf4, or CALYX_BATCH_INVARIANT=0",
        )
    whole, less = (
        block_bytes(model.anatomy, options.dtype, options.device, quantization)
        for quantization in ("none", kept)
    )
    if whole == less:
        raise InvalidSetting(
            f"nothing of a {model.anatomy.config.model_type} block can be kept in {kept}",
            "set CALYX_QUANTIZATION=none",
        )


def parse_span(block_indices: str | None, num_blocks: int) -> range | None:
    """Return the blocks that the setting ``first:end`` names, or None if it leaves the choice to the swarm.

    Raises:
        InvalidSetting: the model has no such blocks.
    """
    if block_indices is None:
        return None
    first, end = map(int, block_indices.split(":"))
    if end > num_blocks:
        raise InvalidSetting(
            f"blocks {block_indices} are wanted, the model has {num_blocks}",
            f"set CALYX_BLOCK_INDICES within 0:{num_blocks}",
        )
    return range(first, end)


def _count_blocks(wanted: int | None, model: ModelSpec, options: SpanOptions) -> int:
    depth = model.num_blocks
    if wanted is not None:
        return min(wanted, depth)
    cache = cache_bytes_per_token(model.anatomy, options.dtype) * options.attn_cache_tokens
    weights = block_bytes(
        model.anatomy, options.dtype, options.device, options.quantization, options.adapters
    )
    left_free = reserve(options.device, cuda_graphs=options.cuda_graphs)
    fitting = blocks_that_fit(free_memory(options.device), left_free, weights, cache)
    logger.info("counted blocks that fit into free memory", extra={"fitting": fitting, "model": depth})
    return min(fitting, depth)


def _start(server: SpanServer, heartbeat: Heartbeat) -> None:
    first, end = server.span.start, server.span.stop

    def report(block: int) -> None:
        heartbeat.beat(False, f"loading blocks, {block - first + 1} of {end - first}")
        logger.info("loaded block", extra={"block": block, "done": block - first + 1, "of": end - first})

    server.start(report)
    logger.info("serving", extra={"blocks": f"{first}:{end}"})
