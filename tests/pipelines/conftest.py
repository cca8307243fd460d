"""Fixtures of the tests of `pipelines.inference`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.inference import Inference
from tests.support.inference_backends import Observed
from tests.support.tone_backend import TONES, write_talk


@pytest.fixture
def inference() -> Iterator[Inference]:
    with Inference("m", backend=TONES, batch_size=2) as loaded:
        yield loaded


@pytest.fixture
def observed() -> Observed:
    return Observed()


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    return write_talk(tmp_path / "talk.wav", 100)
