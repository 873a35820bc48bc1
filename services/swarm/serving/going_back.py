"""Lets a session go back to an earlier position, as in Petals after 2.2.0: its next steps overwrite what came after.

A step whose metadata holds ``start_from_position`` starts there. Servers that understand it say so in ``rpc_info``
under the same name; to stock servers it is never sent. Where a session is, is kept in ``OPEN``, for some of its steps
may come by another way (``bundled.py``).
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import torch
from hivemind import serialize_torch_tensor
from hivemind.proto import runtime_pb2
from petals.data_structures import Handle
from petals.server import handler
from petals.server.block_functions import iterate_rpc_inference

from services.swarm.client.capabilities import START_FROM_POSITION
from services.swarm.serving.open_sessions import OPEN, OpenSession

Step = tuple[Any, dict[str, Any]]


def _skipping(tokens: int, request: Any) -> Any:
    """Return a step of so many tokens without contents: Petals counts them and computes nothing."""
    hollow = torch.empty(request.tensors[0].size[0], tokens, 0)
    return runtime_pb2.ExpertRequest(tensors=[serialize_torch_tensor(hollow), *request.tensors[1:]])


class _Steps:
    """A session's steps, in stretches that each begin where the one before has got to, or further back."""

    def __init__(self, steps: AsyncIterator[Step], session: OpenSession) -> None:
        self._steps, self._session = steps, session
        self.name: str | None = None
        """What the client calls the session; known from its first step on."""
        self.returning: Step | None = None
        """The step that goes back, which ended the last stretch and begins the next one."""

    async def stretch(self) -> AsyncIterator[Step]:
        """Yield steps until one goes back; first of all one that skips what is kept, if anything is."""
        if self.returning is not None:
            (request, metadata), self.returning = self.returning, None
            self._session.position = metadata[START_FROM_POSITION]
            if self._session.position:
                yield _skipping(self._session.position, request), {}
            yield self._begun(request, metadata)
        async for request, metadata in self._steps:
            if START_FROM_POSITION in metadata:
                self._check(metadata[START_FROM_POSITION])
                self.returning = request, metadata
                return
            yield self._begun(request, metadata)

    def _begun(self, request: Any, metadata: dict[str, Any]) -> Step:
        rows, tokens = request.tensors[0].size[:2]
        self._session.rows, self._session.busy = rows, True
        self._session.position += tokens
        name = metadata.get("session_id")
        if (
            self.name is None and name is not None and name not in OPEN
        ):  # or one peer could take another's name
            self.name = name
            OPEN[name] = self._session
        return request, metadata

    def _check(self, position: Any) -> None:
        furthest = self._session.position
        if not isinstance(position, int) or not 0 <= position <= furthest:
            raise ValueError(f"{START_FROM_POSITION} must be from 0 to {furthest}, not {position!r}")


async def iterate_inference(
    *,
    input_iterator: AsyncIterator[Step],
    requested_uids: Sequence[str],
    cache_handles: Sequence[Sequence[Handle]],
    active_adapter: str | None,
    max_length: int,
    **more: Any,
) -> AsyncIterator[Any]:
    """Do what Petals' ``iterate_rpc_inference`` does, and let steps go back.

    Raises:
        ValueError: a step starts from where the session has not been.
    """
    ends = requested_uids[0], requested_uids[-1]
    session = OpenSession(cache_handles[0][0], ends, active_adapter or "", max_length)
    steps = _Steps(input_iterator, session)
    try:
        while True:
            skips = steps.returning is not None and steps.returning[1][START_FROM_POSITION] > 0
            async for answer in iterate_rpc_inference(
                input_iterator=steps.stretch(),
                requested_uids=requested_uids,
                cache_handles=cache_handles,
                active_adapter=active_adapter,
                max_length=max_length,
                **more,
            ):
                if not skips:
                    session.busy = False
                    yield answer
                skips = False
            if steps.returning is None:
                return
    finally:
        if steps.name is not None:
            OPEN.pop(steps.name, None)


def install() -> None:
    """Let Petals' handlers use it; safe to call again."""
    handler.iterate_rpc_inference = iterate_inference
