"""A tiny Whisper for the tests, and the real weights where their packages are installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from model.checkpoint import PACKAGED_MODELS, Checkpoint, find_checkpoint
from model.transcriber import WhisperTranscriber
from tests.support.tiny_model import save_huggingface, tiny_weights
from tests.support.transcribers import load


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder of a tiny random Whisper."""
    return save_huggingface(tmp_path_factory.mktemp("checkpoint") / "tiny", tiny_weights())


@pytest.fixture(scope="module")
def tiny(tiny_folder: Path) -> WhisperTranscriber:
    return load(tiny_folder)


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_folder: Path) -> Checkpoint:
    return find_checkpoint(str(tiny_folder))


@pytest.fixture(scope="session")
def packaged() -> Callable[[str], Checkpoint]:
    """Resolves real weights from an installed package, or skips the test."""

    def find(name: str) -> Checkpoint:
        if any(file.locate() is None for file in PACKAGED_MODELS[name].files):
            pytest.skip(f"the package with the weights of {name} is not installed")
        return find_checkpoint(name)

    return find
