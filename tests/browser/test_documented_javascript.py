"""The example in JavaScript of docs/endpoint.md does in a browser what it says."""

from collections.abc import Callable

from playwright.sync_api import Page

from tests.unit.endpoint.documented import example


def test_it_writes_the_answer(open_page: Callable[..., Page], address: str) -> None:
    page = open_page(address)
    script = example("docs/endpoint.md", "javascript", "new WebSocket", address)

    with page.expect_console_message() as told:
        page.evaluate(f"{script}\nnull")  # a function as the last value would be called

    assert told.value.text == "Once upon a time."
