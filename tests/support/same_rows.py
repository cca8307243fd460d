"""Rows of the command `whisper-beam transcribe`, to which those of the other ways in are compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from model.checkpoint import PACKAGED_MODELS
from model.interface import SAMPLE_RATE
from pipelines.backend import Backend
from pipelines.options import TranscribeOptions
from pipelines.run import transcribe
from tests.support.tone_backend import FRENCH, failures, rows, tone, write_sparse, write_talk
from transforms.writing.sharded_files import json_line

TINY = "openai/whisper-tiny.en"
REAL_OPTIONS: Mapping[str, Any] = {"model": TINY, "word_timestamps": True, "beam_size": 2}
"""Options for `real_speech`; the tests share them, so that their programs are compiled once."""

_SAMPLES = Path(__file__).parents[2] / "samples" / "en"


def lines(found: Iterable[Mapping[str, Any]]) -> list[bytes]:
    """Returns rows as they are written, in an order that does not depend on the runner."""
    return sorted(map(json_line, found))


def lines_of_command(
    paths: Sequence[Path],
    out: Path,
    backend: Backend,
    **options: Any,  # noqa: ANN401
) -> tuple[list[bytes], list[bytes]]:
    """Runs the command, and returns the lines of its rows and failures."""
    transcribe(TranscribeOptions(input=tuple(map(str, paths)), output=str(out), **options), backend=backend)
    return lines(rows(out)), lines(failures(out))


def write_tones(folder: Path) -> list[Path]:
    """Writes recordings of each kind for `TONES`: long, cut, silent, broken, in two languages or channels."""
    soundfile.write(folder / "stereo.wav", np.stack([tone(1), tone(50, FRENCH)], axis=1), SAMPLE_RATE)
    cut = write_talk(folder / "cut.wav", 40)
    cut.write_bytes(cut.read_bytes()[: 44 + 2 * 33 * SAMPLE_RATE])
    (folder / "broken.wav").write_bytes(b"<html>")
    return [
        write_talk(folder / "long.wav", 130),
        write_talk(folder / "mixed.wav", 80, french_from=76),
        write_talk(folder / "poisoned.wav", 90, poison=70),
        write_sparse(folder / "sparse.wav", (3, 9), (50, 70)),
        write_sparse(folder / "silent.wav"),
        cut,
        folder / "stereo.wav",
        folder / "broken.wav",
    ]


def real_speech() -> list[Path]:
    """Returns two recordings for the model `TINY`; skips the test where it is not installed."""
    if any(file.locate() is None for file in PACKAGED_MODELS[TINY].files):
        pytest.skip(f"the package with the weights of {TINY} is not installed")
    return sorted(_SAMPLES.glob("*.wav"))[:2]
