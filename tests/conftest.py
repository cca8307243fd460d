from __future__ import annotations

import os

import pytest

from transforms.core.progress import PROGRESS


@pytest.fixture(autouse=True)
def no_stop_of_another_test() -> None:
    """A run that was asked to stop says so to all that is in its process."""
    PROGRESS.reset()


def pytest_configure(config: pytest.Config) -> None:
    """Keeps compiled programs of tiny networks out of the user's cache, and for the next time."""
    assert config.cache is not None
    os.environ.setdefault("WHISPER_BEAM_CACHE", str(config.cache.mkdir("whisper-beam")))
