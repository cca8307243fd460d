from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from transforms.core.progress import PROGRESS

# How long an example takes depends on what else the machine does.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def no_stop_of_another_test() -> None:
    """Clears a stop request, which is global to the process."""
    PROGRESS.reset()


@pytest.fixture(autouse=True)
def _forget() -> None:
    """Clears what the tone backend recorded in earlier tests, where a test has imported it."""
    backend = sys.modules.get("tests.support.tone_backend")
    if backend is not None:
        for record in (backend.LOADED, backend.LANGUAGES_REQUESTED, backend.REQUESTS):
            record.clear()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder for the output of a run; it does not exist yet."""
    return tmp_path / "out"


def pytest_configure(config: pytest.Config) -> None:
    """Prepares what the programs that tests start inherit."""
    # A script starts programs in the background with it ignored, where tests interrupt them.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Compiled programs of tiny networks are kept out of the user's cache, and for the next time.
    assert config.cache is not None
    os.environ.setdefault("WHISPER_BEAM_CACHE", str(config.cache.mkdir("whisper-beam")))
