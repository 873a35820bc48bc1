"""The models that this endpoint answers for, each loaded in the background as soon as the swarm is there.

Which ones they are may change while the endpoint runs. A model that is no longer offered is not handed out any more,
and that is all: answers and open sessions hold what they work with, and when the last of them ends, it goes with its
memory.
"""

import logging
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from tenacity import RetryCallState, Retrying, retry_if_not_exception_type, sleep_using_event
from tenacity.stop import stop_when_event_set
from tenacity.wait import wait_base, wait_exponential

from services.common.errors import Broken, CalyxError, InvalidInput, Unavailable
from services.common.served_tokens import ServedTokens
from services.endpoint.engine import Model
from services.endpoint.errors import UnknownModel

logger = logging.getLogger(__name__)

_SHOWN_NAME = 100


@dataclass(frozen=True)
class Offer:
    """A model that shall be served.

    Attributes:
        name: its name on the hub.
        load: loads it, in seconds to minutes.
        aliases: other names by which requests may name it.
        source: what it is loaded from; a model whose source has changed is loaded anew.
        asked_for: whether somebody here wants this model; one that was merely found is named when it is loaded.
    """

    name: str
    load: Callable[[], Model]
    aliases: tuple[str, ...] = ()
    source: Hashable = None
    asked_for: bool = True


@dataclass
class Served:
    """A model that is served: ``model`` once it is loaded, ``problem`` says why it is not."""

    offer: Offer
    model: Model | None = None
    problem: str = "it is loading"
    withdrawn: threading.Event = field(default_factory=threading.Event)

    @property
    def name(self) -> str:
        """Its name on the hub."""
        return self.offer.name

    @property
    def aliases(self) -> tuple[str, ...]:
        """Other names by which requests may name it."""
        return self.offer.aliases

    @property
    def memory_bytes(self) -> int:
        """Bytes of this process that its ends take."""
        return self.model.memory_bytes if self.model else 0


class Models:
    """Loads models and hands them out by their hub names and aliases.

    Args:
        loaders: what loads each of the models to begin with; the first one is the default.
        wait: how long to wait between two tries while the swarm is not there.
        watch: asked again and again, in a thread, which models shall be served; when it fails, they stay the same.
        watch_seconds: how long to wait between two questions.
        served_tokens: where the models count what servers of the swarm answer for.
    """

    def __init__(
        self,
        loaders: Mapping[str, Callable[[], Model]] | None = None,
        wait: wait_base | None = None,
        watch: Callable[[], Sequence[Offer]] | None = None,
        watch_seconds: float = 2.0,
        served_tokens: ServedTokens | None = None,
    ) -> None:
        self.served_tokens = served_tokens or ServedTokens()
        self._wait = wait or wait_exponential(multiplier=0.5, max=10)
        self._watch = watch
        self._watch_seconds = watch_seconds
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._started = False
        # Replaced and never changed, so that readers need no lock
        self._served: tuple[Served, ...] = ()
        self.offer([Offer(name, load) for name, load in (loaders or {}).items()])

    def start(self) -> None:
        """Begin to load; returns at once."""
        with self._lock:
            self._started = True
            for served in self._served:
                self._begin(served)
        if self._watch is not None:
            threading.Thread(
                target=self._follow, args=(self._watch,), name="watch models", daemon=True
            ).start()

    def close(self) -> None:
        """Stop trying and let the loaded models leave the swarm."""
        self._stop.set()
        with self._lock:
            closing, self._served = self._served, ()
        for served in closing:
            served.withdrawn.set()
            if served.model is not None:
                served.model.close()

    def offer(self, offers: Sequence[Offer]) -> None:
        """Serve these models, the default one first, and no others; those that stay are not loaded again."""
        with self._lock:
            if self._stop.is_set():
                return
            before = {(served.name, served.offer.source): served for served in self._served}
            after = []
            for offer in offers:
                served = before.pop((offer.name, offer.source), None)
                if served is None:
                    served = Served(offer)
                    if self._started:
                        self._begin(served)
                served.offer = offer
                after.append(served)
            self._served = tuple(after)
            for served in before.values():
                served.withdrawn.set()
                logger.info("model is no longer served", extra={"model": served.name})

    @property
    def served(self) -> list[Served]:
        """The models that are served here, loaded or not, the default one first."""
        return [one for one in self._served if one.model is not None or one.offer.asked_for]

    @property
    def hub_names(self) -> list[str]:
        """Their names on the hub."""
        return [served.name for served in self.served]

    @property
    def names(self) -> list[str]:
        """Everything that requests may name: each model's hub name, and its aliases."""
        return [name for served in self.served for name in (served.name, *served.aliases)]

    def memory_bytes(self) -> dict[str, int]:
        """Return the bytes of this process that each loaded model takes, by hub name."""
        return {one.name: one.memory_bytes for one in self.served if one.model is not None}

    def get(self, name: str | None) -> Model:
        """Return a model by its hub name or an alias; ``None`` means the default one.

        Raises:
            UnknownModel: it is not served here; the message says which are.
            Unavailable: it is not loaded; the message says why.
        """
        served = self.served
        if name is None and not served:
            raise Unavailable("no model is served yet", "try again in a few seconds")
        found = next((one for one in served if name in {None, one.name, *one.aliases}), None)
        if found is None:
            raise UnknownModel(
                f"model {(name or '')[:_SHOWN_NAME]!a} is not served here",
                f"use {' or '.join(self.names)}" if served else "no model is served yet",
            )
        if found.model is None:
            raise Unavailable(
                f"model {found.name} is not loaded: {found.problem}", "try again in a few seconds"
            )
        return found.model

    def _begin(self, served: Served) -> None:
        # Not a pool: at exit Python waits for a pool's threads, but loading cannot be interrupted.
        threading.Thread(target=self._load, args=(served,), name=f"load {served.name}", daemon=True).start()

    def _load(self, served: Served) -> None:
        def note(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            served.problem = str(error)
            logger.warning("model is not loaded yet", extra={"model": served.name, "problem": str(error)})

        retrying = Retrying(
            # A wrong name or a corrupt file stays so: a restart after mending it is what helps.
            retry=retry_if_not_exception_type((InvalidInput, Broken)),
            wait=self._wait,
            stop=stop_when_event_set(served.withdrawn),
            sleep=sleep_using_event(served.withdrawn),
            before_sleep=note,
            reraise=True,
        )
        try:
            model = retrying(served.offer.load)
        except Exception as error:
            kind = "" if isinstance(error, CalyxError) else f"{type(error).__name__}: "
            served.problem = f"{kind}{error}"
            if not served.withdrawn.is_set():
                problem = {"model": served.name, "problem": served.problem}
                logger.error("model cannot be loaded", extra=problem)
            return
        with self._lock:
            if not served.withdrawn.is_set():
                served.model = model
                loaded = {"blocks": model.num_blocks, "memory_bytes": model.memory_bytes}
                logger.info("model is loaded", extra={"model": served.name, **loaded})
                return
        model.close()

    def _follow(self, watch: Callable[[], Sequence[Offer]]) -> None:
        told = ""
        while not self._stop.wait(self._watch_seconds):
            try:
                self.offer(watch())
                told = ""
            except Exception as error:
                problem = str(error) if isinstance(error, CalyxError) else type(error).__name__
                if problem != told:
                    logger.error("the models stay as they are", extra={"problem": problem})
                told = problem
