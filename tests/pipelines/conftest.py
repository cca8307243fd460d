"""A folder to write to, and a transcriber that has heard nothing yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.tone_backend import ASKED, HEARD, LOADED


@pytest.fixture(autouse=True)
def _forget() -> None:
    LOADED.clear()
    HEARD.clear()
    ASKED.clear()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"
