"""Requests as the decoder takes them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from model.checkpoint import Checkpoint
from model.interface import SAMPLE_RATE, WINDOW_SAMPLES, ModelOptions, Request, Segment
from model.method_programs import BEAM_SEARCH, BEST_OF, SAMPLING
from model.row_inputs import RowInputs, hypothesis_seed
from model.rows import DETECT_LANGUAGE, UNKNOWN_TOKEN, RowInput
from model.rules import DecodingRules, make_rules
from model.tokens import SpecialTokens, WhisperTokenizer


@pytest.fixture(scope="module")
def tokenizer(tiny_checkpoint: Checkpoint) -> WhisperTokenizer:
    return WhisperTokenizer(tiny_checkpoint.tokenizer)


@pytest.fixture(scope="module")
def special(tokenizer: WhisperTokenizer) -> SpecialTokens:
    return tokenizer.special


@pytest.fixture(scope="module")
def rules(tokenizer: WhisperTokenizer, tiny_checkpoint: Checkpoint) -> DecodingRules:
    return make_rules(tokenizer.special, tiny_checkpoint.decoding, ModelOptions(), multilingual=True)


@pytest.fixture(scope="module")
def inputs(tokenizer: WhisperTokenizer, rules: DecodingRules) -> RowInputs:
    return RowInputs(tokenizer, rules, "tiny", full_windows=False)


@pytest.fixture(scope="module")
def english(tokenizer: WhisperTokenizer, rules: DecodingRules) -> RowInputs:
    return RowInputs(tokenizer, replace(rules, language_ids=()), "tiny.en", full_windows=False)


def window(seconds: float = 1, **options: Any) -> Request:  # noqa: ANN401
    return Request(np.zeros(round(seconds * SAMPLE_RATE), np.float32), **options)


def row(inputs: RowInputs, request: Request) -> RowInput:
    return inputs.row(request, inputs.kind(request))


def prefix(inputs: RowInputs, **options: Any) -> list[int]:  # noqa: ANN401
    given = row(inputs, window(**options))
    return np.asarray(given.prefix)[: int(given.n_prefix)].tolist()


def prompt(inputs: RowInputs, **texts: Any) -> list[int]:  # noqa: ANN401
    given = row(inputs, window(**texts))
    return np.asarray(given.prompt)[: int(given.n_prompt)].tolist()


def test_the_prefix(inputs: RowInputs, english: RowInputs, special: SpecialTokens) -> None:
    start, german, no_times = special.start_of_transcript, special.languages["de"], special.no_timestamps
    assert prefix(inputs, language="de") == [start, german, special.transcribe]
    assert prefix(inputs, language="de", task="translate") == [start, german, special.translate]
    plain = prefix(inputs, language="de", timestamps=False)
    assert plain == [start, german, special.transcribe, no_times] == inputs.text_prefix("de", "transcribe")
    assert prefix(english) == prefix(english, language="en") == [start]
    assert prefix(english, timestamps=False) == [start, no_times] == english.text_prefix("en", "transcribe")


def test_a_language_that_is_not_given_is_detected(inputs: RowInputs) -> None:
    assert prefix(inputs)[1] == UNKNOWN_TOKEN
    assert int(row(inputs, window()).language) == DETECT_LANGUAGE
    number = int(row(inputs, window(language="fr")).language)
    assert inputs.codes[number] == "fr"


def test_hot_words_come_before_the_prompt_and_are_kept_first(
    inputs: RowInputs, tokenizer: WhisperTokenizer, rules: DecodingRules
) -> None:
    special, encode = tokenizer.special, tokenizer.encode_text
    both = prompt(inputs, prompt=" of the talk ", hotwords="Mainz")
    assert both == [special.start_of_previous, *encode(" Mainz"), *encode(" of the talk")]
    assert prompt(inputs) == prompt(inputs, prompt="", hotwords=" ") == []
    own = prompt(inputs, prompt="own <|endoftext|>")
    assert own == [special.start_of_previous, *[i for i in encode(" own ") if i < special.end_of_text]]
    long = prompt(inputs, prompt="first " + "word " * 500 + "last", hotwords="Caxton")
    assert len(long) == rules.max_prompt(timestamps=True)
    assert long[1 : 1 + len(encode(" Caxton"))] == encode(" Caxton")
    assert long[-len(encode(" last")) :] == encode(" last")


def test_previous_segments_come_behind_the_prompt_with_their_times(
    inputs: RowInputs, tokenizer: WhisperTokenizer, rules: DecodingRules
) -> None:
    special, encode = tokenizer.special, tokenizer.encode_text
    first, second = tuple(encode(" one two")), tuple(encode(" three"))
    previous = (Segment(0, 16_000, " one two", first), Segment(16_000, 40_001, " three", second))
    begin = special.timestamp_begin
    times = [begin, *first, begin + 50, begin + 50, *second, begin + 125]
    assert prompt(inputs, previous=previous) == [special.start_of_previous, *times]
    plain = prompt(inputs, previous=previous, timestamps=False)
    assert plain == [special.start_of_previous, *first, *second]
    after = prompt(inputs, previous=previous, hotwords="Mainz", prompt="of the talk")
    assert after == [special.start_of_previous, *encode(" Mainz"), *encode(" of the talk"), *times]
    long = prompt(inputs, previous=previous * 80, prompt="of the talk")
    assert len(long) == rules.max_prompt(timestamps=True)
    assert long[1 : 1 + len(encode(" of the talk"))] == encode(" of the talk")
    assert long[-len(times) :] == times


@pytest.mark.parametrize(
    ("max_new_tokens", "slots"),
    [
        (224, [0, 64, 256]),
        (189, [0, 64, 256]),
        (188, [0, 64, 256, 448]),
        (1, [0, 64, 256, 448]),
        (443, [0, 64]),
    ],
)
def test_the_longest_prompt_of_any_token_limit_has_slots(
    tokenizer: WhisperTokenizer, rules: DecodingRules, max_new_tokens: int, slots: list[int]
) -> None:
    inputs = RowInputs(tokenizer, replace(rules, max_new_tokens=max_new_tokens), "x", full_windows=False)
    assert inputs.prompt_slots == slots
    for timestamps in (True, False):
        longest = window(prompt="a" * 1000, timestamps=timestamps)
        given = row(inputs, longest)
        assert inputs.kind(longest).n_before in slots
        assert int(given.n_prompt) <= len(given.prompt)
    assert inputs.kind(window(prompt="a" * 1000)).n_before == slots[-1]


def test_short_windows_are_encoded_with_two_seconds_of_padding(inputs: RowInputs) -> None:
    seconds = (1, 2, 2.1, 12, 12.1, 20, 20.1, 30)
    lengths = [inputs.encoded_length(window(one)) / SAMPLE_RATE for one in seconds]
    assert lengths == [5, 5, 5, 14, 20, 30, 30, 30]
    rooms = [inputs.kind(window(one)).length / SAMPLE_RATE for one in seconds]
    assert rooms == [14, 14, 14, 14, 30, 30, 30, 30]
    assert int(row(inputs, window(2.1)).n_positions) == 250


def test_full_windows_other_languages_and_those_without_timestamps_are_encoded_with_30_seconds(
    inputs: RowInputs, tokenizer: WhisperTokenizer, rules: DecodingRules
) -> None:
    always = RowInputs(tokenizer, rules, "tiny", full_windows=True)
    for made, request in (
        (inputs, window(full_window=True)),
        (inputs, window(timestamps=False)),
        (inputs, window(language="de")),
        (always, window()),
    ):
        assert made.encoded_length(request) == made.kind(request).length == WINDOW_SAMPLES
        assert int(row(made, request).n_positions) == 1500


def test_no_segment_of_a_short_window_begins_or_ends_behind_its_audio(
    inputs: RowInputs, special: SpecialTokens
) -> None:
    def limits(request: Request) -> tuple[int, int]:
        given, begin = row(inputs, request), special.timestamp_begin
        return int(given.last_start) - begin, int(given.last_time) - begin

    assert limits(window(2)) == (85, 100)  # 1.7 s and 2 s
    assert limits(window(0.1)) == (0, 5)
    assert limits(window(2, full_window=True)) == limits(window(30)) == (1500, 1500)


def test_random_numbers_depend_on_the_seed_alone(inputs: RowInputs) -> None:
    def uniforms(**options: Any) -> list[float]:  # noqa: ANN401
        (found,) = np.asarray(row(inputs, window(**options)).uniforms).tolist()
        return found

    first = uniforms(temperature=0.5, seed=2**64 - 1)
    assert first == uniforms(temperature=1.0, seed=2**64 - 1, language="de", full_window=True)
    assert first != uniforms(temperature=0.5, seed=1)
    assert len(set(first)) > 200
    assert all(0 <= one < 1 for one in first)


def test_each_hypothesis_has_random_numbers_of_a_seed_of_its_own(
    inputs: RowInputs, tokenizer: WhisperTokenizer, rules: DecodingRules
) -> None:
    several = RowInputs(tokenizer, replace(rules, best_of=3), "tiny", full_windows=False)
    request = window(temperature=0.5, seed=7)
    found = np.asarray(row(several, request).uniforms)
    assert hypothesis_seed(7, 0) == 7
    for number, own in enumerate(found):
        alone = row(inputs, replace(request, seed=hypothesis_seed(7, number))).uniforms
        assert own.tolist() == np.asarray(alone)[0].tolist()
    seeds = [hypothesis_seed(seed, number) for seed in (0, 7, 2**64 - 1) for number in range(100)]
    assert len(set(seeds)) == len(seeds)
    assert len(np.unique(found)) == found.size
    for greedy in (row(several, window()), row(inputs, window())):
        assert np.asarray(greedy.uniforms).shape == (1, rules.max_new_tokens)


def test_searching_is_for_temperature_0_and_best_of_for_others(
    tokenizer: WhisperTokenizer, rules: DecodingRules
) -> None:
    def methods(beam_size: int, n_samples: int) -> list[str]:
        changed = replace(rules, beam_size=beam_size, best_of=n_samples)
        made = RowInputs(tokenizer, changed, "tiny", full_windows=False)
        return [made.kind(window(temperature=t)).method for t in (0.0, 0.2)]

    assert methods(1, 1) == [SAMPLING, SAMPLING]
    assert methods(5, 1) == [BEAM_SEARCH, SAMPLING]
    assert methods(1, 5) == [SAMPLING, BEST_OF]
    assert methods(5, 5) == [BEAM_SEARCH, BEST_OF]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seconds": 0}, r"1 to 480000 samples, not shape \(0,\)"),
        ({"seconds": 30.1}, r"1 to 480000 samples, not shape \(481600,\)"),
        ({"language": "xx"}, "language 'xx' is unknown to this model; it knows en, zh"),
        ({"task": "summarise"}, "task 'summarise' is unknown; use transcribe or translate"),
    ],
)
def test_invalid_requests_are_reported(inputs: RowInputs, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        row(inputs, window(**options))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_reported(inputs: RowInputs, value: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        row(inputs, Request(np.full(10, value, np.float32)))


def test_an_english_only_model_does_not_translate(english: RowInputs) -> None:
    with pytest.raises(ValueError, match=r"'tiny\.en' knows English only: it cannot translate"):
        row(english, window(task="translate"))
    with pytest.raises(ValueError, match="language 'de' is unknown to this model; it knows en"):
        row(english, window(language="de"))
