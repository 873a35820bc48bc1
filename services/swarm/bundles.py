"""Steps of many sessions in one message, between a client and a server of ours.

Petals has a stream for each session and a message for each of its steps, and each message costs both sides a third
of a millisecond in Python. Sessions whose steps run together in a server's batches come back together too. So a
server of ours offers one more stream (``serving/bundled.py``), over which their steps go and come in one message;
sessions are opened and closed, and prompts sent, as Petals does it.

A part may name the server of the blocks behind, if that is one of ours: then its outputs go there at once, over a
stream between the two (``serving/passing_on.py``), and the other one answers the client. A server that cannot pass on
answers itself, and the client goes on from there.

A message is the lengths of head and body (four bytes each, the highest first), the head in MessagePack, and the body:
hidden states, token by token, as they lie in memory.
"""

import asyncio
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from hivemind import MSGPackSerializer

BUNDLED_TOKENS = 16
"""The most tokens of a step that others wait for; longer ones are prompts."""

SESSIONS_AT = "sessions_at"
"""In ``rpc_info``: by what name to call the handler that shall have all of a client's sessions, so that they step
together."""


def inference_at(handler: str) -> str:
    """Return the name of a handler's own ``rpc_inference``; Petals' goes to any handler of the server."""
    return f"{handler}.rpc_inference"


def bundles_at(handler: str) -> str:
    """Return the name of a handler's stream for steps of many sessions."""
    return f"{handler}.bundles"


def passed_on_at(handler: str) -> str:
    """Return the name of a handler's stream for steps that other servers pass on."""
    return f"{handler}.passed_on"


_LENGTHS = struct.Struct(">II")
_LARGEST_HEAD, _LARGEST_BODY = 2**20, 2**26
_TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_NAMES = {dtype: name for name, dtype in _TYPES.items()}


@dataclass(frozen=True)
class Onward:
    """Where a session's outputs go on to.

    Attributes:
        peer: the server's, in base 58.
        handler: what its handler is called.
        session: the text's session there.
    """

    peer: str
    handler: str
    session: str


@dataclass(frozen=True)
class Part:
    """A session's part of a message.

    Attributes:
        session: its name, as in Petals' metadata.
        position: how many tokens it held before these.
        tokens: how many of the message's tokens are its own.
        number: the step's, by which its client knows the answer whoever gives it.
        problem: in an answer, why there are none.
        onward: where its outputs shall be passed on to.
    """

    session: str
    position: int
    tokens: int
    number: int
    problem: str | None = None
    onward: Onward | None = None


def pack(parts: Sequence[Part], hidden: torch.Tensor) -> bytes:
    """Return a message of hidden states [tokens, hidden], those of the first part first."""
    body = hidden.detach().contiguous().view(torch.uint8).numpy().tobytes()
    head = MSGPackSerializer.dumps(
        {
            "parts": [_fields(part) for part in parts],
            "type": _NAMES[hidden.dtype],
            "width": hidden.shape[1],
        }
    )
    return _LENGTHS.pack(len(head), len(body)) + head + body


async def read(stream: asyncio.StreamReader) -> tuple[list[Part], torch.Tensor]:
    """Return the next message, as ``pack`` takes it.

    Raises:
        IncompleteReadError: the stream has ended.
        ValueError: this is no such message.
    """
    head_length, body_length = _LENGTHS.unpack(await stream.readexactly(_LENGTHS.size))
    if head_length > _LARGEST_HEAD or body_length > _LARGEST_BODY:
        raise ValueError(f"a message of {head_length} + {body_length} bytes is too long")
    head = await stream.readexactly(head_length)
    body = bytearray(await stream.readexactly(body_length))
    try:
        return _unpack(MSGPackSerializer.loads(head), body)
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        raise ValueError(f"a message that nobody can read: {error!r}") from error


def _unpack(head: dict[str, Any], body: bytearray) -> tuple[list[Part], torch.Tensor]:
    parts = [_part(*fields) for fields in head["parts"]]
    dtype, width = _TYPES[head["type"]], head["width"]
    numbers = torch.frombuffer(body, dtype=dtype) if body else torch.empty(0, dtype=dtype)
    hidden = numbers.view(-1, width) if body else numbers.view(0, width)
    if sum(part.tokens for part in parts) != len(hidden):
        raise ValueError(f"{len(hidden)} tokens are not those of the parts")
    return parts, hidden


def _fields(part: Part) -> list[Any]:
    onward = part.onward
    there = [] if onward is None else [onward.peer, onward.handler, onward.session]
    return [part.session, part.position, part.tokens, part.number, part.problem, *there]


def _part(session: Any, position: Any, tokens: Any, number: Any, problem: Any, *onward: Any) -> Part:
    known = (
        all(isinstance(name, str) for name in (session, *onward))
        and all(isinstance(one, int) and one >= 0 for one in (position, tokens, number))
        and (problem is None or isinstance(problem, str))
    )
    if not known:
        raise ValueError(f"{(session, position, tokens, number, problem, *onward)} is no part")
    return Part(session, position, tokens, number, problem, Onward(*onward) if onward else None)
