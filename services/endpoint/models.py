"""The models that this endpoint answers for, each loaded in the background as soon as the swarm is there."""

import logging
import threading
from collections.abc import Callable, Mapping

from tenacity import RetryCallState, Retrying, retry_if_not_exception_type, sleep_using_event
from tenacity.stop import stop_when_event_set
from tenacity.wait import wait_base, wait_exponential

from services.common.errors import Broken, CalyxError, InvalidInput, Unavailable
from services.endpoint.engine import Model
from services.endpoint.errors import UnknownModel

logger = logging.getLogger(__name__)

_SHOWN_NAME = 100


class Models:
    """Loads models and hands them out by their hub name.

    Args:
        loaders: what loads each model, in seconds to minutes; the first one is the default.
        wait: how long to wait between two tries while the swarm is not there.
    """

    def __init__(self, loaders: Mapping[str, Callable[[], Model]], wait: wait_base | None = None) -> None:
        self._loaders = dict(loaders)
        self._wait = wait or wait_exponential(multiplier=0.5, max=10)
        self._stop = threading.Event()
        self._loaded: dict[str, Model] = {}
        self._problems = dict.fromkeys(self._loaders, "it is loading")

    def start(self) -> None:
        """Begin to load; returns at once."""
        for name in self._loaders:
            # Not a pool: at exit Python waits for a pool's threads, but loading cannot be interrupted.
            threading.Thread(target=self._load, args=(name,), name=f"load {name}", daemon=True).start()

    def close(self) -> None:
        """Stop trying and let the loaded models leave the swarm."""
        self._stop.set()
        while self._loaded:
            self._loaded.popitem()[1].close()

    @property
    def names(self) -> list[str]:
        """The models that are served here, loaded or not."""
        return list(self._loaders)

    def get(self, name: str | None) -> Model:
        """Return a model by its hub name; ``None`` means the default one.

        Raises:
            UnknownModel: it is not served here; the message says which are.
            Unavailable: it is not loaded; the message says why.
        """
        name = self.names[0] if name is None else name
        if name not in self._loaders:
            raise UnknownModel(
                f"model {name[:_SHOWN_NAME]!a} is not served here", f"use {' or '.join(self.names)}"
            )
        model = self._loaded.get(name)
        if model is None:
            raise Unavailable(
                f"model {name} is not loaded: {self._problems[name]}", "try again in a few seconds"
            )
        return model

    def _load(self, name: str) -> None:
        def note(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            self._problems[name] = str(error)
            logger.warning("model is not loaded yet", extra={"model": name, "problem": str(error)})

        retrying = Retrying(
            # A wrong name or a corrupt file stays so: a restart after mending it is what helps.
            retry=retry_if_not_exception_type((InvalidInput, Broken)),
            wait=self._wait,
            stop=stop_when_event_set(self._stop),
            sleep=sleep_using_event(self._stop),
            before_sleep=note,
            reraise=True,
        )
        try:
            model = retrying(self._loaders[name])
        except Exception as error:
            kind = "" if isinstance(error, CalyxError) else f"{type(error).__name__}: "
            self._problems[name] = f"{kind}{error}"
            if not self._stop.is_set():
                logger.error("model cannot be loaded", extra={"model": name, "problem": self._problems[name]})
            return
        if self._stop.is_set():
            model.close()
            return
        self._loaded[name] = model
        logger.info("model is loaded", extra={"model": name, "blocks": model.num_blocks})
