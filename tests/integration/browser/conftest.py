"""Fixtures for the page in a browser; its tests are skipped where none is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import WAIT_MS, Errors, opened_page, started_browser
from tests.support.page_server import SENTENCES, PageServer, page_server, talk

expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="module")  # while it is open, nothing else can run an event loop in this thread
def browser() -> Iterator[Browser]:
    with started_browser() as browser:
        yield browser


@pytest.fixture
def server(browser: Browser) -> Iterator[PageServer]:  # no server where there is no browser
    with page_server(lambda _: talk(SENTENCES)) as server:
        yield server


@pytest.fixture
def opened(browser: Browser, server: PageServer) -> Iterator[tuple[Page, Errors]]:
    with opened_page(browser, server.url) as opened:
        yield opened


@pytest.fixture
def page(opened: tuple[Page, Errors]) -> Page:
    return opened[0]


@pytest.fixture
def errors(opened: tuple[Page, Errors]) -> Errors:
    return opened[1]


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    """Five seconds of a tone."""
    path = tmp_path / "speech.wav"
    soundfile.write(path, 0.1 * np.sin(np.arange(5 * 16_000) / 10), 16_000)
    return path
