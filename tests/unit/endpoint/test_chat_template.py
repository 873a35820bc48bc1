"""Chat templates: what a model reads of a chat, whatever its template can do."""

from typing import Any

import pytest

from services.common.errors import InvalidInput
from services.endpoint.chat_template import ChatTemplate
from services.endpoint.errors import WrongField
from tests.unit.endpoint.fake_model import CHAT_TEMPLATE, NAME, byte_tokenizer

USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "look", "description": "", "parameters": {}}}
TOOLS_TEMPLATE = "{{ tools | tojson if tools }}" + CHAT_TEMPLATE


def template(source: Any = CHAT_TEMPLATE, bos: bool = False) -> ChatTemplate:
    tokenizer = byte_tokenizer(bos)
    tokenizer.chat_template = source
    return ChatTemplate(tokenizer, NAME)


def read(chat: ChatTemplate, *args: Any, **kwargs: Any) -> str:
    return byte_tokenizer().decode(chat.encode(*args, **kwargs))


def test_the_answer_begins_behind_it() -> None:
    assert read(template(), [USER]) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def test_the_template_alone_says_how_a_text_begins() -> None:
    assert template(bos=True).encode([USER]) == template().encode([USER])
    begun = template("{{ bos_token }}" + CHAT_TEMPLATE, bos=True).encode([USER])
    assert begun[:2] == [byte_tokenizer().bos_token_id, template().encode([USER])[0]]


def test_a_message_can_be_continued() -> None:
    chat = [USER, {"role": "assistant", "content": "Well, "}]
    assert read(template(), chat, continued=True).endswith("<|im_start|>assistant\nWell, ")


def test_whether_it_takes_tools_is_found_by_trying() -> None:
    assert not template().takes_tools
    assert template(TOOLS_TEMPLATE).takes_tools
    assert template({"default": CHAT_TEMPLATE, "tool_use": TOOLS_TEMPLATE}).takes_tools
    assert not template("{{ raise_exception('no') }}").takes_tools
    assert '"look"' in read(template(TOOLS_TEMPLATE), [USER], [TOOL])


@pytest.mark.parametrize(
    ("source", "chat", "tools", "problem"),
    [
        (CHAT_TEMPLATE, [], (), "messages: there are none"),
        (CHAT_TEMPLATE, [USER], [TOOL], f"tools: the chat template of {NAME} takes none"),
        (CHAT_TEMPLATE, [USER, {"role": "tool", "content": "5"}], (), "messages: .* no calls of tools"),
        ("{{ raise_exception('alternate!') }}", [USER], (), "messages: .* alternate!"),
        ("{{ messages[0].content + 5 }}", [USER], (), "messages: .* does not take them"),
        ("{{ nothing.at.all }}", [USER], (), "messages: .* undefined"),
    ],
)
def test_what_it_cannot_do_is_refused_by_name(source: str, chat: Any, tools: Any, problem: str) -> None:
    with pytest.raises(WrongField, match=problem):
        template(source).encode(chat, tools)


def test_half_a_character_is_refused() -> None:
    with pytest.raises(InvalidInput, match="surrogate"):
        template().encode([{"role": "user", "content": "\ud800"}])


def test_a_model_without_a_template_says_so() -> None:
    with pytest.raises(InvalidInput, match="has no chat template"):
        template(None)
