"""A Chromium without a window, driven by Playwright, whose pages collect errors."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
WAIT_MS = 10_000
FLAGS = [
    "--use-fake-device-for-media-stream",  # a microphone that beeps
    "--use-fake-ui-for-media-stream",  # and that needs no permission
    "--autoplay-policy=user-gesture-required",
]


def find_browser() -> str:
    """Returns the path of a browser; skips the test where there is none."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    pytest.skip(f"none of {', '.join(NAMES)} is installed")


@contextmanager
def started_browser() -> Iterator[Browser]:
    path = find_browser()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Errors:
    """Errors of a page: in its console (violations of its policy too), and exceptions that nothing caught."""

    def __init__(self, page: Page) -> None:
        self.found: list[str] = []
        self._page = page
        page.on("console", self._add)
        page.on("pageerror", lambda error: self.found.append(str(error)))

    def _add(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.found.append(message.text)

    def expect(self, pattern: str) -> None:
        """Waits for an error that a test causes, and removes all that match."""
        deadline = time.monotonic() + WAIT_MS / 1000
        while not (found := [text for text in self.found if re.search(pattern, text)]):
            assert time.monotonic() < deadline, (pattern, self.found)
            self._page.wait_for_timeout(20)
        self.found = [text for text in self.found if text not in found]


@contextmanager
def opened_page(browser: Browser, url: str, **context: object) -> Iterator[tuple[Page, Errors]]:
    """Opens a page with a profile of its own; checks at the end that there were no errors."""
    profile = browser.new_context(**context)  # type: ignore[arg-type]
    profile.set_default_timeout(WAIT_MS)
    try:
        page = profile.new_page()
        errors = Errors(page)
        page.goto(url)
        yield page, errors
        assert errors.found == [], errors.found
    finally:
        profile.close()


def choose(page: Page, *paths: Path) -> None:
    """Chooses files, which starts their transcription."""
    page.get_by_label("choose files").set_input_files(list(paths))


def word(page: Page, text: str) -> Locator:
    """Returns a word of the transcript."""
    return page.get_by_role("button", name=text, exact=True)


def wait_for_text(page: Page) -> None:
    """Waits until the transcript of the only file is complete."""
    expect(page.locator(".status")).to_contain_text("Done")
