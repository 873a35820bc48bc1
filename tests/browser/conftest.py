"""Debian's Chromium at the chat page of an endpoint whose model says what a test scripts."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from tests.browser.chat import Chat
from tests.browser.chromium import chromium
from tests.unit.endpoint.conftest import Servers
from tests.unit.endpoint.fake_model import FakeModel

ARTIFACTS = Path(__file__).resolve().parents[2] / "artifacts" / "chat-page"
PATIENCE_MS = 15_000
_TELL_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) => console.error(`CSP: ${event.violatedDirective}`));
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    with chromium() as browser:
        yield browser


@pytest.fixture
def model() -> FakeModel:
    return FakeModel(max_length=100_000)


@pytest.fixture
def servers(model: FakeModel) -> Iterator[Servers]:
    """Starts endpoints around the model; they are stopped by the test, or after it."""
    servers = Servers(model)
    yield servers
    servers.stop()
    servers.join()


@pytest.fixture
def address(servers: Servers) -> str:
    """The endpoint's host:port."""
    return servers()


@pytest.fixture
def open_page(browser: Browser, servers: Servers) -> Iterator[Callable[..., Page]]:
    """Opens an address in a fresh browser; keyword arguments are those of Playwright's contexts.

    Whatever a test does, its pages call no other host, break no rule of their Content-Security-Policy and write no
    error to the console. They are closed before the endpoints stop: an open one may still load its icon.
    """
    contexts, problems = [], []

    def start(address: str, **options: Any) -> Page:
        context = browser.new_context(**{"reduced_motion": "reduce", **options})
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        context.add_init_script(_TELL_VIOLATIONS)

        def listen_to(message: ConsoleMessage) -> None:
            # The browser itself notes answers that are errors; the tests that provoke one look at the page
            asked = message.location["url"].removeprefix(f"http://{address}/")
            expected = message.text.startswith("Failed to load resource") and asked.startswith(
                ("v1/", "api/")
            )
            if message.type in {"error", "warning"} and not expected:
                problems.append(f"{message.text} ({asked})")

        context.on("request", lambda request: foreign(request.url) and problems.append(request.url))
        context.on("console", listen_to)
        context.on("weberror", lambda error: problems.append(str(error.error)))
        foreign = re.compile(rf"(?!http://{re.escape(address)}/)").match
        page = context.new_page()
        page.goto(f"http://{address}/")
        return page

    yield start
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture
def chat(open_page: Callable[..., Page], address: str) -> Chat:
    """The page on a computer's screen."""
    return Chat(open_page(address, viewport={"width": 1100, "height": 760}))


@pytest.fixture
def picture() -> Callable[[Page, str], Path]:
    """Keeps what a page looks like, for people."""

    def take(page: Page, name: str) -> Path:
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        path = ARTIFACTS / f"{name}.png"
        page.screenshot(path=path)
        return path

    return take
