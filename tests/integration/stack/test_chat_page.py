"""The chat page of a real stack: a browser asks the bundled model, and sees who answered."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.chat import Chat
from tests.browser.chromium import chromium
from tests.integration.stack.conftest import ARTIFACTS
from tests.integration.stack.pool import MODEL, Pool

ANSWER_MS = 120_000


@pytest.fixture
def chat(pool: Pool) -> Iterator[Chat]:
    with chromium() as browser:
        page = browser.new_page()
        page.goto(f"http://{pool.endpoint}/")
        yield Chat(page)


def test_a_browser_asks_for_the_capital_of_france(chat: Chat) -> None:
    expect(chat.model).to_have_value(MODEL)
    expect(chat.standing).to_have_text("Ready, 30 blocks")
    chat.press("Settings")
    chat.page.get_by_label("Temperature").fill("0")
    chat.press("Save")

    chat.ask("Name the capital of France.")

    expect(chat.answer).to_have_text("The capital of France is Paris.", timeout=ANSWER_MS)
    chat.done()
    expect(chat.answers.last.locator(".figures")).to_contain_text("tokens/s")
    servers = chat.answers.last.get_by_role("list", name="Servers that answered").get_by_role("listitem")
    expect(servers).to_have_text([re.compile("blocks 0\u201329$")])
    ARTIFACTS.mkdir(exist_ok=True)
    chat.page.screenshot(path=ARTIFACTS / "chat-page-of-a-stack.png")
