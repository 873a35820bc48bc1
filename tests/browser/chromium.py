"""Debian's Chromium, which Playwright drives: found, or installed where that is allowed."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

_UPDATE = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "update"]
_INSTALL = [*_UPDATE[:-1], "install", "-y", "--no-install-recommends", "chromium"]
_SECONDS = 900


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run the browser.

    No asynchronous test can run meanwhile: Playwright keeps an event loop in this thread.

    Raises:
        RuntimeError: it is not there, and cannot be installed.
    """
    options = ["--no-proxy-server", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    program = _program()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=options)
        yield browser
        browser.close()


def _program() -> str:
    if (found := shutil.which("chromium")) is None:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise RuntimeError("chromium is missing — install it (Debian: apt-get install chromium)")
        for command in (_UPDATE, _INSTALL):
            done = subprocess.run(
                command,
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
            if done.returncode:
                raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
        found = shutil.which("chromium")
    if found is None:
        raise RuntimeError("apt-get has installed chromium, but it is not on PATH")
    return found
