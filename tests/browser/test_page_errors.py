"""What goes wrong is shown where it happened, with what to do about it."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from services.common.errors import Unavailable
from services.endpoint.access.keys import KeyFile, KeyRing
from tests.browser.chat import Chat
from tests.unit.endpoint.conftest import Servers
from tests.unit.endpoint.fake_model import FakeModel

GONE = Unavailable("model test/parrot: no server for blocks 15:30", "wait for servers to join")


def test_a_model_that_is_gone_is_told_and_tried_again(
    chat: Chat, model: FakeModel, picture: Callable[[Page, str], Path]
) -> None:
    model.fail_at[1] = GONE
    chat.ask("Are you there?")
    chat.done()
    expect(chat.page.get_by_role("alert")).to_have_text(str(GONE))
    picture(chat.page, "error")

    chat.press("Try again")
    chat.done()

    expect(chat.page.get_by_role("alert")).to_have_count(0)
    expect(chat.answer).to_have_text("Once upon a time.")
    expect(chat.questions).to_have_count(1)


def test_a_failure_in_the_middle_keeps_what_came(chat: Chat, model: FakeModel) -> None:
    model.fail_at[10] = GONE
    chat.ask("Tell me a story")
    chat.done()
    expect(chat.answer).to_have_text("Once upon")
    expect(chat.page.get_by_role("alert")).to_have_text(str(GONE))
    chat.page.reload()
    expect(chat.page.get_by_role("alert")).to_have_text(str(GONE))
    model.say(" a time.")
    chat.press("Continue")
    chat.done()
    expect(chat.answer).to_have_text("Once upon a time.")


def test_a_question_without_an_answer_is_not_said_twice(chat: Chat, model: FakeModel) -> None:
    model.fail_at[1] = GONE
    chat.ask("Are you there?")
    chat.done()
    with chat.page.expect_request("**/v1/chat/completions") as asked:
        chat.ask("Hello")
    assert json.loads(asked.value.post_data)["messages"] == [{"role": "user", "content": "Hello"}]


def test_missing_blocks_are_shown_beside_the_model(
    open_page: Callable[..., Page], address: str, model: FakeModel, picture: Callable[[Page, str], Path]
) -> None:
    model.missing = [*range(15), 20]
    chat = Chat(open_page(address))
    missing = "no server has blocks 0\N{EN DASH}14, 20 of 30"
    expect(chat.standing).to_have_text(f"Not ready: {missing}")
    picture(chat.page, "missing-blocks")


def test_an_endpoint_that_is_gone_is_told(chat: Chat, servers: Servers) -> None:
    expect(chat.standing).to_have_attribute("data-state", "ready")
    servers.stop()
    servers.join()
    chat.ask("Are you there?")
    chat.done()
    expect(chat.page.get_by_role("alert")).to_contain_text("The endpoint does not answer.")
    expect(chat.standing).to_contain_text("The endpoint does not answer.")


def test_an_endpoint_that_ends_in_the_middle_is_told(chat: Chat, model: FakeModel, servers: Servers) -> None:
    model.gate = threading.Semaphore(4)
    chat.ask("Tell me a story")
    expect(chat.answer).to_have_text("Once")
    servers.stop(patience=0.1)
    servers.join()
    chat.done()
    expect(chat.page.get_by_role("alert")).to_contain_text("the endpoint is stopping")
    expect(chat.answer).to_have_text("Once")


def test_a_key_is_asked_for_and_sent(
    open_page: Callable[..., Page], servers: Servers, tmp_path: Path
) -> None:
    file = tmp_path / "keys.json"
    chat = Chat(open_page(servers(keys_file=file)))
    expect(chat.standing).to_have_attribute("data-state", "ready")
    ring, secret = KeyRing().with_key("phone", now=0)
    KeyFile(file).change(lambda _: ring)
    chat.ask("May I come in?")
    key = chat.page.get_by_label("API key")
    expect(key).to_be_focused()
    chat.press("Cancel")
    expect(chat.page.get_by_role("alert")).to_contain_text("the endpoint asks for an API key")

    chat.press("Enter API key")
    key.fill("a wrong one")
    chat.press("Save")
    expect(key).to_be_focused()
    key.fill(secret)
    chat.press("Save")
    chat.done()

    expect(chat.answer).to_have_text("Once upon a time.")
    expect(chat.questions).to_have_count(1)
    chat.page.reload()
    expect(chat.standing).to_have_attribute("data-state", "ready")


def test_a_key_is_asked_for_before_anything_is_said(
    open_page: Callable[..., Page], servers: Servers, tmp_path: Path
) -> None:
    file = tmp_path / "keys.json"
    ring, secret = KeyRing().with_key("phone", now=0)
    KeyFile(file).change(lambda _: ring)
    chat = Chat(open_page(servers(keys_file=file)))
    chat.page.get_by_label("API key").fill(secret)
    chat.press("Save")
    expect(chat.standing).to_have_text("Ready, 30 blocks")


def test_a_browser_without_room_tells(chat: Chat) -> None:
    # The page goes on without its memory
    chat.page.evaluate(
        "() => { Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); }; }"
    )
    chat.ask("Tell me a story")
    chat.done()
    expect(chat.answer).to_have_text("Once upon a time.")
    expect(chat.page.get_by_text("This browser has no room left")).to_be_visible()
