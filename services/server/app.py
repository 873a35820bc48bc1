"""Runs the server until it is told to stop: choose blocks, load and serve them, watch, move, drain."""

import logging
import random
from pathlib import Path

from services.common import logs
from services.common.errors import Broken, CalyxError, InvalidSetting, Unavailable
from services.common.heartbeat import DEFAULT_PATH, Heartbeat
from services.common.settings import LoggingSettings, ServerSettings, SwarmSettings
from services.server.capacity import CPU_RESERVE, GPU_RESERVE, blocks_that_fit, choose_device, free_memory
from services.server.stopping import Stopped, StopRequest
from services.swarm import dht
from services.swarm.family.block import cache_bytes_per_token
from services.swarm.loading import block_bytes
from services.swarm.precision import choose_dtype, cpu_computes_bfloat16
from services.swarm.serving.span_server import SpanOptions, SpanServer, choose_span
from services.swarm.spec import ModelSpec

logger = logging.getLogger(__name__)

WATCH_PERIOD = 5.0
"""Seconds between two looks at whether the server still serves."""
MEAN_BALANCE_PERIOD = 120.0
"""Seconds, on average, between two looks at whether other blocks need this server more (Petals' default)."""


def main(heartbeat: Path = DEFAULT_PATH) -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    stop = StopRequest()
    try:
        logs.configure(LoggingSettings.load())
        _run(ServerSettings.load(), SwarmSettings.load(), Heartbeat(heartbeat), stop)
    except CalyxError as error:
        logger.error("%s", error)
        return 1
    except Stopped:
        logger.info("stopped before all blocks were loaded")
    return 0


def _run(settings: ServerSettings, swarm: SwarmSettings, heartbeat: Heartbeat, stop: StopRequest) -> None:
    with stop.interrupting():
        model = ModelSpec.find(swarm)
        options = _options(settings, model)
        fixed_span = parse_span(settings.block_indices, model.num_blocks)
        num_blocks = len(fixed_span) if fixed_span else _count_blocks(settings.num_blocks, model, options)
        peer = dht.start_peer(
            swarm.initial_peers,
            port=settings.server_port,
            identity=settings.server_identity,
            announce_host=swarm.announce_host,
        )
    about = {"model": model.files.name, "device": options.device, "dtype": options.dtype}
    logger.info("joined the swarm", extra={"peer": peer.peer_id, **about})
    while not stop.is_set():
        with stop.interrupting():
            span = fixed_span or choose_span(peer, model, num_blocks)
            server = SpanServer(peer, model, span, options)
            _start(server, heartbeat)
        _watch(server, heartbeat, stop, may_move=fixed_span is None)
        server.drain(settings.drain_seconds)
        logger.info("announced offline and drained")
        if not stop.is_set():
            server.shutdown()


def _options(settings: ServerSettings, model: ModelSpec) -> SpanOptions:
    device = choose_device(settings.device)
    return SpanOptions(
        device=device,
        dtype=choose_dtype(settings.dtype, model.anatomy.config.dtype, device, cpu_computes_bfloat16()),
        attn_cache_tokens=settings.attn_cache_tokens,
        max_session_tokens=settings.max_session_tokens,
        prefill_chunk_tokens=settings.prefill_chunk_tokens,
        num_handlers=settings.num_handlers,
        announce_period=settings.announce_period,
        throughput=settings.throughput,
        public_name=settings.public_name,
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
    reserve = GPU_RESERVE if options.device.type == "cuda" else CPU_RESERVE
    cache = cache_bytes_per_token(model.anatomy.config, options.dtype) * options.attn_cache_tokens
    weights = block_bytes(model.anatomy, options.dtype)
    fitting = blocks_that_fit(free_memory(options.device), reserve, weights, cache)
    logger.info("counted blocks that fit into free memory", extra={"fitting": fitting, "model": depth})
    return min(fitting, depth)


def _start(server: SpanServer, heartbeat: Heartbeat) -> None:
    first, end = server.span.start, server.span.stop

    def report(block: int) -> None:
        heartbeat.beat(False, f"loading blocks, {block - first + 1} of {end - first}")
        logger.info("loaded block", extra={"block": block, "done": block - first + 1, "of": end - first})

    server.start(report)
    logger.info("serving", extra={"blocks": f"{first}:{end}"})


def _watch(server: SpanServer, heartbeat: Heartbeat, stop: StopRequest, *, may_move: bool) -> None:
    """Return when it is time to stop or to move; Broken if the server stops serving by itself."""
    blocks = f"{server.span.start}:{server.span.stop}"
    patience = 6
    next_look = _until_next_balance()
    while not stop.wait(WATCH_PERIOD):
        problem = _problem(server)
        heartbeat.beat(problem is None, problem or f"blocks {blocks} are online")
        patience = 6 if problem is None else patience - 1
        if patience == 0:
            raise Broken(f"serving blocks {blocks}: {problem}", "the container starts again by itself")
        next_look -= WATCH_PERIOD
        if may_move and problem is None and next_look <= 0:
            next_look = _until_next_balance()
            if server.should_move():
                logger.info("other blocks need this server more, moving")
                return


def _problem(server: SpanServer) -> str | None:
    try:
        return server.problem()
    except Unavailable as error:
        return str(error)


def _until_next_balance() -> float:
    """Random, so that servers that joined together do not all move together."""
    return random.uniform(0, 2 * MEAN_BALANCE_PERIOD)
