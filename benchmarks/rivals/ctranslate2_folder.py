"""A packaged model as a single folder, which CTranslate2 and faster-whisper need."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.checkpoint import Checkpoint

_FILES = ("config.json", "tokenizer.json", "vocabulary.json", "vocabulary.txt")


@contextmanager
def ctranslate2_folder(checkpoint: Checkpoint) -> Iterator[Path]:
    """Yields a temporary folder with the checkpoint's `model.bin` (parts joined), config and vocabulary."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "model.bin").open("wb") as target:
            for part in checkpoint.weight_files:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, target)
        for file in _FILES:
            path = checkpoint.weight_files[-1].parent / file
            if path.exists():
                shutil.copy(path, folder)
        yield folder
