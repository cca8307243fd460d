"""The programs of docs/python.md, on tones; the first two on the real model, too."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from model.checkpoint import PACKAGED_MODELS
from pipelines import inference as inference_module
from pipelines.inference import Inference
from tests.support.tone_backend import LOADED, REQUESTS, TONES, expected_text, write_talk

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.fixture
def blocks() -> list[str]:
    return BLOCK.findall((ROOT / "docs/python.md").read_text("utf-8"))


def run(blocks: list[str], capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """Runs blocks one after the other, each with the names of those before; returns the lines printed."""
    namespace: dict[str, Any] = {"__name__": "example"}
    printed = []
    for block in blocks:
        exec(block, namespace)
        printed.append(capsys.readouterr().out.splitlines())
    return printed


def test_the_programs_of_the_page_do_what_it_says(
    blocks: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(inference_module, "Inference", partial(Inference, backend=TONES))
    write_talk(tmp_path / "talk.wav", 3).rename(tmp_path / "talk.mp3")
    for seconds, name in ((4, "call.wav"), (2, "memo.wav")):
        write_talk(tmp_path / name, seconds)
    text = expected_text("en", 3)
    first, options, words, forms, stream, progress, threads, errors, last = run(blocks, capsys)
    assert first == [text, "0.0 1.0  en0", "1.0 2.0  en1", "2.0 3.0  en2"]
    assert options == ["{'id': 0, 'start': 0.0, 'end': 1.0, 'text': ' fr0'}"]
    assert words == []  # tones have none
    assert forms == [text] * 4
    assert stream == ["1.0  en0", "2.0  en1", "3.0  en2"]
    assert progress[-1] == "3 s"
    assert threads == [text, expected_text("en", 4), expected_text("en", 2)]
    assert errors == ["fetch not_found False"]
    assert last == [text]
    assert [loaded.dtype for loaded in LOADED] == ["auto", "bfloat16", "auto"]
    assert LOADED[1].quantization == "a8"
    assert [REQUESTS[1].language, REQUESTS[1].task, REQUESTS[2].word_timestamps] == ["fr", "translate", True]


@pytest.mark.weights
def test_the_first_programs_of_the_page_run_with_the_real_model(
    blocks: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if any(file.locate() is None for file in PACKAGED_MODELS["openai/whisper-base"].files):
        pytest.skip("the package with the weights of openai/whisper-base is not installed")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "talk.mp3").write_bytes((ROOT / "samples/fr/bonjour_monde.wav").read_bytes())
    first, options, words = run(blocks[:3], capsys)
    assert re.search("bonjour", first[0], re.IGNORECASE)
    segment = eval(options[0])
    assert list(segment) == ["id", "start", "end", "text"]
    assert re.search("hello|good", segment["text"], re.IGNORECASE)
    assert len(words) >= 2
