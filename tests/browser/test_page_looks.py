"""The page on a phone, by night, without a mouse, and with a model that writes what it should not."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.chat import Chat
from tests.unit.endpoint.fake_model import FakeModel

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
WIDE = "```\n" + "a_very_long_line_of_code = " * 8 + "\n```\n\n" + "Donaudampfschifffahrt" * 9
READABLE = 4.5
"""Contrast of text that WCAG 2 asks for."""

_CONTRAST = """(element) => {
  const channels = (colour) => {
    const context = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d");
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour) => channels(colour).slice(0, 3).map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);
  let ground = element;
  while (channels(getComputedStyle(ground).backgroundColor)[3] < 255) ground = ground.parentElement;
  const both = [light(getComputedStyle(element).color), light(getComputedStyle(ground).backgroundColor)];
  return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
}"""


_FOCUSED = """(() => {
  const { ariaLabel, id, localName, textContent } = document.activeElement;
  return localName === "body" ? "browser" : id || ariaLabel || textContent.trim();
})()"""
ORDER = [
    *("send", "browser", "Skip to the message box", "new", "First line", "Delete “First line”", "theme"),
    *("settings-open", "model", "scroller", "Edit", "Copy message", "Regenerate", "Copy answer", "prompt"),
]
"""Where the Tab key leads, from the message box on and around."""


def background(page: Page) -> int:
    """Return how light the page is, from 0 to 255."""
    colour = str(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    return int(re.findall(r"\d+", colour)[0])


def test_a_phone_shows_all_of_it(
    open_page: Callable[..., Page], address: str, model: FakeModel, picture: Callable[[Page, str], Path]
) -> None:
    model.say(WIDE)
    chat = Chat(open_page(address, **PHONE))
    chat.ask("Something wide, please")
    chat.done()
    assert chat.page.evaluate("document.documentElement.scrollWidth") == 360
    expect(chat.prompt).to_be_in_viewport()
    assert (chat.send.bounding_box() or {})["height"] >= 44, "a finger is wide"
    picture(chat.page, "phone")

    menu = chat.page.get_by_role("button", name="Conversations")
    new = chat.page.get_by_role("button", name="New conversation")
    expect(new).not_to_be_in_viewport()
    menu.tap()
    expect(new).to_be_in_viewport()
    expect(new).to_be_focused()
    picture(chat.page, "phone-conversations")
    chat.page.keyboard.press("Escape")
    expect(new).not_to_be_in_viewport()
    expect(menu).to_be_focused()
    menu.tap()
    new.tap()
    expect(chat.answers).to_have_count(0)
    expect(new).not_to_be_in_viewport()


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_it_is_readable_by_day_and_night(
    open_page: Callable[..., Page],
    address: str,
    model: FakeModel,
    picture: Callable[[Page, str], Path],
    scheme: str,
) -> None:
    model.say("A `word` of code.\n\n> quoted")
    chat = Chat(open_page(address, color_scheme=scheme))
    chat.ask("Hello")
    chat.done()
    assert (background(chat.page) < 60) == (scheme == "dark")
    seen: list[Locator] = [
        chat.answer.locator("p").first,
        chat.answer.locator("code"),
        chat.answer.locator("blockquote"),
        chat.questions.locator(".text"),
        chat.answers.locator(".figures"),
        chat.answers.get_by_role("button", name="Regenerate"),
        chat.standing,
        chat.page.locator(".hint"),
        chat.page.get_by_role("button", name="Settings"),
        chat.send,
    ]
    for one in seen:
        assert one.evaluate(_CONTRAST) >= READABLE, one
    picture(chat.page, scheme)


def test_the_theme_is_chosen_and_kept(open_page: Callable[..., Page], address: str) -> None:
    page = open_page(address, color_scheme="light")
    assert background(page) > 200
    for _ in range(2):
        page.get_by_role("button", name="Theme").click()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    assert background(page) < 60
    page.reload()
    assert background(page) < 60


def test_everything_is_done_by_keyboard(chat: Chat) -> None:
    press = chat.page.keyboard.press
    expect(chat.prompt).to_be_focused()
    chat.page.keyboard.type("First")
    press("Shift+Enter")
    chat.page.keyboard.type("line")
    press("Enter")
    chat.done()
    expect(chat.said).to_have_text(["First\nline"])
    expect(chat.prompt).to_be_focused()

    found = []
    for _ in ORDER:
        press("Tab")
        found.append(chat.page.evaluate(_FOCUSED))
    assert found == ORDER
    press("Shift+Tab")
    press("Shift+Tab")
    press("Enter")
    chat.done()
    expect(chat.answers).to_have_count(1)
    chat.page.get_by_role("link", name="Skip to the message box").focus()
    press("Enter")
    expect(chat.prompt).to_be_focused()


def test_what_a_model_writes_is_never_markup(chat: Chat, model: FakeModel) -> None:
    model.say(
        "<img src=x onerror=alert(1)> <script>alert(2)</script> [out](javascript:alert(3)) **<b>x</b>** "
        "![](https://evil.example/pixel.png) [ours](https://example.org/a?b=c)\n\n"
        '```html\n<iframe src="https://evil.example"></iframe>\n```'
    )
    chat.ask("Break out")
    chat.done()
    expect(chat.answer.locator("img, script, iframe, b")).to_have_count(0)
    expect(chat.answer).to_contain_text("<script>alert(2)</script>")
    expect(chat.answer.locator("strong")).to_have_text("<b>x</b>")
    links = chat.answer.get_by_role("link")
    assert [link.get_attribute("href") for link in links.all()][-1] == "https://example.org/a?b=c"
    for link in links.all():
        assert (link.get_attribute("href") or "").startswith("https://")
        assert link.get_attribute("rel") == "noopener noreferrer"
