"""Rows of tokens as results of windows."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from model.align import Alignment
from model.checkpoint import Checkpoint
from model.interface import SAMPLE_RATE, ModelOptions, Request, WindowResult
from model.row_inputs import RowInputs
from model.rows import Start, Written
from model.rules import make_rules
from model.tokens import WhisperTokenizer
from model.window_results import WindowResults

MAX_NEW_TOKENS = 12


class Setting:
    """Results of a tokenizer, and tokens of texts."""

    def __init__(self, checkpoint: Checkpoint, *, multilingual: bool = True) -> None:
        self.tokenizer = WhisperTokenizer(checkpoint.tokenizer)
        options = ModelOptions(max_new_tokens=MAX_NEW_TOKENS)
        self.rules = make_rules(
            self.tokenizer.special, checkpoint.decoding, options, multilingual=multilingual
        )
        inputs = RowInputs(self.tokenizer, self.rules, "tiny", full_windows=False)
        self.results = WindowResults(self.tokenizer, self.rules, inputs)
        self.codes = inputs.codes

    def ids(self, *parts: str | float) -> list[int]:
        """The ids of texts and times in seconds."""
        begin = self.tokenizer.special.timestamp_begin
        return [
            i
            for part in parts
            for i in (
                self.tokenizer.encode_text(part) if isinstance(part, str) else [begin + round(part * 50)]
            )
        ]

    def written(self, *texts: list[int], language: str = "de", **changed: Any) -> Written:  # noqa: ANN401
        """Rows of tokens, in which the language was found with a probability of 3/4, and English with 1/4."""
        n, end = len(texts), self.tokenizer.special.end_of_text
        tokens = np.full((n, MAX_NEW_TOKENS), end, np.int32)
        for row, text in enumerate(texts):
            tokens[row, : len(text)] = text
        logprobs = np.full((n, max(1, len(self.codes))), -30.0, np.float32)
        number = 0
        if self.codes:
            number = self.codes.index(language)
            logprobs[:, [number, self.codes.index("en")]] = np.log([0.75, 0.25])
        start = Start(jnp.full(n, 0.125), jnp.full(n, number), jnp.asarray(logprobs))
        made = Written(
            is_active=jnp.zeros(n, bool),
            tokens=jnp.asarray(tokens),
            n_tokens=jnp.asarray([len(text) for text in texts]),
            sum_logprob=jnp.full(n, -3.0),
            repeated=jnp.zeros(n, bool),
            start=start,
        )
        return made._replace(**changed)


@pytest.fixture(scope="module")
def setting(tiny_checkpoint: Checkpoint) -> Setting:
    return Setting(tiny_checkpoint)


def window(seconds: float = 5, **options: Any) -> Request:  # noqa: ANN401
    return Request(np.zeros(round(seconds * SAMPLE_RATE), np.float32), **options)


def test_a_result_is_that_of_its_row(setting: Setting) -> None:
    written = setting.written(setting.ids(0.0, " x", 1.0), setting.ids(0.5, " one", 2.0))
    result = setting.results.result(written, 1, window(language="de", temperature=0.4))
    (segment,) = result.segments
    assert (segment.start, segment.stop, segment.text) == (8_000, 32_000, " one")
    assert segment.tokens == tuple(setting.ids(" one"))
    assert (result.language, result.language_probs) == ("de", {})
    assert result.avg_logprob == pytest.approx(-3 / 7)  # of four bytes, two times, and the end
    assert (result.no_speech_prob, result.temperature, result.repeated) == (0.125, 0.4, False)
    assert result.compression_ratio > 0


def test_languages_that_were_detected_have_probabilities(setting: Setting) -> None:
    result = setting.results.result(setting.written([], language="fr"), 0, window())
    assert result.language == "fr"
    assert result.language_probs == pytest.approx({"fr": 0.75, "en": 0.25})


def test_an_english_only_model_is_sure_of_its_language(tiny_checkpoint: Checkpoint) -> None:
    english = Setting(tiny_checkpoint, multilingual=False)
    result = english.results.result(english.written([]), 0, window())
    assert (result.language, result.language_probs) == ("en", {"en": 1.0})


def test_a_text_that_was_stopped_has_no_unfinished_segment(setting: Setting) -> None:
    tokens = setting.ids(0.0, "one", 1.0, 1.0, "one")
    repeated = setting.written(tokens, tokens, repeated=jnp.asarray([True, False]))
    stopped, ended = (setting.results.result(repeated, row, window()) for row in (0, 1))
    assert (stopped.repeated, len(stopped.segments)) == (True, 1)
    assert (ended.repeated, len(ended.segments)) == (False, 2)
    full = setting.ids(0.0, "one", 1.0, 1.0, "onetwo")
    assert len(full) == MAX_NEW_TOKENS
    assert len(setting.results.result(setting.written(full), 0, window()).segments) == 1


def test_a_result_is_short_where_less_than_30_seconds_were_encoded(setting: Setting) -> None:
    requests = (window(), window(18), window(18.1), window(full_window=True), window(timestamps=False))
    results = [setting.results.result(setting.written([]), 0, request) for request in requests]
    assert [one.is_short for one in results] == [True, True, False, False, False]
    assert [one.timestamped for one in results] == [True, True, True, True, False]


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_probabilities_that_are_not_finite_are_an_error_of_their_row(setting: Setting, value: float) -> None:
    written = setting.written([], [], sum_logprob=jnp.asarray([value, -1.0]))
    with pytest.raises(ValueError, match=r"probabilities are not finite.* try --dtype float32"):
        setting.results.result(written, 0, window())
    assert setting.results.result(written, 1, window()).avg_logprob == -1


def test_a_text_is_aligned_with_the_positions_that_were_encoded(setting: Setting) -> None:
    request = window(5, language="en", word_timestamps=True)
    result = setting.results.result(
        setting.written(setting.ids(0.0, " a", 1.0, 1.0, " b"), language="en"), 0, request
    )
    batch = setting.results.to_align(result, request)
    assert batch is not None
    special = setting.tokenizer.special
    prefix = [special.languages["en"], special.transcribe, special.no_timestamps]
    expected = [special.start_of_transcript, *prefix, *setting.ids(" a", " b"), special.end_of_text]
    assert np.asarray(batch.tokens)[0, : len(expected)].tolist() == expected
    assert (batch.n_text.tolist(), batch.n_positions.tolist(), batch.n_encoded.tolist()) == (
        [4],
        [250],
        [400],
    )


def test_without_text_or_where_no_words_are_wanted_nothing_is_aligned(setting: Setting) -> None:
    text = setting.results.result(setting.written(setting.ids(0.0, " a", 1.0)), 0, window())
    assert setting.results.to_align(text, window()) is None
    assert setting.results.to_align(WindowResult((), "en"), window(word_timestamps=True)) is None


def test_words_have_the_times_of_their_positions(setting: Setting) -> None:
    request = window(2, language="en", word_timestamps=True)
    tokens = setting.ids(0.0, " a", " b", 1.0)
    result = setting.results.result(setting.written(tokens), 0, request)
    batch = setting.results.to_align(result, request)
    assert batch is not None
    weights = np.full((1, 60, 700), -1, np.float32)  # of a row with room for 14 s
    for token, (first, last) in enumerate(((0, 10), (10, 20), (20, 30), (30, 40), (40, 100))):
        weights[0, token, first:last] = 1
    with_words = setting.results.with_words(
        result, request, batch, Alignment(weights, np.full((1, 60), 0.5, np.float32))
    )
    (segment,) = with_words.segments
    assert [(word.text, word.start // 320, word.stop // 320) for word in segment.words] == [
        (" a", 0, 20),
        (" b", 20, 40),
    ]
