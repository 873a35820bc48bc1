"""The messages of chat.petals.dev's protocol, as its WebSocket and its HTTP interface share them."""

from typing import Any, Literal
from urllib.parse import parse_qs

from services.common.errors import CalyxError, InvalidInput
from services.endpoint.conversation import Request
from services.endpoint.generation import Chunk
from services.endpoint.json_messages import Message
from services.endpoint.sampling import SamplingParameters

_MAX_FORM_FIELDS = 100


class OpenSession(Message):
    """The first message of a WebSocket: the model, and room for how many tokens in all."""

    model: str | None = None
    max_length: int


class Generate(Message):
    """What to generate; the names are those of transformers' ``generate()``."""

    model: str | None = None
    inputs: str | None = None
    max_length: int | None = None
    max_new_tokens: int | None = None
    do_sample: bool | Literal[0, 1] | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    stop_sequence: str | None = None
    extra_stop_sequences: list[str] | None = None

    def to_request(self, streaming: bool) -> Request:
        """Translate it for the generation core.

        Args:
            streaming: send pieces until a stop sequence, so that ``max_new_tokens`` is the size of a piece
                and ``max_length`` the end, instead of one answer of at most that many tokens.

        Raises:
            InvalidInput: a value is out of its range, or not exactly one of the limits is given.
        """
        if (self.max_length is None) == (self.max_new_tokens is None):
            given = "neither is" if self.max_length is None else "both are"
            raise InvalidInput(f"give either max_length or max_new_tokens; {given} given")
        own = () if self.stop_sequence is None else (self.stop_sequence,)
        return Request(
            prompt=self.inputs,
            sampling=SamplingParameters(
                do_sample=bool(self.do_sample),
                temperature=self.temperature,
                top_k=self.top_k,
                top_p=self.top_p,
                repetition_penalty=self.repetition_penalty,
                seed=self.seed,
            ),
            max_length=self.max_length,
            max_new_tokens=None if streaming else self.max_new_tokens,
            stop_sequences=own + tuple(self.extra_stop_sequences or ()),
            tokens_per_chunk=(self.max_new_tokens or 1) if streaming else None,
        )


def parse_form(body: bytes) -> dict[str, Any]:
    """Return the fields of an URL-encoded form; of those given twice the last counts.

    Raises:
        InvalidInput: it is no such form.
    """
    try:
        fields = parse_qs(
            body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FORM_FIELDS
        )
    except ValueError:
        raise InvalidInput(
            "the form is not URL-encoded UTF-8", "encode it, as curl --data-urlencode does"
        ) from None
    return {name: values if name == "extra_stop_sequences" else values[-1] for name, values in fields.items()}


def answer(chunk: Chunk) -> dict[str, Any]:
    """Return the message that carries a piece of an answer."""
    message: dict[str, Any] = {
        "ok": True,
        "outputs": chunk.text,
        "stop": chunk.finish is not None,
        "token_count": chunk.tokens,
    }
    if chunk.finish is not None:
        message["stop_reason"] = chunk.finish.reason
    return message


def failure(error: CalyxError) -> dict[str, Any]:
    """Return the message that carries an error; ``traceback`` is the field that Petals' clients show."""
    return {"ok": False, "error": str(error), "traceback": str(error)}
