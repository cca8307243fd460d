"""`Transcribe` in a pipeline of one's own: the rows of `whisper-beam transcribe`, and the page about it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
import soundfile
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from model.interface import AUTO_PER_WINDOW, SAMPLE_RATE
from pipelines import beam_transform
from pipelines.backend import WHISPER, Backend
from pipelines.beam_transform import Transcribe
from tests.support.archive_builders import zip_of
from tests.support.collected import COLLECTED, collect
from tests.support.same_rows import REAL_OPTIONS, lines, lines_of_command, real_speech, write_tones
from tests.support.tone_backend import REQUESTS, TONES, tone, write_talk

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def compare(paths: Sequence[Path], out: Path, backend: Backend, **options: Any) -> None:  # noqa: ANN401
    """Checks that rows and failures are those of the command, without keys and with two for each URI."""
    uris, written = list(map(str, paths)), lines_of_command(paths, out, backend, **options)
    for keys in ((), ("a", "b")):
        elements: list[Any] = [(key, uri) for key in keys for uri in uris] or uris
        with beam.Pipeline(runner=FnApiRunner()) as pipeline:
            results = pipeline | beam.Create(elements) | Transcribe(backend=backend, **options)
            collect(results.rows, "rows")
            collect(results.failures, "failures")
        assert written[0]
        for name, expected in zip(("rows", "failures"), written, strict=True):
            if not keys:
                assert lines(COLLECTED[name]) == expected
            for key in keys:
                assert lines(one for of, one in COLLECTED[name] if of == key) == expected


@pytest.fixture
def tones(tmp_path: Path) -> list[Path]:
    talk, *others = write_tones(tmp_path)
    (tmp_path / "some.zip").write_bytes(zip_of({"x/a.wav": talk.read_bytes(), "b.wav": b"<html>"}))
    return [talk, *others, tmp_path / "some.zip"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"language": "fr"},
        {"language": AUTO_PER_WINDOW, "windows": "grid"},
        {"vad": False, "redecode_boundaries": 0.9},
        {"channels": "split", "task": "translate", "hallucination_filters": ("none",)},
        {"model": "tiny.en"},
    ],
)
def test_rows_and_failures_are_those_of_the_command(
    tmp_path: Path, tones: list[Path], options: dict[str, Any]
) -> None:
    compare(tones, tmp_path / "out", TONES, batch_size=3, **options)


@pytest.mark.weights
def test_rows_of_real_speech_are_those_of_the_command(tmp_path: Path) -> None:
    compare(real_speech(), tmp_path / "out", WHISPER, **REAL_OPTIONS)


@pytest.fixture
def blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The programs of the page, and the recordings that they name."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("paris", "monday")):
        write_talk(tmp_path / f"talks/{name}.wav", 3 + number)
    (tmp_path / "calls").mkdir()
    for number in (1, 2):
        samples = np.stack([tone(number), tone(number + 10)], axis=1)
        soundfile.write(tmp_path / f"calls/{number}.wav", samples, SAMPLE_RATE)
    (tmp_path / "talks.txt").write_text("talks/paris.wav\ntalks/monday.wav\ntalks/none.wav\n")
    monkeypatch.setattr(beam_transform, "Transcribe", partial(Transcribe, backend=TONES))
    return BLOCK.findall((ROOT / "docs/beam.md").read_text("utf-8"))


def test_the_page_begins_with_a_complete_program(blocks: list[str], tmp_path: Path) -> None:
    exec(blocks[0], {"__name__": "example"})
    (texts,) = tmp_path.glob("texts-*.tsv")
    found = dict(line.split("\t") for line in texts.read_text().splitlines())
    assert {Path(uri).name: text for uri, text in found.items()} == {
        "paris.wav": "en0 en1 en2", "monday.wav": "en0 en1 en2 en3",
    }  # fmt: skip
    (failed,) = tmp_path.glob("failures-*.jsonl")
    (failure,) = map(json.loads, failed.read_text().splitlines())
    assert failure["uri"].endswith("talks/none.wav")


def test_the_other_programs_of_the_page_do_what_it_says(
    blocks: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    namespace: dict[str, Any] = {"__name__": "example"}
    exec(blocks[0], namespace)
    printed = []
    for block in blocks[1:]:
        REQUESTS.clear()
        exec(block, namespace)
        output = capsys.readouterr().out.replace(f"{tmp_path}/", "")
        printed.append((sorted(output.splitlines()), len(REQUESTS)))
    assert printed == [
        (["talks/monday.wav en en0 en1 en2 en3", "talks/paris.wav en en0 en1 en2"], 2),
        (["message 17 en0 en1 en2 en3", "talks/monday.wav#t=1,2.5 en1", "talks/paris.wav fr0 fr1 fr2"], 3),
        (["kim 2", "lee 4"], 4),
        ([], 0),
        (["transcribe fr0 fr1 fr2", "translate fr0 fr1 fr2"], 2),
    ]
