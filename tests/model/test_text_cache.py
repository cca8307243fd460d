"""The layout of the caches, and that a decoder which reads them has the whole text of each hypothesis."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.attention import KeyValue
from model.cache_sizes import MAX_PREFIX, n_slots
from model.config import WhisperConfig
from model.decoder import CrossKV, Decoder
from model.rows import Rows, new_row
from model.rules import DecodingRules
from model.text_cache import (
    n_text_tokens,
    positions_mask,
    resized,
    room,
    room_sizes,
    row_slots,
    with_prompt,
)
from tests.model.test_sampling import N_VOCAB, RULES
from tests.support.decode_helpers import random_audio, random_decoder, row_input, whole_text_logits

SHORT = replace(RULES, max_new_tokens=6)  # 10 tokens with the prefix
N_BEFORE = 5


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return random_decoder(WhisperConfig(80, 32, 64, 2, 2, 2, 2, N_VOCAB))


@pytest.fixture(scope="module")
def cross_kv(decoder: Decoder) -> CrossKV:
    return decoder.cross_kv(random_audio(decoder, 2))


def rows_at(n_run: list[int], n_prompt: list[int], n_positions: list[int]) -> Rows:
    rows = [
        new_row(row_input(SHORT, prompt=[1] * n, n_before=N_BEFORE, n_positions=positions), SHORT)
        for n, positions in zip(n_prompt, n_positions, strict=True)
    ]
    joined: Rows = jax.tree.map(lambda *parts: jnp.concatenate(parts), *rows)
    return joined._replace(n_run=jnp.asarray(n_run))


@pytest.mark.parametrize(
    ("rules", "k", "n_before", "expected"),
    [
        (SHORT, 1, 0, {10: 64}),
        (SHORT, 6, 0, {10: 64}),
        (SHORT, 7, 0, {10: 128}),
        (SHORT, 1, 64, {10: 128}),
        (RULES, 1, 0, {64: 64, 228: 256}),
        (RULES, 1, 256, {228: 256 + 256}),
        (RULES, 5, 0, {64: 320, 128: 640, 228: 1152}),  # 5 * 228 = 1140
        (RULES, 5, 64, {228: 64 + 1152}),
    ],
)
def test_there_is_a_slot_for_each_token_of_the_prompt_and_of_each_hypothesis(
    rules: DecodingRules, k: int, n_before: int, expected: dict[int, int]
) -> None:
    sizes = room_sizes(n_before, k, rules)
    assert sizes[-1] == n_text_tokens(rules) == MAX_PREFIX + rules.max_new_tokens
    assert {size: n_slots(n_before, k, size) for size in sizes} == expected
    assert all(n - n_before >= k * size for size, n in expected.items())


@pytest.mark.parametrize(("k", "n_tokens"), [(1, 10), (2, 10), (2, 32)])
def test_the_room_of_caches_is_that_behind_the_prompt(decoder: Decoder, k: int, n_tokens: int) -> None:
    rows = rows_at(n_run=[0], n_prompt=[0], n_positions=[100])
    caches = decoder.init_caches(1, n_slots(N_BEFORE, k, n_tokens))
    assert room(caches, rows, k, SHORT) == 10  # more is never written
    assert room(caches, rows, k, RULES) == (32 if k == 2 else 64)


@pytest.mark.parametrize("length", [3, 7, 12])
def test_resized_caches_keep_the_first_slots(length: int) -> None:
    key = jnp.arange(1, 8, dtype=jnp.float32)[None, None, :, None]
    ((new_key, new_value),) = resized((KeyValue(key, -key),), length)
    expected = [*range(1, 8), *[0] * 5][:length]
    assert new_key[0, 0, :, 0].tolist() == expected
    assert (-new_value[0, 0, :, 0]).tolist() == expected


def test_a_row_fills_the_slots_of_its_next_token_and_attends_to_those_before(
    decoder: Decoder, cross_kv: CrossKV
) -> None:
    rows = rows_at(n_run=[0, 3], n_prompt=[0, 2], n_positions=[100, 40])
    caches = decoder.init_caches(2, n_slots(N_BEFORE, 1, 10))
    origin = jnp.where(jnp.arange(n_text_tokens(SHORT)) <= rows.n_run[:, None], 0, -1)[:, None]
    slots = row_slots(caches, cross_kv, rows, SHORT, origin)
    assert slots.first.tolist() == [N_BEFORE, N_BEFORE + 3]
    assert slots.mask.shape == (2, 1, 1, caches[0].key.shape[2])
    attended = [np.flatnonzero(mask).tolist() for mask in np.asarray(slots.mask[:, 0, 0])]
    assert attended == [[5], [0, 1, 5, 6, 7, 8]]
    assert slots.audio_mask.sum(axis=-1).ravel().tolist() == [100, 40]


def test_a_hypothesis_attends_to_the_slots_of_those_that_it_descends_from(
    decoder: Decoder, cross_kv: CrossKV
) -> None:
    rows = rows_at(n_run=[2, 0], n_prompt=[1, 5], n_positions=[100, 100])
    caches = decoder.init_caches(2, n_slots(N_BEFORE, 2, 10))
    unused = [-1] * (n_text_tokens(SHORT) - 3)
    origin = jnp.asarray([[[0, 1, 0, *unused], [0, 0, 1, *unused]], [[0, -1, -1, *unused]] * 2])
    slots = row_slots(caches, cross_kv, rows, SHORT, origin)
    assert slots.first.tolist() == [N_BEFORE + 4, N_BEFORE]
    attended = [[np.flatnonzero(mask).tolist() for mask in row] for row in np.asarray(slots.mask[:, 0])]
    assert attended == [[[0, 5, 8, 9], [0, 5, 7, 10]], [[0, 1, 2, 3, 4, 5]] * 2]


def test_the_prompt_is_in_the_first_slots() -> None:
    cache = KeyValue(jnp.zeros((1, 2, 9, 3)), jnp.zeros((1, 2, 9, 3)))
    prompt = KeyValue(jnp.ones((1, 2, 4, 3)), jnp.full((1, 2, 4, 3), 2.0))
    ((key, value),) = with_prompt((cache,), (prompt,))
    assert key[0, 0, :, 0].tolist() == [1] * 4 + [0] * 5
    assert value[0, 1, :, 2].tolist() == [2] * 4 + [0] * 5


def test_the_audio_is_in_the_first_positions() -> None:
    mask = positions_mask(jnp.asarray([2, 0, 5]), 5)
    assert mask.shape == (3, 1, 1, 5)
    assert mask[:, 0, 0].tolist() == [[True, True, False, False, False], [False] * 5, [True] * 5]


def test_forked_hypotheses_are_decoded_as_their_whole_texts(decoder: Decoder, cross_kv: CrossKV) -> None:
    """Two rows of two hypotheses; the second begins a step later, and each forks at another step."""
    prompts = ([7, 8, 9], [6])
    steps = [  # the tokens that are run, and the hypothesis that each continues
        ([[1, 2], [0, 0]], [[0, 1], [0, 1]]),
        ([[3, 4], [5, 6]], [[1, 0], [0, 1]]),
        ([[5, 6], [7, 8]], [[0, 1], [1, 1]]),
        ([[7, 8], [1, 2]], [[1, 1], [0, 1]]),
    ]
    rows = rows_at(n_run=[0, 0], n_prompt=[3, 1], n_positions=[100, 100])
    caches = decoder.init_caches(2, n_slots(N_BEFORE, 2, 10))
    padded = jnp.asarray([prompt + [0] * (N_BEFORE - len(prompt)) for prompt in prompts])
    audible = positions_mask(rows.n_positions, 100)
    caches = with_prompt(caches, decoder.prompt_caches(padded, cross_kv, audible))
    origin = jnp.full((2, 2, n_text_tokens(SHORT)), -1)
    texts = [[[*prompt] for _ in range(2)] for prompt in prompts]
    run = jax.jit(decoder)
    whole = jax.jit(lambda tokens, window: whole_text_logits(decoder, tokens, window))
    for number, (tokens, parents) in enumerate(steps):
        is_begun = [True, number > 0]
        for row in (0, 1):
            if is_begun[row]:
                texts[row] = [texts[row][p] + [t] for t, p in zip(tokens[row], parents[row], strict=True)]
                origin = origin.at[row].set(origin[row][jnp.asarray(parents[row])])
        is_now = jnp.arange(origin.shape[-1]) == rows.n_run[:, None, None]
        origin = jnp.where(is_now, jnp.arange(2)[:, None], origin)
        slots = row_slots(caches, cross_kv, rows, SHORT, origin)
        position = rows.position[:, None]
        states, caches = run(jnp.asarray(tokens), position, slots, caches, cross_kv)
        logits = decoder.logits(states)
        for row in (0, 1):
            one: CrossKV = jax.tree.map(lambda x, row=row: x[row : row + 1], cross_kv)
            for k in (0, 1):
                if is_begun[row]:
                    text = texts[row][k]
                    expected = whole(jnp.asarray([text + [0] * (8 - len(text))]), one)[0, len(text) - 1]
                    np.testing.assert_allclose(logits[row, k], expected, atol=1e-4)
        rows = rows._replace(n_run=rows.n_run + jnp.asarray(is_begun))
    assert texts[0][0] != texts[0][1]
