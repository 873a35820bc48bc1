"""Messages of applications, as JSON and as checked fields; what the protocols in JSON share."""

import json
from typing import Any, NoReturn, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from services.common.errors import InvalidInput
from services.endpoint.errors import WrongField

_SHOWN_PATH = 100


class Message(BaseModel):
    """A message, or a part of one; fields that it does not know are ignored."""

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
            problem = first["msg"].removeprefix("Value error, ")
            raise WrongField(f"{_path(first['loc'], fields)}: {problem[:1].lower()}{problem[1:]}") from None


def parse_json(text: str | bytes) -> dict[str, Any]:
    """Return the JSON object that a message is.

    Raises:
        InvalidInput: it is something else.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise InvalidInput("the message is not JSON", 'send an object such as {"model": "…"}') from None
    if not isinstance(value, dict):
        raise InvalidInput("the message is JSON but no object", 'send one such as {"model": "…"}')
    return value


def dump(message: dict[str, Any]) -> str:
    """Return a message as JSON; ASCII alone, so that no text of a caller can break the encoding."""
    return json.dumps(message, separators=(",", ":"))


def _path(location: tuple[int | str, ...], value: Any) -> str:
    """Write where a field is, such as ``messages[0].content``, leaving out pydantic's own steps between kinds."""
    path = ""
    for number, part in enumerate(location, start=1):
        if isinstance(value, list) and isinstance(part, int):
            path += f"[{part}]"
            value = value[part]
        elif isinstance(value, dict) and (part in value or number == len(location)):
            path += f".{part}"
            value = value.get(part)
    return path.removeprefix(".")[:_SHOWN_PATH] or "message"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
