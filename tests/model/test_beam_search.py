"""The search, against the same algorithm in plain Python: one window at a time, and lists of hypotheses."""

from collections.abc import Sequence
from dataclasses import replace

import jax
import numpy as np
import pytest

from model import beam_search, sampling
from model.checkpoint import Checkpoint
from model.decoder import CrossKV, Decoder
from model.interface import ModelOptions
from model.rules import DecodingRules, make_rules
from model.tokens import WhisperTokenizer
from tests.support.decode_helpers import (
    Logprobs,
    RowBatch,
    RowResult,
    decode_alone,
    decoder_that_ends,
    plain_logprobs,
    prefix_of,
    programs_of,
    random_audio,
    result_of,
    row_input,
)

N_WINDOWS = 4


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Checkpoint) -> tuple[Decoder, DecodingRules]:
    special = WhisperTokenizer(tiny_checkpoint.tokenizer).special
    options = ModelOptions(beam_size=3, max_new_tokens=9)
    rules = make_rules(special, tiny_checkpoint.decoding, options, multilingual=True)
    return decoder_that_ends(tiny_checkpoint.config, rules)


@pytest.fixture(scope="module")
def decoder(model: tuple[Decoder, DecodingRules]) -> Decoder:
    return model[0]


@pytest.fixture(scope="module")
def rules(model: tuple[Decoder, DecodingRules]) -> DecodingRules:
    return model[1]


@pytest.fixture(scope="module")
def cross_kv(decoder: Decoder) -> CrossKV:
    return decoder.cross_kv(random_audio(decoder, N_WINDOWS))


def window_of(cross_kv: CrossKV, window: int) -> CrossKV:
    one: CrossKV = jax.tree.map(lambda x: x[window : window + 1], cross_kv)
    return one


def plain_search(logprobs_of: Logprobs, rules: DecodingRules) -> tuple[list[int], float]:
    """`BeamSearchDecoder` and `MaximumLikelihoodRanker` of openai/whisper, for one window."""
    k, end = rules.beam_size, rules.special.end_of_text
    beams: list[tuple[list[int], float]] = [([], 0.0)]
    finished: list[tuple[list[int], float]] = []
    for _ in range(rules.max_new_tokens):
        candidates = []
        for tokens, total in beams:
            logprobs = logprobs_of(tokens)
            best = np.argsort(-logprobs)[: k + 1]
            candidates += [([*tokens, int(token)], total + float(logprobs[token])) for token in best]
        beams = []
        for tokens, total in sorted(candidates, key=lambda one: -one[1]):
            if tokens[-1] == end:
                finished.append((tokens[:-1], total))
            else:
                beams.append((tokens, total))
            if len(beams) == k:
                break
        if len(finished) >= round(k * rules.patience):
            break
    finished = finished[: round(k * rules.patience)]
    finished += beams[: max(k - len(finished), 0)]

    def score(one: tuple[list[int], float]) -> float:
        if rules.length_penalty is None:
            return one[1] / max(len(one[0]), 1)
        return one[1] / ((5 + len(one[0])) / 6) ** rules.length_penalty

    return max(finished, key=score)


def assert_found(found: RowResult, expected: tuple[list[int], float]) -> None:
    tokens, total = expected
    assert found.tokens == tokens
    assert found.sum_logprob == pytest.approx(total, abs=1e-3)


@pytest.fixture(scope="module")
def plain(decoder: Decoder, cross_kv: CrossKV, rules: DecodingRules) -> list[Logprobs]:
    """Of each window, with and without timestamps."""
    return [
        plain_logprobs(
            decoder,
            window_of(cross_kv, window),
            rules,
            prefix_of(rules, timestamps=timestamps),
            timestamps=timestamps,
        )
        for window in range(N_WINDOWS)
        for timestamps in (True, False)
    ]


@pytest.mark.parametrize(
    ("patience", "length_penalty"), [(1.0, None), (2.0, None), (0.4, None), (1.0, 0.0), (1.0, 1.0)]
)
def test_the_search_finds_what_the_plain_one_finds(
    decoder: Decoder,
    cross_kv: CrossKV,
    rules: DecodingRules,
    plain: Sequence[Logprobs],
    patience: float,
    length_penalty: float | None,
) -> None:
    rules = replace(rules, patience=patience, length_penalty=length_penalty)
    batch = RowBatch(programs_of(beam_search, decoder, rules), cross_kv, n_rows=2 * N_WINDOWS)
    for row in range(2 * N_WINDOWS):
        batch.insert(row, row // 2, row_input(rules, timestamps=row % 2 == 0))
    written = batch.advance()
    for row, logprobs in enumerate(plain):
        assert_found(result_of(written, row), plain_search(logprobs, rules))
    assert written.n_tokens.min() < rules.max_new_tokens, "no text has ended"


def test_the_search_is_the_plain_one_for_requests_of_each_kind_that_begin_at_any_time(
    decoder: Decoder, cross_kv: CrossKV, rules: DecodingRules
) -> None:
    special = rules.special
    requests = [
        {"timestamps": False, "language": 1},
        {"task": special.translate},
        {"last_times": (20, 40)},
        {"timestamps": False, "prompt": [special.start_of_previous, 4, 5, 6]},
    ]
    batch = RowBatch(programs_of(beam_search, decoder, rules), cross_kv, n_before=8)
    for window, asked in enumerate(requests):
        batch.insert(window, window, row_input(rules, n_before=8, **asked))  # type: ignore[arg-type]
        written = batch.advance(max_steps=2 + window)
    written = batch.advance()
    for window, asked in enumerate(requests):
        language, task = asked.get("language", 0), asked.get("task")
        timestamps = bool(asked.get("timestamps", True))
        own = prefix_of(rules, language, task, timestamps=timestamps)  # type: ignore[arg-type]
        logprobs = plain_logprobs(
            decoder,
            window_of(cross_kv, window),
            rules,
            [*asked.get("prompt", ()), *own],  # type: ignore[misc]
            timestamps=timestamps,
            **({"last_times": (20, 40)} if "last_times" in asked else {}),
        )
        assert_found(result_of(written, window), plain_search(logprobs, rules))


def test_a_beam_of_one_is_greedy(decoder: Decoder, cross_kv: CrossKV, rules: DecodingRules) -> None:
    greedy = replace(rules, beam_size=1)
    search, choose = (programs_of(method, decoder, greedy) for method in (beam_search, sampling))
    for window in range(N_WINDOWS):
        given = row_input(greedy, timestamps=window % 2 == 0)
        expected = decode_alone(choose, cross_kv, window, given)
        found = decode_alone(search, cross_kv, window, given)
        assert found.tokens == expected.tokens
        assert found.sum_logprob == pytest.approx(expected.sum_logprob, rel=1e-4)
        assert found.no_speech_prob == pytest.approx(expected.no_speech_prob, rel=1e-4)
