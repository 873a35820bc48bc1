"""The messages of chat.petals.dev's protocol, as its WebSocket and its HTTP interface share them."""

import json
from typing import Any, Literal, NoReturn, Self
from urllib.parse import parse_qs

from pydantic import BaseModel, ConfigDict, ValidationError

from services.common.errors import CalyxError, InvalidInput
from services.endpoint.conversation import Request
from services.endpoint.generation import Chunk
from services.endpoint.sampling import SamplingParameters

_MAX_FORM_FIELDS = 100


class _Message(BaseModel):
    # Values stay out of errors: they may be prompts, and errors reach logs.
    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)

    @classmethod
    def read(cls, fields: dict[str, Any], strict: bool = True) -> Self:
        """Check the fields of a message.

        Args:
            fields: name → value.
            strict: False for a form, whose values are all texts.

        Raises:
            InvalidInput: a field is missing or of the wrong type; the message names it.
        """
        try:
            return cls.model_validate(fields, strict=strict)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            name = str(first["loc"][0]) if first["loc"] else "message"
            raise InvalidInput(f"{name}: {first['msg'].lower()}") from None


class OpenSession(_Message):
    """The first message of a WebSocket: the model, and room for how many tokens in all."""

    model: str | None = None
    max_length: int


class Generate(_Message):
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


def parse_json(text: str | bytes) -> dict[str, Any]:
    """Return the JSON object that a message is.

    Raises:
        InvalidInput: it is something else.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise InvalidInput(
            "the message is not JSON", 'send an object such as {"inputs": "A cat sat"}'
        ) from None
    if not isinstance(value, dict):
        raise InvalidInput("the message is JSON but no object", 'send one such as {"inputs": "A cat sat"}')
    return value


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


def dump(message: dict[str, Any]) -> str:
    """Return a message as JSON; ASCII alone, so that no text of a caller can break the encoding."""
    return json.dumps(message, separators=(",", ":"))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
