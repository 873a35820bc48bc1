"""One session's talk with one server, over Petals' ``rpc_inference``. Belongs to hivemind's event loop."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

import torch
from hivemind import MSGPackSerializer, deserialize_torch_tensor, serialize_torch_tensor
from hivemind.p2p import P2P
from hivemind.p2p.p2p_daemon_bindings.utils import ControlFailure
from hivemind.proto import runtime_pb2
from petals.data_structures import CHAIN_DELIMITER, RemoteSpanInfo
from petals.server.handler import TransformerConnectionHandler
from petals.utils.misc import DUMMY, DUMMY_INT64
from petals.utils.packaging import pack_args_kwargs

from services.swarm.bundles import BUNDLED_TOKENS, Onward, bundles_at, inference_at
from services.swarm.client.capabilities import START_FROM_POSITION, Capabilities, ServerTerms
from services.swarm.client.connected import LOOK_SECONDS, check_connected
from services.swarm.client.lanes import Lane, Lanes
from services.swarm.client.onward import Heard

CLOSE_SECONDS = 3.0
"""How long a server may take to confirm that a session is closed."""

_BUNDLED_SECONDS = 30.0
"""How long all steps of a session may go with those of others. Petals' handler forgets a session whose own stream was
silent for five minutes, so now and then one is sent there."""

_NOT_SURE = -1
"""Tokens; a step may have reached a server whose answer did not come."""

_, _ARGUMENTS = pack_args_kwargs(torch.empty(1), DUMMY, DUMMY_INT64)


@lru_cache
def _no_prompts_no_order(compression: int) -> tuple[Any, ...]:
    """Serialize what Petals' protocol wants behind the hidden states, and we never use."""
    return tuple(serialize_torch_tensor(tensor, compression) for tensor in (DUMMY, DUMMY_INT64))


class ServerStream:
    """One session on one server; the connection is made by the first message.

    Args:
        p2p: this process's way to its libp2p daemon.
        span: the server and its blocks that are used.
        uids: names of these blocks.
        capabilities: what servers have said of themselves.
        lanes: streams that sessions share for their steps.
        opening: metadata of the first message.
        connect_timeout: seconds until the server must have taken the connection.
        answer_timeout: seconds until it must have answered a message.
    """

    def __init__(
        self,
        p2p: P2P,
        span: RemoteSpanInfo,
        uids: Sequence[str],
        capabilities: Capabilities,
        lanes: Lanes,
        opening: dict[str, Any],
        *,
        connect_timeout: float,
        answer_timeout: float,
    ) -> None:
        self._p2p, self._span, self._uids = p2p, span, uids
        self._capabilities, self._lanes, self._opening = capabilities, lanes, opening
        self._connect_timeout, self._answer_timeout = connect_timeout, answer_timeout
        self._session_id = str(uuid.uuid4())
        self._requests: asyncio.Queue[Any] = asyncio.Queue()
        self._answers: AsyncIterator[Any] | None = None
        self._terms = ServerTerms(compression=runtime_pb2.CompressionType.NONE, goes_back=False)
        self._lane: Lane | None = None
        self._answered_over: int | None = None
        """Over which of the lane's connections the server has answered this session; there it can do so again."""
        self._position = 0
        """How many tokens the server holds that are still of use."""
        self._said = 0
        """How many it knows of by Petals' messages, if that is known."""
        self._heard: float | None = None
        """When it was sent the last one of these; None if the next one has to be."""

    @property
    def address(self) -> tuple[str, str, int, int]:
        """Return where another server pushes its outputs for this session to, as the protocol writes it."""
        return self._span.peer_id.to_base58(), self._session_id, self._span.start, self._span.end

    @property
    def goes_back(self) -> bool:
        """Return whether the server is known to understand ``go_back``; none is before the first message."""
        return self._terms.goes_back

    def go_back(self, position: int) -> None:
        """Start the next message from an earlier position."""
        self._position = position

    async def exchange(
        self,
        hidden: torch.Tensor,
        step_id: str,
        followers: Sequence[tuple[str, str, int, int]],
        *,
        pushed: bool,
    ) -> torch.Tensor:
        """Send the next tokens [1, tokens, hidden] and return what the server's blocks make of them.

        Args:
            hidden: the tokens.
            step_id: the same for all servers of a step, so that a message that was pushed too counts once.
            followers: addresses of the servers behind this one that it shall push its outputs to.
            pushed: whether the server before this one pushes these tokens too.

        Raises:
            Exception: the server cannot be reached, refuses, fails or is lost; the stream is of no use any more.
        """
        if self._lane is not None and not followers and not pushed and self._in_company(hidden.shape[1]):
            outputs = (await self._lane.step(self._session_id, self._position, hidden[0]))[None]
            self._answered_over = self._lane.connection
        else:
            outputs = await self._exchange_alone(hidden, step_id, followers)
        self._check(outputs, hidden)
        self._position += hidden.shape[1]
        return outputs

    def _in_company(self, tokens: int) -> bool:
        """Tell whether so many tokens may go with those of other sessions now."""
        heard = self._heard is not None and time.monotonic() - self._heard < _BUNDLED_SECONDS
        return self._lane is not None and heard and tokens <= BUNDLED_TOKENS

    def passes_on(self, following: "ServerStream", tokens: int) -> bool:
        """Tell whether this server may pass the outputs for so many tokens on to another, which answers for both."""
        there = following._lane
        known = there is not None and following._answered_over == there.connection
        return known and self._in_company(tokens) and following._in_company(tokens)

    async def exchange_onward(self, hidden: torch.Tensor, following: "ServerStream") -> Heard:
        """Send the next tokens [1, tokens, hidden] for both servers; ``passes_on`` said that this is possible.

        Raises:
            NextFailed: the other server fails.
            Exception: this one does.
        """
        own, there, handler = self._lane, following._lane, following._terms.sessions_at
        if own is None or there is None or handler is None:
            raise ConnectionError("there is no way for steps of many sessions")
        self._said = following._said = _NOT_SURE
        onward = Onward(following._span.peer_id.to_base58(), handler, following._session_id)
        try:
            heard = await own.step_onward(self._session_id, self._position, hidden[0], onward, there)
        except Exception:
            # Either server may still run the step, and takes no other one in company meanwhile
            self._heard = following._heard = None
            raise
        outputs = heard.outputs[None]
        self._check(outputs, hidden)
        self._position += hidden.shape[1]
        if heard.passed_on:
            following._position += hidden.shape[1]
        return Heard(outputs, heard.passed_on)

    def _check(self, outputs: torch.Tensor, hidden: torch.Tensor) -> None:
        if outputs.shape != hidden.shape:
            raise ValueError(f"server {self._span.peer_id} answers {outputs.shape} to {hidden.shape}")

    async def _exchange_alone(
        self, hidden: torch.Tensor, step_id: str, followers: Sequence[tuple[str, str, int, int]]
    ) -> torch.Tensor:
        metadata: dict[str, Any] = {"session_id": self._session_id, "step_id": step_id}
        if self._answers is None:
            self._answers = await self._connect()
            metadata |= self._opening
        if self._position != self._said:
            metadata[START_FROM_POSITION] = self._position
        if followers:
            metadata["next_servers"] = list(followers)
        metadata["args_structure"] = _ARGUMENTS
        self._requests.put_nowait(
            runtime_pb2.ExpertRequest(
                uid=CHAIN_DELIMITER.join(self._uids),
                tensors=[
                    serialize_torch_tensor(hidden, self._terms.compression),
                    *_no_prompts_no_order(self._terms.compression),
                ],
                metadata=MSGPackSerializer.dumps(metadata),
            )
        )
        answer = await self._answer(self._answers)
        self._said, self._heard = self._position + hidden.shape[1], time.monotonic()
        outputs: torch.Tensor = deserialize_torch_tensor(answer.tensors[0])
        return outputs

    async def _connect(self) -> AsyncIterator[Any]:
        self._terms = await self._capabilities.of(self._span.peer_id, self._uids[0])
        try:
            return await self._open()
        except ControlFailure:
            if self._terms.sessions_at is None:
                raise
        # The server was started again since we asked, and its handlers have other names
        self._capabilities.forget(self._span.peer_id)
        self._terms = await self._capabilities.of(self._span.peer_id, self._uids[0])
        return await self._open()

    async def _open(self) -> AsyncIterator[Any]:
        peer, handler = self._span.peer_id, self._terms.sessions_at
        answers: AsyncIterator[Any]
        async with asyncio.timeout(self._connect_timeout):
            if handler is None:
                stub = TransformerConnectionHandler.get_stub(self._p2p, peer)
                answers = await stub.rpc_inference(self._outgoing())
            else:
                answers = await self._p2p.iterate_protobuf_handler(
                    peer, inference_at(handler), self._outgoing(), runtime_pb2.ExpertResponse
                )
                kind = f"{self._uids[0]} {self._uids[-1]} {self._opening.get('active_adapter')}"
                self._lane = self._lanes.to(peer, bundles_at(handler), kind)
        return answers

    async def _outgoing(self) -> AsyncIterator[Any]:
        while (request := await self._requests.get()) is not None:
            yield request

    async def _answer(self, answers: AsyncIterator[Any]) -> Any:
        coming = asyncio.ensure_future(_next(answers))
        try:
            async with asyncio.timeout(self._answer_timeout):
                while not (await asyncio.wait({coming}, timeout=LOOK_SECONDS))[0]:
                    await check_connected(self._p2p, self._span.peer_id)
            return coming.result()
        finally:
            coming.cancel()

    async def close(self) -> None:
        """Let the server free the session's memory, and wait a little for its word; never raises."""
        if self._answers is None:
            return
        answers, self._answers = self._answers, None
        self._requests.put_nowait(runtime_pb2.ExpertRequest())
        self._requests.put_nowait(None)
        with suppress(Exception):  # a server that is gone has freed everything
            async with asyncio.timeout(CLOSE_SECONDS):
                async for _ in answers:
                    pass


async def _next(answers: AsyncIterator[Any]) -> Any:
    try:
        return await anext(answers)
    except StopAsyncIteration:
        raise ConnectionError("the server has ended the session") from None
