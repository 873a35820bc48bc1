"""``/openapi.json`` against the application: complete, and true whatever is sent."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from services.endpoint.openapi import OPERATIONS
from tests.unit.endpoint.fake_model import NAME

# The others hold an API to rules of their own, such as that what the document allows always gets a 200
TRUE = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
LIMITS = settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def api(address: str) -> Any:
    return schemathesis.openapi.from_url(f"http://{address}/openapi.json")


@pytest.mark.parametrize(("method", "path"), sorted(OPERATIONS))
def test_what_comes_back_is_what_the_document_says(
    listen: Callable[..., str], method: str, path: str
) -> None:
    operation = api(listen())[path][method.upper()]

    @LIMITS
    @given(operation.as_strategy())
    def check(case: schemathesis.Case) -> None:
        if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
            case.body["model"] = NAME  # or most requests would be for a model that is not there
        case.call_and_validate(checks=TRUE)

    check()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/generate", {"inputs": "Hi", "max_new_tokens": 4}),
        ("/v1/completions", {"model": NAME, "prompt": "Hi", "max_tokens": 4, "n": 2, "logprobs": 2}),
        (
            "/v1/chat/completions",
            {"model": NAME, "messages": [{"role": "user", "content": "Hi"}], "logprobs": True},
        ),
    ],
)
def test_answers_are_those_of_the_document(listen: Callable[..., str], path: str, body: Any) -> None:
    case = api(listen())[path]["POST"].Case(body=body, media_type="application/json")

    answer = case.call()

    assert answer.status_code == 200
    case.validate_response(answer, checks=TRUE)


def test_every_route_is_in_it(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    described = {(method, path) for path, item in document["paths"].items() for method in item}

    assert described >= OPERATIONS.keys()
    for method, path in described:
        operation = document["paths"][path][method]
        assert operation["summary"], path
        assert operation["responses"]["200"]["content"], path
        assert all("schema" in one for one in operation["responses"]["200"]["content"].values()), path
        assert "422" not in operation["responses"], path


def test_no_page_shows_it_with_the_help_of_other_hosts(client: TestClient) -> None:
    assert client.get("/docs").status_code == client.get("/redoc").status_code == 404
    assert "http://" not in json.dumps(client.get("/openapi.json").json())


def test_it_names_no_file_or_place_of_ours(client: TestClient) -> None:
    text = client.get("/openapi.json").text

    assert "services/" not in text
    assert "CALYX_" not in text
