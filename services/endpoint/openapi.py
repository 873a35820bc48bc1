"""``/openapi.json``: FastAPI knows the routes; what they read and answer, which they do by hand, is said here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from services.endpoint.answers import (
    ChatCompletion,
    ListedModel,
    ListedModels,
    OpenAIFailure,
    PetalsAnswer,
    PetalsFailure,
    TextCompletion,
)
from services.endpoint.model_status import ModelList
from services.endpoint.openai.schema import ChatRequest, CompletionRequest
from services.endpoint.petals_messages import Generate

_REFERENCE = "#/components/schemas/{model}"
_JSON = "application/json"
_EVENTS = "text/event-stream"
_MEANING = {
    200: "The answer.",
    400: "A wrong value, a text that does not fit, or no message at all.",
    401: "No API key where one is asked for, or one that is not valid.",
    403: "A web page of another origin asks.",
    404: "It is not served here.",
    408: "The body took too long to come.",
    413: "The body is too large.",
    429: "More than the API key is good for; Retry-After says when to ask again.",
    500: "Something of the endpoint or of a server is broken.",
    503: "Not now: blocks have no server, or all places are taken. Retry-After says when to ask again.",
}
_REFUSALS = (400, 401, 403, 404, 408, 413, 429, 500, 503)


@dataclass(frozen=True)
class _Operation:
    """A route.

    Attributes:
        summary: what it does.
        answers: media type → schema, of the answer.
        failure: schema of errors; None for those that answer a line of text and are open to all.
        statuses: of errors.
        reads: media type → schema, of the body.
        also_in_address: whether fields of the form may stand in the address instead.
    """

    summary: str
    answers: Mapping[str, type[BaseModel] | None]
    failure: type[BaseModel] | None = None
    statuses: Sequence[int] = ()
    reads: Mapping[str, type[BaseModel]] | None = None
    also_in_address: bool = False


_TEXT: Mapping[str, None] = {"text/plain": None}

OPERATIONS: dict[tuple[str, str], _Operation] = {
    ("post", "/api/v1/generate"): _Operation(
        "Continue a text.",
        {_JSON: PetalsAnswer},
        PetalsFailure,
        _REFUSALS,
        {_JSON: Generate, "application/x-www-form-urlencoded": Generate},
        also_in_address=True,
    ),
    ("post", "/v1/chat/completions"): _Operation(
        "Answer a chat.",
        {_JSON: ChatCompletion, _EVENTS: None},
        OpenAIFailure,
        _REFUSALS,
        {_JSON: ChatRequest},
    ),
    ("post", "/v1/completions"): _Operation(
        "Continue texts.",
        {_JSON: TextCompletion, _EVENTS: None},
        OpenAIFailure,
        _REFUSALS,
        {_JSON: CompletionRequest},
    ),
    ("get", "/v1/models"): _Operation(
        "List the models.", {_JSON: ListedModels}, OpenAIFailure, (401, 403, 413, 429, 503)
    ),
    ("get", "/v1/models/{name}"): _Operation(
        "Describe a model.", {_JSON: ListedModel}, OpenAIFailure, (401, 403, 404, 413, 429, 503)
    ),
    ("get", "/api/v2/models"): _Operation(
        "Say which models are served and how they stand.",
        {_JSON: ModelList},
        PetalsFailure,
        (401, 403, 413, 429, 503),
    ),
    ("get", "/healthz"): _Operation("Say that the process lives.", _TEXT),
    ("get", "/readyz"): _Operation("Say whether a model can be used.", _TEXT, None, (503,)),
    ("get", "/metrics"): _Operation("Tell figures to Prometheus.", _TEXT),
}


class DocumentedApi(FastAPI):
    """An application that serves its document, and no pages for reading it: those load scripts from other hosts."""

    def __init__(self, **options: Any) -> None:
        super().__init__(docs_url=None, redoc_url=None, openapi_url="/openapi.json", **options)

    def openapi(self) -> dict[str, Any]:
        """Return the document, which is made once."""
        if self.openapi_schema is None:
            self.openapi_schema = _document(self)
        return self.openapi_schema


def _document(app: FastAPI) -> dict[str, Any]:
    found = get_openapi(
        title=app.title,
        version="1",
        routes=app.routes,
        description="The WebSocket /api/v2/generate, which this form cannot describe, is in docs/endpoint.md.",
    )
    components = found.setdefault("components", {})
    components.setdefault("schemas", {}).update(_schemas())
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for (method, path), operation in OPERATIONS.items():
        described = found["paths"][path][method]
        described["summary"] = operation.summary
        described["responses"] = _responses(operation)
        if operation.failure is not None:
            described["security"] = [{}, {"key": []}]
        if operation.reads is not None:
            described["requestBody"] = {
                "required": not operation.also_in_address,
                "content": _content(operation.reads),
            }
        if operation.also_in_address:
            described["parameters"] = _parameters(components["schemas"]["Generate"])
    return found


def _responses(operation: _Operation) -> dict[str, Any]:
    responses = {"200": {"description": _MEANING[200], "content": _content(operation.answers)}}
    for status in operation.statuses:
        # Pages of another origin are refused before anything else; so are requests for a line of text
        plain = status == 403 or operation.failure is None
        content = _content(_TEXT if plain else {_JSON: operation.failure})
        responses[str(status)] = {"description": _MEANING[status], "content": content}
    return responses


def _parameters(schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the fields of a form as parameters of the address, where no value is null."""
    return [
        {
            "name": name,
            "in": "query",
            "schema": {"anyOf": [one for one in field["anyOf"] if one != {"type": "null"}]},
        }
        for name, field in schema["properties"].items()
    ]


def _content(kinds: Mapping[str, type[BaseModel] | None]) -> dict[str, Any]:
    return {
        media: {
            "schema": {"type": "string"} if kind is None else {"$ref": _REFERENCE.format(model=kind.__name__)}
        }
        for media, kind in kinds.items()
    }


def _schemas() -> dict[str, Any]:
    kinds: set[type[BaseModel]] = set()
    for operation in OPERATIONS.values():
        read = (operation.reads or {}).values()
        kinds.update(kind for kind in (*read, *operation.answers.values(), operation.failure) if kind)
    ordered = sorted(kinds, key=lambda kind: kind.__name__)
    _, definitions = models_json_schema([(kind, "validation") for kind in ordered], ref_template=_REFERENCE)
    schemas: dict[str, Any] = definitions["$defs"]
    # What a validator turns into the type of the field
    text = {"type": "string"}
    for name in ("ChatRequest", "CompletionRequest"):
        schemas[name]["properties"]["stop"]["anyOf"].insert(0, text)
    part = {
        "type": "object",
        "properties": {"type": {"const": "text"}, "text": text},
        "required": ["type", "text"],
    }
    schemas["ChatMessage"]["properties"]["content"]["anyOf"].append({"type": "array", "items": part})
    return schemas
