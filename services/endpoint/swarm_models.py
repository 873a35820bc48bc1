"""The models as they are really served: chosen by the settings, loaded through ``services.swarm``.

That room is imported when a model is loaded and not before: it takes seconds, and ``/healthz`` answers meanwhile.
"""

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from services.common.served_tokens import ServedTokens
from services.common.settings import EndpointSettings, SwarmSettings
from services.endpoint.adapted_models import Adaptable, AdaptedModels
from services.endpoint.discovery import Announced, Discovery
from services.endpoint.model_file import ModelEntry
from services.endpoint.models import Models
from services.endpoint.wanted_models import WantedModels

if TYPE_CHECKING:
    from services.swarm.dht import SharedClient


def swarm_models(settings: EndpointSettings) -> Models:
    """Return the models that the settings name, none of them loaded yet.

    Raises:
        InvalidSetting: a setting or the file of models is wrong.
    """
    swarm = SwarmSettings.load()
    served = ServedTokens()
    source = _Swarm(settings, served)
    discovery = None
    if settings.discover_models:
        discovery = Discovery(source.announced, settings.discover_patterns, settings.discover_limit)
    # Not checked here: whoever looks for the model's files says best what is wrong with its name
    otherwise = ModelEntry.model_construct(
        name=swarm.model, revision=swarm.revision, dht_prefix=swarm.dht_prefix, draft=settings.draft_model
    )
    wanted = WantedModels(settings.models_file, otherwise, AdaptedModels(source.load).load, discovery)
    models = Models(watch=wanted, served_tokens=served)
    models.offer(wanted.configured())
    return models


class _Swarm:
    """The swarm, which all models are loaded from through one client."""

    def __init__(self, settings: EndpointSettings, served: ServedTokens) -> None:
        self._settings, self._served = settings, served
        self._lock = threading.Lock()
        self._client: SharedClient | None = None

    def load(self, entry: ModelEntry) -> Adaptable:
        """Load a model; raises ``CalyxError`` if that cannot be done."""
        from services.swarm.model import SwarmModel  # noqa: PLC0415

        # Read again, as the bootstrap peer may have rewritten the file that names the peers
        found = SwarmSettings.load()
        own = {"model": entry.name, "revision": entry.revision, "dht_prefix": entry.dht_prefix}
        return SwarmModel.load(
            found.model_copy(update=own),
            self._settings.endpoint_dtype,
            self._settings.route_timeout,
            dht=self._shared().get,
            max_length=entry.max_length,
            served=self._served,
            draft=entry.draft if self._settings.speculative_tokens else None,
        )

    def announced(self) -> Iterable[Announced]:
        """Ask the swarm what its servers announce; raises ``Unavailable`` if it does not answer."""
        from services.swarm.directory import Directory  # noqa: PLC0415

        return Directory([], self._shared().get()).read()

    def _shared(self) -> "SharedClient":
        from services.swarm.dht import SharedClient  # noqa: PLC0415

        with self._lock:
            if self._client is None:
                self._client = SharedClient(lambda: SwarmSettings.load().initial_peers)
            return self._client
