"""`WhisperTranscriber.warm_up`: afterwards no request waits for a program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from model.batch_decoder import Generated
from model.decoder import CrossKV
from model.interface import Request
from model.prefill import DecodeInput
from tests.support.transcribers import load, noise

PROMPTS = ("a", "a" * 30, "a" * 1000)  # for each number of slots, as a byte is a token
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"language": "de"},
    {"task": "translate"},
    {"timestamps": False},
    {"temperature": 0.5, "seed": 3},
    {"temperature": 0.5, "seed": 3, "timestamps": False},
    {"word_timestamps": True, "language": "ja"},
    {"word_timestamps": True, "language": "ja", "timestamps": False, "temperature": 1.0, "seed": 19},
)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that earlier tests compiled are not found."""
    monkeypatch.setenv("WHISPER_BEAM_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("empty_cache")
def test_after_a_warm_up_nothing_is_compiled(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transcriber = load(tiny_folder, batch_size=4, max_new_tokens=8)
    requests = [Request(noise(5, seed), "ja", word_timestamps=True) for seed in range(3)]
    generate, n_wanted = transcriber._programs.generate, list[int]()

    def counted(cross_kv: CrossKV, decode_input: DecodeInput, *, timestamps: bool) -> Generated:
        n_wanted.append(int(decode_input.wanted.sum()))
        return generate(cross_kv, decode_input, timestamps=timestamps)

    with monkeypatch.context() as patch:
        patch.setattr(transcriber._programs, "generate", counted)
        transcriber.warm_up(prompts=False, timestamps=(True,))
    assert n_wanted == [1]  # it decodes a text, too
    results = transcriber.transcribe(requests)
    for timestamps in (True, False):
        for options in OPTIONS:
            if options.get("timestamps", True) is timestamps:
                transcriber.transcribe([Request(noise(2), **options)])
        assert transcriber.compile_s == 0
        transcriber.warm_up(prompts=False, timestamps=(False,))

    transcriber.transcribe([Request(noise(2), prompt=PROMPTS[0])])  # without it the test could not fail
    assert transcriber.compile_s > 0
    assert transcriber.transcribe(requests) == results


@pytest.mark.usefixtures("empty_cache")
def test_a_warm_up_for_prompts_compiles_the_programs_of_each_length(tiny_folder: Path) -> None:
    """Those of the beam search, and of sampling for the fallback."""
    transcriber = load(tiny_folder, batch_size=4, max_new_tokens=8, beam_size=2)
    transcriber.warm_up(timestamps=(True,))
    for prompt in ("", *PROMPTS):
        for options in OPTIONS:
            if options.get("timestamps", True):
                transcriber.transcribe([Request(noise(2), prompt=prompt, **options)])
        transcriber.transcribe([Request(noise(2), hotwords=prompt), Request(noise(3))])
    assert transcriber.compile_s == 0
    groups = {transcriber.batch_group(Request(noise(1), prompt=prompt)) for prompt in ("", *PROMPTS)}
    assert len(groups) == 4
