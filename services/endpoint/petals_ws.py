"""``WS /api/v2/generate`` of chat.petals.dev: a session per connection, answers whole or in pieces.

An error that the caller can mend is answered and leaves the connection open, with its session if that was
not touched. What is no message of the protocol is answered too, and then ends the connection.
"""

import asyncio
from contextlib import aclosing, suppress
from typing import Any

from fastapi import APIRouter, WebSocket
from starlette.types import Message
from starlette.websockets import WebSocketDisconnect

from services.common.errors import CalyxError, InvalidInput, Refused, Unavailable
from services.endpoint.access.gate import ticket_of
from services.endpoint.conversation import Conversation
from services.endpoint.errors import TooLarge, presentable
from services.endpoint.generation import Finish
from services.endpoint.json_messages import dump, parse_json
from services.endpoint.models import Models
from services.endpoint.petals_messages import Generate, OpenSession, answer, failure
from services.endpoint.scheduler import Scheduler

_AHEAD = 16
"""How many messages a client may send before it reads their answers."""
_OPEN = "open_inference_session"
_GENERATE = "generate"


class _End(Exception):
    """The connection must end, after this error, with this code of RFC 6455."""

    def __init__(self, code: int, error: CalyxError) -> None:
        super().__init__(code)
        self.code = code
        self.error = error


def petals_ws_router(
    models: Models, scheduler: Scheduler, max_message_bytes: int, idle_timeout: float
) -> APIRouter:
    """Return the route.

    Args:
        models: the models to answer with.
        scheduler: runs the answers.
        max_message_bytes: the largest message.
        idle_timeout: seconds without a message after which a connection ends.
    """
    router = APIRouter()

    @router.websocket("/api/v2/generate")
    async def generate(websocket: WebSocket) -> None:
        await websocket.accept()
        await _Connection(websocket, models, scheduler, max_message_bytes, idle_timeout).serve()

    return router


class _Connection:
    """One client. Reads ahead, so that its going is noticed while an answer is generated."""

    def __init__(
        self,
        websocket: WebSocket,
        models: Models,
        scheduler: Scheduler,
        max_message_bytes: int,
        idle_timeout: float,
    ) -> None:
        self._websocket = websocket
        self._models = models
        self._scheduler = scheduler
        self._max_message_bytes = max_message_bytes
        self._idle_timeout = idle_timeout
        self._inbox: asyncio.Queue[Message] = asyncio.Queue(_AHEAD)
        self._conversation: Conversation | None = None
        self._named: str | None = None
        """What the client called the model: its name, or an alias of it."""

    async def serve(self) -> None:
        """Answer until either side ends the connection."""
        tasks = [asyncio.create_task(self._read_ahead()), asyncio.create_task(self._answer_all())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in tasks:
            error = None if task.cancelled() else task.exception()
            if isinstance(error, _End):
                with suppress(WebSocketDisconnect):
                    await self._send(failure(error.error))
                    await self._websocket.close(error.code)
            elif isinstance(error, Exception):
                presentable(error)

    async def _read_ahead(self) -> None:
        while (message := await self._websocket.receive())["type"] != "websocket.disconnect":
            try:
                self._inbox.put_nowait(message)
            except asyncio.QueueFull:
                problem = f"more than {_AHEAD} messages wait for their answers"
                raise _End(1008, Refused(problem, "read the answers before sending more")) from None

    async def _answer_all(self) -> None:
        try:
            while True:
                message = self._parse(await self._next_frame())
                try:
                    await self._answer(message)
                except WebSocketDisconnect:
                    return
                except Exception as error:
                    await self._send(failure(presentable(error)))
                    if self._conversation is not None and not self._conversation.usable:
                        self._conversation = None
        finally:
            if self._conversation is not None:
                self._scheduler.end(self._conversation)

    async def _next_frame(self) -> Message:
        try:
            async with asyncio.timeout(self._idle_timeout):
                return await self._inbox.get()
        except TimeoutError:
            # chat.petals.dev's page opens a new session when it reads "Session … expired".
            problem = f"Session idle for {self._idle_timeout:g} s has expired"
            raise _End(1001, Unavailable(problem, "open another connection")) from None

    def _parse(self, frame: Message) -> dict[str, Any]:
        text = frame.get("text")
        if text is None:
            raise _End(1003, InvalidInput("binary frames are not understood", "send JSON in text frames"))
        if len(text.encode()) > self._max_message_bytes:
            problem = f"the message has more than {self._max_message_bytes} bytes"
            raise _End(1009, TooLarge(problem, "send a shorter text"))
        try:
            return parse_json(text)
        except InvalidInput as error:
            raise _End(1007, error) from None

    async def _answer(self, message: dict[str, Any]) -> None:
        kind = message.get("type")
        if kind == _OPEN:
            await self._open(OpenSession.read(message))
        elif kind == _GENERATE:
            await self._generate(Generate.read(message))
        else:
            raise InvalidInput(
                f"message type {str(kind)[:100]!a} is not understood", f"send {_OPEN}, then {_GENERATE}"
            )

    async def _open(self, message: OpenSession) -> None:
        if self._conversation is not None:
            raise InvalidInput(
                "a session is open already on this connection",
                f"send {_GENERATE}, or open another connection",
            )
        self._conversation = Conversation(self._models.get(message.model), message.max_length)
        self._named = message.model
        await self._send({"ok": True})

    async def _generate(self, message: Generate) -> None:
        conversation = self._conversation
        if conversation is None:
            raise InvalidInput("no session is open on this connection", f"send {_OPEN} first")
        if message.model not in {None, self._named, conversation.model.name}:
            raise InvalidInput(
                f"model: this session is one of {conversation.model.name}", "open another connection"
            )
        ticket_of(self._websocket.scope).spend()
        request = message.to_request(streaming=message.stop_sequence is not None)
        async with aclosing(self._scheduler.run(conversation, request)) as chunks:
            async for chunk in chunks:
                await self._send(answer(chunk))
                if chunk.finish is not None:
                    _normalize_end(conversation, message, chunk.finish)

    async def _send(self, message: dict[str, Any]) -> None:
        await self._websocket.send_text(dump(message))


def _normalize_end(conversation: Conversation, message: Generate, finish: Finish) -> None:
    """Let the dialogue go on as if ``stop_sequence`` had ended the answer when an extra one did.

    chat.petals.dev does so: its page never sends the end of an answer back, it relies on the session.
    """
    if message.stop_sequence is None or finish.sequence in {None, message.stop_sequence}:
        return
    token = conversation.single_token(message.stop_sequence)
    if token is not None:
        conversation.tokens[-1] = token  # the last token is never sent before the next step
