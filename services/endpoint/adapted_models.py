"""Loads a model once for itself and for its adapters, which share all but their ways through the swarm."""

import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Protocol
from weakref import WeakValueDictionary

from services.endpoint.engine import Model
from services.endpoint.model_file import ModelEntry


class Adaptable(Model, Protocol):
    """A model that can be had with an adapter too; see ``services.swarm.model``."""

    def with_adapter(self, adapter: str) -> Model:
        """Return it as it is with an adapter; as long as that lives, so does this model."""


class AdaptedModels:
    """Loads models with and without adapters; may be called by several threads.

    Args:
        load: loads a model without regard to the entry's adapter.
    """

    def __init__(self, load: Callable[[ModelEntry], Adaptable]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._loading: defaultdict[ModelEntry, threading.Lock] = defaultdict(threading.Lock)
        self._loaded: WeakValueDictionary[ModelEntry, Adaptable] = WeakValueDictionary()

    def load(self, entry: ModelEntry) -> Model:
        """Return the entry's model with its adapter; raises what loading raises."""
        source = entry.source.model_copy(update={"adapter": None})
        with self._lock:
            loading = self._loading[source]
        with loading:
            model = self._loaded.get(source)
            if model is None:
                model = self._loaded[source] = self._load(source)
        return model if entry.adapter is None else model.with_adapter(entry.adapter)
