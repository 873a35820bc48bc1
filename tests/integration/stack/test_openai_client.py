"""OpenAI's own client over the stack: a chat with the real model, and one text for all protocols."""

import json

from openai import OpenAI

from tests.integration.stack.pool import MODEL, Pool

QUESTION = [{"role": "user", "content": "Name the capital of France."}]
ANSWER = "The capital of France is Paris."


def test_a_chat_streams_and_says_what_the_websocket_says(pool: Pool, question: str) -> None:
    with pool.http() as http:
        client = OpenAI(base_url=f"http://{pool.endpoint}/v1", api_key="none", http_client=http)
        assert [model.id for model in client.models.list().data] == [MODEL]
        stream = client.chat.completions.create(
            model=MODEL, messages=QUESTION, temperature=0, max_tokens=30, stream=True
        )
        chunks = [chunk.choices[0] for chunk in stream]

    pieces = [choice.delta.content for choice in chunks if choice.delta.content]
    assert "".join(pieces) == ANSWER
    assert len(pieces) > 3
    assert chunks[-1].finish_reason == "stop"

    with pool.socket() as socket:
        socket.send(json.dumps({"type": "open_inference_session", "model": MODEL, "max_length": 100}))
        socket.send(json.dumps({"type": "generate", "inputs": question, "max_new_tokens": 30}))
        assert json.loads(socket.recv(timeout=120)) == {"ok": True}
        assert json.loads(socket.recv(timeout=120))["outputs"] == ANSWER


def test_the_model_writes_the_json_that_is_asked_for(pool: Pool) -> None:
    fields = {"capital": {"type": "string"}, "country": {"type": "string"}}
    schema = {"type": "object", "properties": fields, "required": [*fields], "additionalProperties": False}
    wanted = {"type": "json_schema", "json_schema": {"name": "city", "schema": schema, "strict": True}}
    with pool.http() as http:
        client = OpenAI(base_url=f"http://{pool.endpoint}/v1", api_key="none", http_client=http)
        answer = client.chat.completions.create(
            model=MODEL, messages=QUESTION, temperature=0, max_tokens=100, response_format=wanted
        )

    (choice,) = answer.choices
    assert choice.finish_reason == "stop"
    assert json.loads(choice.message.content).keys() == fields.keys()
