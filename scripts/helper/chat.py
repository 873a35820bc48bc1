"""A client of the endpoint's Petals WebSocket protocol, ``/api/v2/generate``."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol

from pydantic import SecretStr
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import connect

from services.common.errors import Broken, Refused, Unavailable

_OPEN_LIMIT = 10.0
_STEP_LIMIT = 120.0


class Wire(Protocol):
    """A WebSocket connection, as far as a conversation needs it."""

    def send(self, message: str) -> None:
        """Send one text message."""

    def recv(self, timeout: float | None = None) -> str | bytes:
        """Wait for one message; TimeoutError when none comes in that many seconds."""


@dataclass
class Tally:
    """What one answer took.

    Attributes:
        text: the answer so far.
        tokens: how many tokens it has.
        seconds: from the request to the newest token.
    """

    text: str = ""
    tokens: int = 0
    seconds: float = 0.0

    @property
    def tokens_per_second(self) -> float:
        """Tokens a second, the wait for the first one included."""
        return self.tokens / self.seconds if self.seconds else 0.0


class Conversation:
    """One inference session: what was said stays in the servers' memory until it closes.

    Args:
        wire: an open connection.
        model: hub name.
        max_length: the most tokens that all questions and answers together may have.
        clock: seconds, from any start.
    """

    def __init__(
        self, wire: Wire, model: str, max_length: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._wire = wire
        self._model = model
        self._clock = clock
        self._request({"type": "open_inference_session", "model": model, "max_length": max_length})
        self._receive()

    def ask(self, prompt: str, tally: Tally, **parameters: Any) -> Iterator[str]:
        """Yield the answer piece by piece and count it in ``tally``.

        Args:
            prompt: the text to continue.
            tally: is filled in while the answer comes.
            parameters: of ``generate`` in the Petals protocol, such as ``max_new_tokens``.
        """
        begin = self._clock()
        self._request({"type": "generate", "model": self._model, "inputs": prompt, **parameters})
        stop = False
        while not stop:
            reply = self._receive()
            piece = str(reply.get("outputs", ""))
            stop = bool(reply.get("stop", True))
            tally.text += piece
            tally.tokens += int(reply.get("token_count", 0))
            tally.seconds = self._clock() - begin
            yield piece

    def _request(self, message: dict[str, Any]) -> None:
        self._wire.send(json.dumps(message))

    def _receive(self) -> dict[str, Any]:
        try:
            reply = json.loads(self._wire.recv(timeout=_STEP_LIMIT))
        except ValueError as error:
            raise Broken(f"the endpoint's answer is not JSON: {error}") from error
        if not isinstance(reply, dict) or not reply.get("ok"):
            problem = reply.get("error", reply) if isinstance(reply, dict) else reply
            raise Unavailable(f"the endpoint answered: {problem}")
        return reply


@contextmanager
def conversation(
    port: int, model: str, max_length: int, key: SecretStr | None = None
) -> Iterator[Conversation]:
    """Open a session with the endpoint on this machine.

    Args:
        port: of the loopback.
        model: hub name.
        max_length: the most tokens of the session.
        key: the API key, where the endpoint asks for one.

    Raises:
        Refused: the endpoint asks for an API key, or does not know this one.
        Unavailable: the endpoint does not answer, or refuses; with its own words.
    """
    url = f"ws://127.0.0.1:{port}/api/v2/generate"
    headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else None
    try:
        with connect(
            url, open_timeout=_OPEN_LIMIT, proxy=None, max_size=None, additional_headers=headers
        ) as wire:
            yield Conversation(wire, model, max_length)
    except InvalidStatus as error:
        if error.response.status_code == HTTPStatus.UNAUTHORIZED:
            raise Refused(
                "the endpoint asks for a valid API key",
                "set CALYX_API_KEY; ./scripts/calyx keys create NAME makes one",
            ) from error
        raise Unavailable(
            f"the endpoint answered: {error}", "./scripts/calyx logs endpoint shows why"
        ) from error
    except TimeoutError as error:
        raise Unavailable(
            f"{url} gave no answer in time", "./scripts/calyx logs endpoint shows why"
        ) from error
    except (OSError, WebSocketException) as error:
        raise Unavailable(
            f"no endpoint answers at {url}: {error}", "./scripts/calyx status shows what runs"
        ) from error
