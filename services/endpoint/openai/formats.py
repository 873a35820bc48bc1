"""``response_format``: what the text of an answer must be."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from services.endpoint.json_messages import Message

_ANY_OBJECT = {"type": "object"}


class NamedSchema(Message):
    """A JSON schema. It always holds, whether ``strict`` or not; name and description are for people."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class ResponseFormat(Message):
    """Text, any JSON object, or the JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None

    @model_validator(mode="after")
    def _has_schema(self) -> "ResponseFormat":
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("its json_schema is missing")
        return self

    @property
    def wanted(self) -> dict[str, Any] | None:
        """The schema that answers must keep to; ``None``: they are any text."""
        if self.type == "text":
            return None
        named = self.json_schema if self.type == "json_schema" else None
        return _ANY_OBJECT if named is None or named.schema_ is None else named.schema_
