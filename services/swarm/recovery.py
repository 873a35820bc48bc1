"""Lets a session of Petals' programming interface go on when one of its servers dies, which Petals 2.2.0 means to do
and does not. (The endpoint's sessions are those of ``services.swarm.client``.)

Petals hands the inputs of a lost server to the one that takes its place, but forgets how many tokens they stood
for, so that the first step there fails on an assertion. What the new server would return, outputs for the whole
text, the servers behind it would take for new tokens. And the whole text in one message may be larger than libp2p
lets pass. Here each server's session knows where the step ends, takes from its inputs the tokens that it lacks,
and sends a long text in parts.

Besides, libp2p's daemon does not tell those who wait for an answer that the connection is lost (it waits for them
to write), so Petals would notice after its request timeout of three minutes. Here we look who is connected.
"""

import asyncio
from typing import Any

import torch
from petals.client.inference_session import InferenceSession, _ServerInferenceSession
from petals.utils.misc import DUMMY, DUMMY_INT64, is_dummy

MESSAGE_TOKENS = 512
"""The most tokens of hidden states in one message."""

LOOK_SECONDS = 1.0
"""How long an answer may take before we look whether its server is still connected, again and again."""

_original_step = InferenceSession.step
_original_update = InferenceSession._update_sequence
_original_server_step = _ServerInferenceSession.step
_original_exchange = _ServerInferenceSession._step


def _step(
    self: InferenceSession,
    inputs: torch.Tensor,
    prompts: torch.Tensor | None = None,
    hypo_ids: torch.Tensor | None = None,
) -> torch.Tensor:
    self.step_end = self._position + inputs.shape[1]
    if hypo_ids is not None and not is_dummy(hypo_ids):
        for session in self._server_sessions:
            session.history = session.history[hypo_ids]
    output: torch.Tensor = _original_step(self, inputs, prompts, hypo_ids)
    return output


def _update_sequence(self: InferenceSession, server_idx: int, block_idx: int, attempt_no: int) -> None:
    _original_update(self, server_idx, block_idx, attempt_no)
    for session in self._server_sessions:
        session.whole = self


def _server_step(
    self: _ServerInferenceSession,
    inputs: torch.Tensor,
    prompts: torch.Tensor,
    hypo_ids: torch.Tensor,
    *,
    step_id: str,
) -> torch.Tensor:
    takes_over = self.history is not None and not self.stepped
    lacking = self.whole.step_end - (self.history.shape[1] if takes_over else self._position)
    tokens = inputs[:, inputs.shape[1] - lacking :]
    if takes_over:  # from a lost server, whose rows are in their latest order already
        tokens, hypo_ids, self.history = torch.cat([self.history, tokens], dim=1), DUMMY_INT64, None
    outputs = []
    for number, part in enumerate(tokens.split(MESSAGE_TOKENS, dim=1)):
        name = step_id if number == 0 else f"{step_id}.{number}"
        outputs.append(_original_server_step(self, part, prompts, hypo_ids, step_id=name))
        prompts, hypo_ids = DUMMY, DUMMY_INT64
    return torch.cat(outputs, dim=1)


async def _exchange(self: _ServerInferenceSession, request: Any) -> Any:
    answer = asyncio.ensure_future(_original_exchange(self, request))
    try:
        while not (await asyncio.wait({answer}, timeout=LOOK_SECONDS))[0]:
            connected = await self.whole._sequence_manager.state.p2p.list_peers()
            if self.span.peer_id not in {peer.peer_id for peer in connected}:
                raise ConnectionError(f"the connection to server {self.span.peer_id} is lost")
        return answer.result()
    finally:
        answer.cancel()


def install() -> None:
    """Replace the methods of Petals' sessions; safe to call again."""
    InferenceSession.step = _step
    InferenceSession._update_sequence = _update_sequence
    _ServerInferenceSession.step = _server_step
    _ServerInferenceSession._step = _exchange
