"""Debian's Chromium, which Playwright drives."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from tests.debian import installed


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run the browser.

    No asynchronous test can run meanwhile: Playwright keeps an event loop in this thread.

    Raises:
        RuntimeError: it is not there, and cannot be installed.
    """
    options = ["--no-proxy-server", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    program = installed("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=options)
        yield browser
        browser.close()
