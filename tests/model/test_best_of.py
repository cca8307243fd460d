"""`best_of`: N samples of a window, each as it is alone, and the one that is kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model import best_of, sampling
from model.best_of import BestOfState
from model.checkpoint import Checkpoint
from model.decoder import CrossKV, Decoder
from model.interface import ModelOptions
from model.rows import new_row
from model.rules import DecodingRules, make_rules
from model.sampling import new_samples
from model.tokens import WhisperTokenizer
from tests.model.test_sampling import END, RULES, Likes, batch_of, plain_text, table_of
from tests.support.decode_helpers import (
    RowBatch,
    decoder_that_ends,
    plain_logprobs,
    prefix_of,
    programs_of,
    random_audio,
    result_of,
    row_input,
)

N = 5
BEST = replace(RULES, best_of=N)
TEMPERATURE = 0.9

Uniforms = np.ndarray[Any, np.dtype[np.float64]]


def tiny(checkpoint: Checkpoint, **options: Any) -> tuple[Decoder, DecodingRules]:  # noqa: ANN401
    """A random decoder that often ends a text before its limit."""
    special = WhisperTokenizer(checkpoint.tokenizer).special
    given = ModelOptions(beam_size=1, best_of=N, max_new_tokens=12, **options)
    rules = make_rules(special, checkpoint.decoding, given, multilingual=True)
    return decoder_that_ends(checkpoint.config, rules)


def random_uniforms(rules: DecodingRules, n_windows: int) -> Uniforms:
    return np.random.default_rng(2).random((n_windows, N, rules.max_new_tokens))


def decoded(decoder: Decoder, cross_kv: CrossKV, rules: DecodingRules, uniforms: Uniforms) -> RowBatch:
    """A batch whose windows are decoded; the second one is without timestamps."""
    batch = RowBatch(programs_of(best_of, decoder, rules), cross_kv)
    for window, own in enumerate(uniforms):
        given = row_input(rules, timestamps=window != 1, temperature=TEMPERATURE, uniforms=own)
        batch.insert(window, window, given)
    return batch


@pytest.mark.parametrize("length_penalty", [None, 0.6])
def test_the_text_is_the_best_of_plain_loops(
    tiny_checkpoint: Checkpoint, length_penalty: float | None
) -> None:
    """Each from the probabilities of the whole text before a token, sampled by inversion in float64."""
    decoder, rules = tiny(tiny_checkpoint, length_penalty=length_penalty)
    cross_kv = decoder.cross_kv(random_audio(decoder, 4))
    uniforms = random_uniforms(rules, 4)
    batch = decoded(decoder, cross_kv, rules, uniforms)
    written = batch.advance()
    state, kept = batch.batch.state, []
    for window, own_uniforms in enumerate(uniforms):
        timestamps = window != 1
        own: CrossKV = jax.tree.map(lambda x, window=window: x[window : window + 1], cross_kv)
        prefix = prefix_of(rules, timestamps=timestamps)
        logprobs_of = plain_logprobs(decoder, own, rules, prefix, timestamps=timestamps)
        plain = [plain_text(logprobs_of, rules, TEMPERATURE, one) for one in own_uniforms]
        for number, (tokens, total) in enumerate(plain):
            n_tokens = int(state.samples.n_tokens[window, number])
            assert state.samples.tokens[window, number, :n_tokens].tolist() == tokens
            assert float(state.samples.sum_logprob[window, number]) == pytest.approx(total, abs=1e-3)
        alpha = rules.length_penalty
        scores = [
            total / (len(tokens) if alpha is None else ((5 + len(tokens)) / 6) ** alpha)
            for tokens, total in plain
        ]
        kept.append(int(np.argmax(scores)))
        assert result_of(written, window).tokens == plain[kept[-1]][0]
        assert float(written.sum_logprob[window]) == pytest.approx(plain[kept[-1]][1], abs=1e-3)
    assert len(set(kept)) > 1, "the same hypothesis is always the best"
    lengths = np.asarray(state.samples.n_tokens)
    assert (lengths.min(axis=1) < lengths.max(axis=1)).all(), "hypotheses end together"


def test_each_hypothesis_is_the_sample_that_its_numbers_give_alone(tiny_checkpoint: Checkpoint) -> None:
    decoder, rules = tiny(tiny_checkpoint)
    cross_kv = decoder.cross_kv(random_audio(decoder, 3))
    uniforms = random_uniforms(rules, 3)
    batch = decoded(decoder, cross_kv, rules, uniforms)
    written = batch.advance()
    samples, alone = batch.batch.state.samples, programs_of(sampling, decoder, rules)
    for window in range(3):
        lone = RowBatch(alone, cross_kv)
        for row in range(4):
            numbers = uniforms[window, row]
            given = row_input(rules, timestamps=window != 1, temperature=TEMPERATURE, uniforms=numbers)
            lone.insert(row, window, given)
        results = lone.advance()
        for row in range(4):
            found = result_of(results, row)
            assert samples.tokens[window, row, : len(found.tokens)].tolist() == found.tokens
            assert int(samples.n_tokens[window, row]) == len(found.tokens)
            assert float(samples.sum_logprob[window, row]) == pytest.approx(found.sum_logprob, rel=1e-4)
        first = result_of(written, window)
        assert first.no_speech_prob == pytest.approx(result_of(results, 0).no_speech_prob, rel=1e-4)


def choices(*numbers: list[float]) -> Uniforms:
    """Random numbers of N hypotheses: those given, and then the last one on."""
    n_tokens = BEST.max_new_tokens
    given = [np.pad(one[:n_tokens], (0, max(n_tokens - len(one), 0)), mode="edge") for one in numbers]
    return np.stack([*given, *[given[-1]] * (N - len(given))])


def test_each_hypothesis_stops_at_its_own_end_and_the_row_at_the_last() -> None:
    script: Likes = [{1: 20.0, END: 20.0}] * 6
    uniforms = choices([0.9], [0.1, 0.1, 0.9], [0.1, 0.9], [0.1] * 4 + [0.9])
    row = row_input(BEST, timestamps=False, temperature=1.0, uniforms=uniforms)
    batch = batch_of([table_of(script, 4)], [row], BEST)
    for n_steps, n_active in ((4, 4), (1, 3), (1, 2), (1, 2)):  # the last two are the same
        assert batch.advance(max_steps=n_steps).is_active[0]
        assert int(batch.batch.state.is_active.sum()) == n_active
    assert not batch.advance(max_steps=1).is_active[0]
    assert batch.batch.state.samples.n_tokens.tolist() == [[0, 2, 1, 4, 4]]
    ended = batch.batch.state.samples.sum_logprob[0] / np.log(0.5)
    np.testing.assert_allclose(ended, [1, 3, 2, 5, 5], rtol=1e-3)


def test_a_hypothesis_that_was_stopped_for_repetition_loses() -> None:
    """Its text is likelier by far; a lone sample would have been stopped at the same token."""
    script: Likes = [{1: 5.0, **dict.fromkeys(range(2, 10), 1.0)}] * 40
    varied = np.random.default_rng(4).uniform(0.97, 0.999, 40).tolist()
    row = row_input(BEST, timestamps=False, temperature=1.0, uniforms=choices([0.1], varied))
    batch = batch_of([table_of(script, 4)], [row], BEST)
    written, samples = batch.advance(), batch.batch.state.samples
    assert samples.repeated.tolist() == [[True, False, False, False, False]]
    lone_row = row_input(RULES, timestamps=False, temperature=1.0, uniforms=choices([0.1])[0])
    lone = result_of(batch_of([table_of(script, 4)], [lone_row], RULES).advance())
    assert lone.repeated
    assert samples.tokens[0, 0, : len(lone.tokens)].tolist() == lone.tokens
    assert float(samples.sum_logprob[0, 0]) / 24 > float(samples.sum_logprob[0, 1]) / 40
    assert not written.repeated[0]
    assert result_of(written).tokens == samples.tokens[0, 1, :40].tolist()


def test_hypotheses_are_stopped_at_the_limit_of_tokens() -> None:
    script: Likes = [dict.fromkeys(range(1, 10), 5.0)] * 300
    numbers = np.random.default_rng(5).random((N, BEST.max_new_tokens))
    row = row_input(BEST, timestamps=False, temperature=1.0, uniforms=numbers)
    batch = batch_of([table_of(script, 4)], [row], BEST)
    written = batch.advance()
    assert not written.is_active[0]
    assert batch.batch.state.samples.n_tokens.tolist() == [[BEST.max_new_tokens] * N]


def ranked(sums: list[float], lengths: list[int], repeated: list[bool], **rules: Any) -> int:  # noqa: ANN401
    """The number of the hypothesis that is kept, of three."""
    of_three = replace(BEST, best_of=3, **rules)
    row = row_input(of_three, temperature=1.0, uniforms=np.zeros((3, of_three.max_new_tokens)))
    samples = new_samples(row, of_three)._replace(
        tokens=jnp.broadcast_to(jnp.arange(3)[:, None], (3, of_three.max_new_tokens)),
        sum_logprob=jnp.asarray(sums),
        n_tokens=jnp.asarray(lengths),
        repeated=jnp.asarray(repeated),
    )
    with_axis = jax.tree.map(lambda x: x[None], samples)
    state = BestOfState(new_row(row, of_three), jnp.zeros((1, 3), bool), with_axis, ())
    written = best_of.written(state, of_three)
    number = int(written.tokens[0, 0])
    kept = (written.sum_logprob[0], written.n_tokens[0], written.repeated[0])
    np.testing.assert_equal([float(x) for x in kept], [sums[number], lengths[number], repeated[number]])
    return number


NONE, ALL = [False] * 3, [True] * 3


def test_the_likeliest_is_kept_and_of_equals_the_first() -> None:
    assert ranked([-6.0, -8.0, -3.0], [3, 8, 2], NONE) == 1  # by its length
    assert ranked([-6.0, -8.0, -3.0], [3, 8, 2], NONE, length_penalty=0.0) == 2
    assert ranked([-6.0, -4.0, -2.0], [2, 2, 1], NONE) == 1
    assert ranked([-2.0, -2.0, -2.0], [2, 2, 2], NONE) == 0


def test_repetition_loses_unless_all_repeat_themselves() -> None:
    assert ranked([-1.0, -9.0, -3.0], [2, 2, 2], [True, False, False]) == 2
    assert ranked([-3.0, -2.0, -1.0], [2, 2, 2], [False, True, True]) == 0
    assert ranked([-3.0, -1.0, -2.0], [2, 2, 2], ALL) == 1


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_hypothesis_that_is_not_finite_is_not_hidden_by_others(value: float) -> None:
    for repeated in (NONE, [False, True, False]):
        assert ranked([-1.0, value, -2.0], [2, 2, 2], repeated) == 1
