from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.openai_parity import Comparison, Pair, Setting, TimedWord, chosen_clips, differ
from model.interface import Segment, WindowResult, Word
from model.tokens import WhisperTokenizer
from tests.support.tiny_model import tiny_tokenizer

SAMPLES = np.zeros(32_000, np.float32)


@pytest.fixture(scope="module")
def tokenizer() -> WhisperTokenizer:
    return WhisperTokenizer(tiny_tokenizer())


def pair(tokenizer: WhisperTokenizer, **changed: Any) -> Pair:  # noqa: ANN401  # fields of a result
    """A clip of which both wrote " H" from 0 to 1 s."""
    ids = tuple(tokenizer.encode_text(" H"))
    segment = Segment(0, 16_000, " H", ids, (Word(0, 16_000, " H", 0.5),))
    begin = tokenizer.special.timestamp_begin
    theirs = {
        "ids": [begin, *ids, begin + 50],
        "language": "en",
        "avg_logprob": -0.25,
        "no_speech_prob": 0.5,
        "words": [{"word": " H", "start": 0.0, "end": 1.0, "probability": 0.5}],
    }
    ours = WindowResult((segment,), "en", avg_logprob=-0.5, no_speech_prob=0.25)
    return Pair("a.wav", SAMPLES, replace(ours, **changed), theirs)


def test_scores_are_compared_where_ids_are_identical(tokenizer: WhisperTokenizer) -> None:
    same = pair(tokenizer)
    moved = replace(same.ours.segments[0], stop=15_680)
    pairs = [same, pair(tokenizer, segments=(moved,), avg_logprob=-9.0, language="de")]
    comparison = Comparison("openai/whisper-base", Setting("greedy", words=True), tokenizer, pairs)
    assert comparison.row() == "| base, greedy | 2 | 1 | 2.5e-01 | 2.5e-01 | 1 |"
    (line,) = comparison.differences()
    assert line.startswith("base, greedy: a.wav: -9.0000 de [(0, 15680, ' H')]; openai/whisper: -0.2500 en")


def test_words_that_differ_are_counted_and_printed(tokenizer: WhisperTokenizer) -> None:
    same = pair(tokenizer)
    late = replace(same.ours.segments[0], words=(Word(640, 16_000, " H", 0.25),))
    comparison = Comparison(
        "openai/whisper-base",
        Setting("greedy", words=True),
        tokenizer,
        [same, pair(tokenizer, segments=(late,))],
    )
    assert comparison.row_of_words() == "| base, greedy | 2 | 1 | 0.000 s | 2.5e-01 |"
    (line,) = comparison.differences()
    assert "start_s=0.04" in line


def test_words_may_differ_by_a_frame_and_by_rounding() -> None:
    word = TimedWord(" H", 0.0, 1.0, 0.5)
    assert not differ(word, TimedWord(" H", 0.02, 1.02, 0.5))
    assert differ(word, TimedWord(" H", 0.0, 1.04, 0.5))


def test_clips_are_spread_over_folders(tmp_path: Path) -> None:
    for folder, n in (("few", 2), ("many", 9)):
        (tmp_path / folder).mkdir()
        for index in range(n):
            (tmp_path / folder / f"{index}.wav").touch()
    chosen = chosen_clips([tmp_path / "many", tmp_path / "few"], 5)
    names = [str(path.relative_to(tmp_path)) for path in chosen]
    assert names == ["few/0.wav", "few/1.wav", "many/0.wav", "many/3.wav", "many/6.wav"]
