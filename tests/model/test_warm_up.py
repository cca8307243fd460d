"""`WhisperTranscriber.warm_up`: afterwards no request waits for a program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from model import transcriber as transcriber_module
from model import window_length
from model.interface import SAMPLE_RATE, Request
from model.method_programs import BEAM_SEARCH, BEST_OF, METHODS, SAMPLING
from tests.support.transcribers import load, noise

PROMPTS = ("a", "a" * 30, "a" * 1000)  # of each number of slots, as a byte is a token
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"language": "en"},
    {"task": "translate"},
    {"timestamps": False},
    {"temperature": 0.5, "seed": 3},
    {"temperature": 0.5, "seed": 3, "timestamps": False},
    {"word_timestamps": True, "language": "en"},
    {"word_timestamps": True, "language": "en", "timestamps": False, "temperature": 1.0, "seed": 19},
)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that earlier tests compiled are not found."""
    monkeypatch.setenv("WHISPER_BEAM_CACHE", str(tmp_path / "cache"))


def set_lengths(monkeypatch: pytest.MonkeyPatch, *seconds: int) -> None:
    """Windows are encoded with these lengths only, so that less is compiled."""
    for module in (transcriber_module, window_length):
        monkeypatch.setattr(module, "ENCODED_LENGTHS", tuple(one * SAMPLE_RATE for one in seconds))


def requests_of(*seconds: float, **options: Any) -> list[Request]:  # noqa: ANN401
    return [Request(noise(one), **options) for one in seconds]


@pytest.mark.usefixtures("empty_cache")
def test_after_a_warm_up_nothing_is_compiled(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_lengths(monkeypatch, 4, 30)
    transcriber = load(tiny_folder, batch_size=4, max_new_tokens=8)
    transcriber.warm_up(prompts=False, timestamps=(False,))
    for options in OPTIONS:
        if not options.get("timestamps", True):
            transcriber.transcribe(requests_of(2, 30, **options))
    assert transcriber.compile_s == 0

    transcriber.transcribe([Request(noise(2))])  # without it the test could not fail
    waited_s = transcriber.compile_s
    assert waited_s > 0
    transcriber.warm_up(prompts=False)
    words = requests_of(2, 1, 2.1, language="en", word_timestamps=True)
    results = transcriber.transcribe(words)
    for options in OPTIONS:
        transcriber.transcribe(requests_of(2, 30, **options))
    assert transcriber.compile_s == waited_s

    transcriber.transcribe([Request(noise(2), prompt=PROMPTS[0])])
    assert transcriber.compile_s > waited_s
    assert transcriber.transcribe(words) == results


@pytest.mark.usefixtures("empty_cache")
@pytest.mark.parametrize(
    ("beam_size", "n_samples", "unused"),
    [(1, 1, (BEAM_SEARCH, BEST_OF)), (2, 1, (BEST_OF,)), (1, 2, (BEAM_SEARCH,)), (2, 2, (SAMPLING,))],
)
def test_only_the_programs_of_methods_that_are_used_are_compiled(
    tiny_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    beam_size: int,
    n_samples: int,
    unused: tuple[str, ...],
) -> None:
    set_lengths(monkeypatch, 30)
    transcriber = load(tiny_folder, batch_size=4, max_new_tokens=8, beam_size=beam_size, best_of=n_samples)
    transcriber.warm_up(prompts=False)
    transcriber.transcribe(requests_of(2, 30, full_window=True))
    transcriber.transcribe(requests_of(2, 30, full_window=True, temperature=0.5, seed=3))
    assert transcriber.compile_s == 0
    methods = transcriber._programs._methods
    assert tuple(name for name in METHODS if not methods[name]._advance._programs) == unused


@pytest.mark.usefixtures("empty_cache")
def test_a_warm_up_for_prompts_compiles_the_programs_of_each_length(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the beam search, and of sampling for the fallback."""
    set_lengths(monkeypatch, 6, 30)
    transcriber = load(tiny_folder, batch_size=4, max_new_tokens=200, beam_size=2)
    transcriber.warm_up(timestamps=(True,))
    for prompt in ("", *PROMPTS):
        for options in OPTIONS:
            if options.get("timestamps", True):
                transcriber.transcribe(requests_of(2, 4, prompt=prompt, **options))
        transcriber.transcribe([Request(noise(2), hotwords=prompt), Request(noise(3))])
    assert transcriber.compile_s == 0
    groups = {transcriber.batch_group(Request(noise(1), prompt=prompt)) for prompt in ("", *PROMPTS)}
    assert len(groups) == 3
