"""Lets a session go back to an earlier position, as in Petals after 2.2.0: its next steps overwrite what came after.

A step whose metadata holds ``start_from_position`` starts there. Servers that understand it say so in ``rpc_info``
under the same name; to stock servers it is never sent.
"""

from collections.abc import AsyncIterator
from typing import Any

import torch
from hivemind import serialize_torch_tensor
from hivemind.proto import runtime_pb2
from petals.server import handler
from petals.server.block_functions import iterate_rpc_inference

from services.swarm.client.capabilities import START_FROM_POSITION

Step = tuple[Any, dict[str, Any]]


def _skipping(tokens: int, request: Any) -> Any:
    """Return a step of so many tokens without contents: Petals counts them and computes nothing."""
    hollow = torch.empty(request.tensors[0].size[0], tokens, 0)
    return runtime_pb2.ExpertRequest(tensors=[serialize_torch_tensor(hollow), *request.tensors[1:]])


class _Steps:
    """A session's steps, in stretches that each begin where the one before has got to, or further back."""

    def __init__(self, steps: AsyncIterator[Step]) -> None:
        self._steps = steps
        self._position = 0
        self.returning: Step | None = None
        """The step that goes back, which ended the last stretch and begins the next one."""

    async def stretch(self) -> AsyncIterator[Step]:
        """Yield steps until one goes back; first of all one that skips what is kept, if anything is."""
        if self.returning is not None:
            (request, metadata), self.returning = self.returning, None
            self._position = metadata[START_FROM_POSITION]
            if self._position:
                yield _skipping(self._position, request), {}
            yield self._counted(request, metadata)
        async for request, metadata in self._steps:
            if START_FROM_POSITION in metadata:
                self._check(metadata[START_FROM_POSITION])
                self.returning = request, metadata
                return
            yield self._counted(request, metadata)

    def _counted(self, request: Any, metadata: dict[str, Any]) -> Step:
        self._position += request.tensors[0].size[1]
        return request, metadata

    def _check(self, position: Any) -> None:
        if not isinstance(position, int) or not 0 <= position <= self._position:
            raise ValueError(f"{START_FROM_POSITION} must be from 0 to {self._position}, not {position!r}")


async def iterate_inference(*, input_iterator: AsyncIterator[Step], **session: Any) -> AsyncIterator[Any]:
    """Do what Petals' ``iterate_rpc_inference`` does, and let steps go back.

    Raises:
        ValueError: a step starts from where the session has not been.
    """
    steps = _Steps(input_iterator)
    while True:
        skips = steps.returning is not None and steps.returning[1][START_FROM_POSITION] > 0
        async for answer in iterate_rpc_inference(input_iterator=steps.stretch(), **session):
            if not skips:
                yield answer
            skips = False
        if steps.returning is None:
            return


def install() -> None:
    """Let Petals' handlers use it; safe to call again."""
    handler.iterate_rpc_inference = iterate_inference
