from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from model.config import DecodingConfig
from model.interface import ModelOptions
from model.rules import (
    DecodingRules,
    History,
    Step,
    allowed_logits,
    best_token,
    initial_history,
    is_text,
    make_rules,
    update_history,
)
from tests.model.test_sampling import BEGIN, END, N_VOCAB, RULES, SPECIAL

N = 48
LAST = BEGIN + 1500


def steps(n_written: int, timestamps: Sequence[bool], limits: NDArray[np.integer[Any]]) -> Step:
    n = jnp.full(len(timestamps), n_written)
    return Step(n, jnp.asarray(timestamps), jnp.asarray(limits[:, 0]), jnp.asarray(limits[:, 1]))


def plain_allowed(
    logits: NDArray[np.float32],
    tokens: Sequence[int],
    rules: DecodingRules,
    *,
    timestamps: bool,
    last_start: int,
    last_time: int,
) -> NDArray[np.float32]:
    """`SuppressBlank`, `SuppressTokens`, `ApplyTimestampRules` of openai/whisper, and the limits of times."""
    logits = logits.copy()
    if not tokens:
        logits[list(rules.begin_suppress_ids)] = -np.inf
    logits[list(rules.suppress_ids)] = -np.inf
    if not timestamps:
        logits[BEGIN:] = -np.inf
        return logits
    last_was_timestamp = len(tokens) >= 1 and tokens[-1] >= BEGIN
    penultimate_was_timestamp = len(tokens) < 2 or tokens[-2] >= BEGIN
    if last_was_timestamp:
        if penultimate_was_timestamp:
            logits[BEGIN:] = -np.inf
        else:
            logits[:END] = -np.inf
    times = [token for token in tokens if token >= BEGIN]
    begins = not tokens or (last_was_timestamp and not penultimate_was_timestamp)
    if times:
        logits[BEGIN : times[-1] + (not begins)] = -np.inf
    if not tokens:
        logits[:BEGIN] = -np.inf
        logits[BEGIN + 51 :] = -np.inf
    logits[(last_start if begins else last_time) + 1 :] = -np.inf
    log_sum = np.logaddexp.reduce(logits[BEGIN:])
    if log_sum > logits[:BEGIN].max():
        logits[:BEGIN] = -np.inf
    return logits


def test_the_rules_are_those_of_the_reference_in_each_text() -> None:
    """Random texts by the rules; some have no times, and some are of short windows."""
    rules = replace(RULES, begin_suppress_ids=(0, END))
    random = np.random.default_rng(0)
    timestamps = [row % 4 != 0 for row in range(N)]
    stop = random.integers(BEGIN + 1, BEGIN + 200, N)
    limits = np.stack([np.maximum(stop - 15, BEGIN), stop], axis=1)
    limits[::3] = LAST
    texts: list[list[int]] = [[] for _ in range(N)]
    history = initial_history(N)
    n_finite = []
    for n_written in range(14):
        logits = random.standard_normal((N, N_VOCAB)).astype(np.float32)
        logits[:, :10] += random.choice([0, 12], (N, 1))  # text; the sum of all times is about 8
        logits[:, BEGIN + 200 :] -= 8
        step = steps(n_written, timestamps, limits)
        found = np.asarray(allowed_logits(jnp.asarray(logits), history, step, rules))
        for row, tokens in enumerate(texts):
            last_start, last_time = limits[row].tolist()
            expected = plain_allowed(
                logits[row],
                tokens,
                rules,
                timestamps=timestamps[row],
                last_start=last_start,
                last_time=last_time,
            )
            np.testing.assert_array_equal(found[row], expected)
            allowed = np.flatnonzero(np.isfinite(expected))
            n_finite.append(len(allowed))
            times = allowed[(allowed >= BEGIN) & (allowed < BEGIN + 100)]
            tokens.append(int(random.choice(times if len(times) and random.random() < 0.5 else allowed)))
        written = jnp.asarray([tokens[-1] for tokens in texts])
        history = update_history(history, written, step, rules)
    assert min(n_finite) > 0, "nothing could be written"
    assert len({tokens[-1] >= BEGIN for tokens in texts}) == 2


BEHIND = BEGIN + 1501
WITH_ADDED = replace(SPECIAL, n_ids=BEHIND + 4, added_text=(BEHIND, BEHIND + 2), unused=(BEHIND + 1,))
"""Behind the timestamps: text, an id without a token, text, a special token; further rows are padding."""


def test_tokens_that_are_text() -> None:
    below, above = SPECIAL.end_of_text - 1, SPECIAL.end_of_text
    tokens = jnp.array([[0, below, above], [BEHIND, BEHIND + 1, BEHIND + 2]])
    assert is_text(tokens, WITH_ADDED).tolist() == [[True, True, False], [True, False, True]]
    assert is_text(tokens, SPECIAL).tolist() == [[True, True, False], [False, False, False]]


def rules_with_added(*suppress_tokens: int) -> DecodingRules:
    options = ModelOptions(beam_size=1, suppress_tokens=suppress_tokens)
    return make_rules(WITH_ADDED, DecodingConfig(), options, multilingual=True)


def allowed_ids(history: History, step: Step, rules: DecodingRules) -> set[int]:
    logits = jnp.zeros((1, N_VOCAB + 60)).at[:, BEGIN:BEHIND].set(-99)  # so that times do not outweigh text
    return set(np.flatnonzero(np.isfinite(allowed_logits(logits, history, step, rules)[0])).tolist())


def test_tokens_behind_the_timestamps_are_no_times() -> None:
    rules, step = rules_with_added(-1), steps(5, [True], np.array([[LAST, LAST]]))
    after_text = History(jnp.array([False]), jnp.array([False]), jnp.array([BEGIN + 9]))
    allowed = allowed_ids(after_text, step, rules)
    assert {i for i in allowed if i >= BEGIN} == {*range(BEGIN + 10, BEHIND), BEHIND, BEHIND + 2, BEHIND + 3}
    unpaired = History(jnp.array([True]), jnp.array([False]), jnp.array([BEGIN + 9]))
    allowed = allowed_ids(unpaired, step, rules)
    assert {i for i in allowed if i >= BEHIND} == {BEHIND + 3}  # text must not follow the end of a segment
    first = allowed_ids(initial_history(1), steps(0, [True], np.array([[LAST, LAST]])), rules)
    assert first == set(range(BEGIN, BEGIN + 51))
    without = allowed_ids(after_text, steps(5, [False], np.array([[LAST, LAST]])), rules)
    assert {i for i in without if i >= BEGIN} == {BEHIND, BEHIND + 2, BEHIND + 3}
    assert BEHIND + 2 not in allowed_ids(after_text, step, rules_with_added(BEHIND + 2))


def test_a_written_token_behind_the_timestamps_is_text_in_the_history() -> None:
    rules, limits = rules_with_added(-1), np.array([[LAST, LAST]])
    history = initial_history(1)
    for n_written, token in enumerate((BEGIN, BEHIND)):
        history = update_history(history, jnp.asarray([token]), steps(n_written, [True], limits), rules)
    assert [x.tolist() for x in history] == [[False], [True], [BEGIN]]


def test_the_best_token_may_be_one_behind_the_timestamps() -> None:
    rules, rng = rules_with_added(-1), np.random.default_rng(1)
    logits = rng.standard_normal((N, N_VOCAB + 60)).astype(np.float32)
    logits[:, BEGIN:BEHIND] -= 4
    logits[np.arange(N), rng.choice([3, BEGIN + 700, BEHIND, BEHIND + 2, BEHIND + 50], N)] += 12
    history = History(jnp.zeros(N, bool), jnp.zeros(N, bool), jnp.full(N, BEGIN + 9))
    step = steps(5, [True] * N, np.full((N, 2), LAST))
    best, logprob = best_token(jnp.asarray(logits), history, step, rules)
    allowed = jax.nn.log_softmax(allowed_logits(jnp.asarray(logits), history, step, rules))
    assert best.tolist() == allowed.argmax(axis=-1).tolist()
    assert {3, BEGIN + 700, BEHIND, BEHIND + 2} <= set(best.tolist())
    assert max(best.tolist()) < BEHIND + 4
    np.testing.assert_allclose(logprob, allowed.max(axis=-1), atol=1e-4)


@pytest.mark.parametrize("n_written", [0, 5])
def test_the_best_token_is_the_likeliest_of_the_allowed_ones(n_written: int) -> None:
    rng = np.random.default_rng(n_written)
    logits = jnp.asarray(rng.standard_normal((N, N_VOCAB)) * 4, jnp.float32)
    later = History(
        jnp.asarray(rng.random(N) < 0.5),
        jnp.asarray(rng.random(N) < 0.5),
        jnp.asarray(rng.integers(BEGIN, BEGIN + 1400, N)),
    )
    history = later if n_written else initial_history(N)
    limits = np.where(np.arange(N)[:, None] % 3, LAST, rng.integers(BEGIN + 700, LAST, (N, 2)))
    step = steps(n_written, (rng.random(N) < 0.7).tolist(), limits)
    best, logprob = best_token(logits, history, step, RULES)
    allowed = jax.nn.log_softmax(allowed_logits(logits, history, step, RULES))
    assert best.tolist() == allowed.argmax(axis=-1).tolist()
    np.testing.assert_allclose(logprob, allowed.max(axis=-1), atol=1e-4)


@pytest.mark.parametrize("last", [BEGIN, BEGIN + 10, BEGIN + 49])
def test_a_window_whose_last_start_is_in_its_first_second_begins_by_then(last: int) -> None:
    step = steps(0, [True], np.array([[last, BEGIN + 60]]))
    allowed = allowed_logits(jnp.zeros((1, N_VOCAB)), initial_history(1), step, RULES)[0]
    assert np.flatnonzero(np.isfinite(allowed)).tolist() == list(range(BEGIN, last + 1))


@pytest.mark.parametrize(("latest", "n_allowed"), [(None, 51), (0, 1), (1, 2), (1500, 61), (10**30, 61)])
def test_a_checkpoint_may_name_the_latest_first_timestamp(latest: int | None, n_allowed: int) -> None:
    options = ModelOptions(beam_size=1)
    rules = make_rules(SPECIAL, DecodingConfig(max_initial_timestamp=latest), options, multilingual=True)
    step = steps(0, [True], np.array([[BEGIN + 60, BEGIN + 60]]))
    allowed = allowed_logits(jnp.zeros((1, N_VOCAB)), initial_history(1), step, rules)[0]
    assert np.flatnonzero(np.isfinite(allowed)).tolist() == list(range(BEGIN, BEGIN + n_allowed))


def test_behind_the_last_start_only_the_text_can_end() -> None:
    history = History(jnp.array([True]), jnp.array([False]), jnp.array([BEGIN + 36]))
    logits = jnp.zeros((1, N_VOCAB))
    for last_start, is_allowed in ((BEGIN + 35, False), (BEGIN + 36, True)):
        step = steps(5, [True], np.array([[last_start, BEGIN + 50]]))
        allowed = allowed_logits(logits, history, step, RULES)[0]
        assert np.isfinite(allowed[:END]).sum() == 0
        assert np.isfinite(allowed[BEGIN:]).any() == is_allowed
    step = steps(5, [True], np.array([[BEGIN + 35, BEGIN + 50]]))
    assert best_token(logits, history, step, RULES)[0].tolist() == [END]


def test_the_history_knows_the_last_two_tokens_and_the_last_time() -> None:
    history, limits = initial_history(1), np.array([[LAST, LAST]])
    for n_written, token in enumerate((BEGIN, 3, BEGIN + 50)):
        history = update_history(history, jnp.asarray([token]), steps(n_written, [True], limits), RULES)
    assert [x.tolist() for x in history] == [[True], [False], [BEGIN + 50]]


def test_the_prefix_is_no_part_of_the_history() -> None:
    limits = np.array([[LAST, LAST]])
    history = initial_history(1)
    for n_written in (-3, -2, -1):
        history = update_history(history, jnp.asarray([BEGIN + 7]), steps(n_written, [True], limits), RULES)
    assert [x.tolist() for x in history] == [x.tolist() for x in initial_history(1)]


@pytest.mark.parametrize(
    ("multilingual", "timestamps", "n_prefix"),
    [(True, True, 3), (True, False, 4), (False, True, 1), (False, False, 2)],
)
def test_prompt_prefix_and_text_fill_the_context_of_448_tokens(
    multilingual: bool, timestamps: bool, n_prefix: int
) -> None:
    options = ModelOptions(max_new_tokens=100)
    rules = make_rules(SPECIAL, DecodingConfig(), options, multilingual=multilingual)
    assert rules.n_prefix(timestamps=timestamps) == n_prefix
    assert rules.max_prompt(timestamps=timestamps) == 348 - n_prefix
    assert rules.n_before_text == rules.n_prefix(timestamps=False)


def rules_of(*suppress_tokens: int) -> tuple[int, ...]:
    checkpoint = DecodingConfig(suppress_ids=(1, 2))
    options = ModelOptions(suppress_tokens=suppress_tokens)
    return make_rules(SPECIAL, checkpoint, options, multilingual=True).suppress_ids


def test_suppressed_tokens_are_the_users_and_the_checkpoints_where_asked_for() -> None:
    special = set(rules_of())
    assert set(rules_of(-1)) == special | {1, 2}
    assert set(rules_of(5)) == special | {5}
    assert set(rules_of(-1, 5)) == special | {1, 2, 5}
    assert END not in special


@pytest.mark.parametrize("token", [-2, BEGIN, BEHIND + 4])
def test_an_id_that_cannot_be_suppressed_is_named(token: int) -> None:
    with pytest.raises(ValueError, match=f"no token has the id {token}"):
        rules_with_added(token)
