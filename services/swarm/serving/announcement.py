"""What a server announces: Petals' fields, and figures of its own that are read when an announcement is sent."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import petals
from hivemind import DHT, MAX_DHT_TIME_DISCREPANCY_SECONDS, get_dht_time
from petals.data_structures import ModelInfo, ServerInfo, ServerState
from petals.server.server import ModuleAnnouncerThread
from petals.utils.dht import declare_active_modules

from services.common.server_figures import KEY, ServerFigures
from services.swarm.family.block import cache_bytes_per_token
from services.swarm.serving.options import SpanOptions
from services.swarm.serving.session_memory import SessionMemory
from services.swarm.spec import ModelSpec


class _Sent:
    """What arrives in the process of the DHT, which writes it to the table."""

    def __init__(self, values: tuple[int, float, dict[str, Any]]) -> None:
        self._values = values

    def to_tuple(self) -> tuple[int, float, dict[str, Any]]:
        """Return what is written."""
        return self._values


class Announcement(ServerInfo):
    """Petals' description of a server, which its announcer keeps up to date and sends once a period.

    Stock peers leave fields out that they do not know when they read one.

    Args:
        figures: asked for at each sending.
        fields: those of ``ServerInfo``.
    """

    def __init__(self, figures: Callable[[], ServerFigures], **fields: Any) -> None:
        super().__init__(**fields)
        self._figures = figures
        self.last_sent: ServerState | None = None

    def __reduce__(self) -> tuple[type[_Sent], tuple[Any]]:
        """Become what is sent: announcements cross to the DHT's process by pickle."""
        self.last_sent = self.state
        state, throughput, more = self.to_tuple()
        return _Sent, ((state, throughput, {**more, KEY: self._figures().model_dump()}),)


class Announcer(ModuleAnnouncerThread):
    """Petals' announcer, whose last word is heard.

    Petals' ends without it when it is told to say "offline" while an announcement is on its way: others would then
    call blocks that are gone until the announcement expires.
    """

    def announce(self, state: ServerState) -> None:
        """Announce a state now; one that is offline is announced when this returns."""
        super().announce(state)
        if state == ServerState.OFFLINE and self.server_info.last_sent != state:
            ends = get_dht_time() + self.expiration
            declare_active_modules(self.dht, self.module_uids, self.server_info, expiration_time=ends)


def start_announcing(
    dht: DHT,
    model: ModelSpec,
    span: range,
    options: SpanOptions,
    memory: SessionMemory,
    figures: Callable[[], ServerFigures],
) -> Announcer:
    """Announce that a span is being loaded, once a period until it is said to be offline.

    Args:
        dht: a running full peer.
        model: the model.
        span: its blocks that are announced.
        options: how they are served.
        memory: of open sessions.
        figures: what is announced besides, asked for at each announcement.
    """
    token_bytes = cache_bytes_per_token(model.anatomy, options.dtype) * len(span)
    announcer = Announcer(
        [model.uid(block) for block in span],
        dht,
        Announcement(
            figures,
            state=ServerState.JOINING,
            throughput=options.throughput,
            public_name=options.public_name,
            version=petals.__version__,
            torch_dtype=str(options.dtype).removeprefix("torch."),
            quant_type=options.quantization,
            adapters=tuple(adapter.name for adapter in options.adapters),
            using_relay=dht.client_mode,
        ),
        ModelInfo(num_blocks=model.num_blocks, repository=f"https://huggingface.co/{model.files.name}"),
        # Petals derives "tokens of cache left" from these two as if a server held one block's keys only
        block_config=SimpleNamespace(
            hidden_size=token_bytes // options.dtype.itemsize, num_key_value_groups=1
        ),
        memory_cache=memory,
        update_period=options.announce_period,
        expiration=max(2 * options.announce_period, MAX_DHT_TIME_DISCREPANCY_SECONDS),
        daemon=True,
    )
    announcer.start()
    return announcer
