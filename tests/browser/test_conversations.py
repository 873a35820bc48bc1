"""Conversations on the chat page: asking, stopping, continuing, changing one's mind, and finding all of it again."""

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, Request, expect

from tests.browser.chat import Chat
from tests.unit.endpoint.fake_model import FakeModel

DASH = "\N{EN DASH}"
RICH = """The **calyx** is what *holds* a flower:

1. sepals protect the bud
2. later they carry the petals
   - some fall, some stay

```python
def petals(count: int) -> list[str]:
    return ["petal"] * count
```
"""


def asked(page: Page, does: Callable[[], None]) -> dict[str, Any]:
    """Return the body of the request for an answer that ``does`` leads to."""
    with page.expect_request("**/v1/chat/completions") as waiting:
        does()
    request: Request = waiting.value
    return dict(json.loads(request.post_data or ""))


def said(body: dict[str, Any]) -> list[str]:
    return [f"{message['role']}: {message['content']}" for message in body["messages"]]


def test_a_whole_conversation(chat: Chat, model: FakeModel, picture: Callable[[Page, str], Path]) -> None:
    model.say(RICH)
    expect(chat.standing).to_have_text("Ready, 30 blocks")

    first = asked(chat.page, lambda: chat.ask("What does a calyx do?\nBriefly."))
    chat.done()
    picture(chat.page, "conversation")

    assert said(first) == ["user: What does a calyx do?\nBriefly."]
    assert first["stream"] is True
    expect(chat.said).to_have_text(["What does a calyx do?\nBriefly."])
    expect(chat.answer.locator("strong")).to_have_text("calyx")
    expect(chat.answer.locator("ol > li")).to_have_count(2)
    expect(chat.answer.locator("ol ul li")).to_have_text("some fall, some stay")
    expect(chat.answer.locator("pre")).to_have_text(
        'def petals(count: int) -> list[str]:\n    return ["petal"] * count'
    )
    figures = chat.answers.last.locator(".figures")
    count = len(model.script)
    expect(figures).to_have_text(re.compile(rf"^[\d.]+ tokens/s · first after [\d.]+ s · {count} tokens$"))
    servers = chat.answers.last.get_by_role("list", name="Servers that answered").get_by_role("listitem")
    expect(servers).to_have_text([f"tulip blocks 0{DASH}14", f"…WFakeTwo blocks 15{DASH}29"])

    model.say("They fall.")
    second = asked(chat.page, lambda: chat.ask("And petals?"))
    chat.done()

    assert said(second) == [*said(first), f"assistant: {RICH}", "user: And petals?"]
    expect(chat.answers).to_have_count(2)
    expect(chat.answer).to_have_text("They fall.")
    expect(chat.page).to_have_title("What does a calyx do? Briefly. · Calyx")


def test_an_answer_is_stopped_and_continued(chat: Chat, model: FakeModel) -> None:
    model.gate = threading.Semaphore(9)
    chat.ask("Tell me a story")
    expect(chat.answer).to_have_text("Once upon")
    expect(chat.answers.last).to_have_attribute("aria-busy", "true")
    chat.page.keyboard.press("Escape")
    chat.done()
    expect(chat.answers.last).to_contain_text("Stopped.")
    expect(chat.prompt).to_be_focused()
    model.gate.release()
    assert model.sessions[0].closed.wait(20), "the servers go on for nobody"

    model.gate = None
    model.say(" a time.")
    body = asked(chat.page, lambda: chat.press("Continue"))
    chat.done()

    assert said(body) == ["user: Tell me a story", "assistant: Once upon"]
    assert body["continue_final_message"] is True
    expect(chat.answer).to_have_text("Once upon a time.")
    expect(chat.answers).to_have_count(1)
    expect(chat.page.get_by_role("button", name="Continue")).to_be_hidden()


def test_an_answer_that_the_limit_cut_off_goes_on(chat: Chat) -> None:
    chat.press("Settings")
    chat.page.get_by_label("Longest answer").fill("6")
    chat.press("Save")
    body = asked(chat.page, lambda: chat.ask("Tell me a story"))
    chat.done()
    assert body["max_tokens"] == 6
    expect(chat.answer).to_have_text("Once u")
    expect(chat.answers.last).to_contain_text("The limit of tokens ended this answer.")
    chat.press("Continue")
    chat.done()
    expect(chat.answer).to_have_text("Once uOnce u")  # this model begins anew


def test_settings_are_sent_and_kept(chat: Chat) -> None:
    chat.press("Settings")
    chat.page.get_by_label("System prompt").fill("Be brief.")
    chat.page.get_by_label("Temperature").fill("0")
    chat.press("Save")
    chat.page.reload()
    body = asked(chat.page, lambda: chat.ask("Hello"))
    assert said(body) == ["system: Be brief.", "user: Hello"]
    assert (body["temperature"], body["max_tokens"]) == (0, 512)
    chat.press("Settings")
    chat.page.get_by_label("Temperature").fill("9")
    chat.press("Save")
    expect(chat.page.get_by_role("dialog")).to_be_visible()  # out of range
    chat.press("Cancel")
    expect(chat.page.get_by_role("dialog")).to_be_hidden()


def test_a_model_is_picked_and_kept(chat: Chat) -> None:
    ready = {"ready": True, "num_blocks": 30, "missing_blocks": [], "problem": None}
    gap = {"start_block": 0, "end_block": 8}
    lacks = {"ready": False, "num_blocks": 32, "missing_blocks": [gap], "problem": "no server"}
    models = [
        {"name": "test/parrot", **ready},
        {"name": "test/large", **lacks},
        {"name": "test/other", **ready},
    ]
    chat.page.route("**/api/v2/models", lambda route: route.fulfill(json={"models": models}))
    chat.page.reload()
    options = ["test/parrot", f"test/large — no server has blocks 0{DASH}7 of 32", "test/other"]
    expect(chat.model.locator("option")).to_have_text(options)

    chat.model.select_option("test/large")
    expect(chat.standing).to_have_text(f"Not ready: no server has blocks 0{DASH}7 of 32")
    chat.model.select_option("test/other")
    expect(chat.standing).to_have_text("Ready, 30 blocks")
    chat.page.reload()
    expect(chat.model).to_have_value("test/other")
    assert asked(chat.page, lambda: chat.ask("Hello"))["model"] == "test/other"
    chat.done()
    expect(chat.page.get_by_role("alert")).to_contain_text("test/other")  # this endpoint has one model alone


def test_a_reload_keeps_conversations_and_the_open_one(chat: Chat, model: FakeModel) -> None:
    chat.ask("First question")
    chat.done()
    chat.press("New conversation")
    expect(chat.answers).to_have_count(0)
    model.gate = threading.Semaphore(4)
    chat.ask("Second question")
    expect(chat.answer).to_have_text("Once")

    chat.page.reload()

    expect(chat.said).to_have_text(["Second question"])
    expect(chat.answer).to_have_text("Once")
    expect(chat.answers.last).to_contain_text("Stopped.")  # nobody was there to read on
    expect(chat.conversations).to_have_text(["Second question", "First question"])
    chat.press("First question")
    expect(chat.answer).to_have_text("Once upon a time.")
    expect(chat.answers.last).to_contain_text("tokens/s")
    expect(chat.page).to_have_title("First question · Calyx")
    model.gate.release(1000)


def test_conversations_are_deleted_at_the_second_press(chat: Chat) -> None:
    for text in ("One", "Two"):
        chat.press("New conversation")
        chat.ask(text)
        chat.done()
    chat.conversations.filter(has_text="Two").hover()
    chat.press("Delete “Two”")
    expect(chat.conversations).to_have_count(2)
    chat.press("Really delete “Two”?")
    expect(chat.conversations).to_have_text(["One"])
    expect(chat.answers).to_have_count(0)
    chat.page.reload()
    expect(chat.conversations).to_have_text(["One"])


def test_a_question_is_edited_and_an_answer_regenerated(chat: Chat, model: FakeModel) -> None:
    chat.ask("What is a rose?")
    chat.done()
    model.say("Another answer.")
    again = asked(chat.page, lambda: chat.press("Regenerate"))
    chat.done()
    assert said(again) == ["user: What is a rose?"]
    expect(chat.answers).to_have_count(1)
    expect(chat.answer).to_have_text("Another answer.")

    chat.ask("And a lily?")
    chat.done()
    chat.questions.first.get_by_role("button", name="Edit").click()
    box = chat.page.get_by_label("Edit message")
    expect(box).to_be_focused()
    box.press("Escape")
    expect(chat.questions.first).to_contain_text("What is a rose?")
    chat.questions.first.get_by_role("button", name="Edit").click()
    chat.page.get_by_label("Edit message").fill("What is a tulip?")
    edited = asked(chat.page, lambda: chat.page.get_by_label("Edit message").press("Enter"))
    chat.done()
    assert said(edited) == ["user: What is a tulip?"]
    expect(chat.questions).to_have_count(1)
    expect(chat.answers).to_have_count(1)


def test_answers_and_code_are_copied(chat: Chat, model: FakeModel) -> None:
    chat.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    model.say(RICH)
    chat.ask("Code, please")
    chat.done()
    for name, text in {
        "Copy code": RICH.split("```")[1].removeprefix("python\n").strip("\n"),
        "Copy answer": RICH,
    }.items():
        chat.press(name)
        expect(chat.page.get_by_role("button", name=name)).to_have_text("Copied")
        assert chat.page.evaluate("navigator.clipboard.readText()") == text
