"""The programs of a decoding method: rows are filled, advanced and filled again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model import beam_search, best_of, sampling
from model.cache_sizes import MAX_PREFIX, n_slots
from model.checkpoint import Checkpoint
from model.compiled import compile_wait_s
from model.decoder import CrossKV, Decoder
from model.interface import ModelOptions
from model.method_programs import (
    Batch,
    EncodedWindow,
    Method,
    MethodPrograms,
    empty_input,
    padded_positions,
    row_of,
)
from model.rows import RowInput, Written
from model.rules import DecodingRules, make_rules
from model.sharding import make_mesh
from model.tokens import WhisperTokenizer
from tests.support.decode_helpers import random_whisper

N_ROWS, N_POSITIONS, MAX_NEW_TOKENS = 4, 200, 16
WEIGHTS = nnx.State({})  # the decoder has its own


@pytest.fixture(scope="module")
def decoder(tiny_checkpoint: Checkpoint) -> Decoder:
    return random_whisper(tiny_checkpoint.config, seed=3).decoder


@pytest.fixture(scope="module")
def rules(tiny_checkpoint: Checkpoint, method: Method) -> DecodingRules:
    special = WhisperTokenizer(tiny_checkpoint.tokenizer).special
    n_samples = 2 if method is best_of else 1
    options = ModelOptions(beam_size=3, best_of=n_samples, max_new_tokens=MAX_NEW_TOKENS)
    return make_rules(special, tiny_checkpoint.decoding, options, multilingual=True)


@pytest.fixture(scope="module", params=[sampling, beam_search, best_of], ids=lambda method: method.__name__)
def method(request: pytest.FixtureRequest) -> Method:
    found: Method = request.param
    return found


@pytest.fixture(scope="module")
def programs(decoder: Decoder, rules: DecodingRules, method: Method) -> MethodPrograms:
    return MethodPrograms(method, lambda _: decoder, rules, make_mesh(), None)


@pytest.fixture(scope="module")
def encoded(decoder: Decoder) -> CrossKV:
    """The cache of six windows."""
    audio = np.random.default_rng(5).standard_normal((6, N_POSITIONS, 32)) * 3
    return decoder.cross_kv(jnp.asarray(audio, jnp.float32))


def given(rules: DecodingRules, number: int, n_before: int = 0) -> RowInput:
    """The input of a window, of whose text the last token is limited in time by its number."""
    special = rules.special
    prefix = [special.start_of_transcript, special.languages["de"], special.transcribe, special.no_timestamps]
    uniforms = np.random.default_rng(number).random((rules.best_of, rules.max_new_tokens))
    return empty_input(n_before, rules)._replace(
        prefix=jnp.asarray(prefix, jnp.int32),
        n_prefix=jnp.int32(MAX_PREFIX),
        temperature=jnp.float32(0.7 * (number % 2)),
        uniforms=jnp.asarray(uniforms, jnp.float32),
        n_positions=jnp.int32(N_POSITIONS - number),
    )


def filled(programs: MethodPrograms, rules: DecodingRules, encoded: CrossKV, rows: dict[int, int]) -> Batch:
    """A batch with windows, by row."""
    batch = programs.empty(WEIGHTS, encoded, N_ROWS, 0)
    for row, number in rows.items():
        batch = programs.insert(WEIGHTS, batch, EncodedWindow(encoded, number), row, given(rules, number))
    return batch


def row_values(written: Written, row: int) -> list[Any]:
    return [np.asarray(x)[row].tolist() for x in jax.tree.leaves(written)]


def test_an_empty_batch_has_nothing_to_write(
    programs: MethodPrograms, rules: DecodingRules, encoded: CrossKV
) -> None:
    batch = programs.empty(WEIGHTS, encoded, N_ROWS, 64)
    assert {len(x) for x in jax.tree.leaves(batch)} == {N_ROWS}
    _, written = programs.advance(WEIGHTS, batch, 0, 1000)
    assert not written.is_active.any()
    assert not written.n_tokens.any()


def test_steps_may_be_made_in_any_number_of_calls(
    programs: MethodPrograms, rules: DecodingRules, encoded: CrossKV
) -> None:
    rows = {0: 0, 1: 1, 3: 2}
    _, at_once = programs.advance(WEIGHTS, filled(programs, rules, encoded, rows), 0, 1000)
    batch = filled(programs, rules, encoded, rows)
    n_calls, is_active = 0, np.ones(1, bool)
    while is_active.any():
        batch, written = programs.advance(WEIGHTS, batch, 0, 3)
        is_active, n_calls = written.is_active, n_calls + 1
    assert n_calls == -(-(MAX_PREFIX - 1 + MAX_NEW_TOKENS) // 3), "no text is of the maximum length"
    for row in rows:
        assert row_values(written, row) == row_values(at_once, row)
    assert at_once.n_tokens[2] == 0


def test_a_row_that_is_filled_again_keeps_nothing_of_the_window_before(
    programs: MethodPrograms, rules: DecodingRules, encoded: CrossKV
) -> None:
    fresh = filled(programs, rules, encoded, {1: 3})
    _, expected = programs.advance(WEIGHTS, fresh, 0, 1000)
    batch = filled(programs, rules, encoded, {0: 0, 1: 1, 2: 2})
    batch, before = programs.advance(WEIGHTS, batch, 0, 9)  # others are in the middle of their texts
    batch = programs.insert(WEIGHTS, batch, EncodedWindow(encoded, 3), 1, given(rules, 3))
    _, written = programs.advance(WEIGHTS, batch, 0, 1000)
    assert row_values(written, 1) == row_values(expected, 1)
    assert row_values(before, 1) != row_values(expected, 1)
    _, alone = programs.advance(WEIGHTS, filled(programs, rules, encoded, {0: 0}), 0, 1000)
    assert row_values(written, 0) == row_values(alone, 0)


def test_a_window_is_the_same_in_every_row(
    programs: MethodPrograms, rules: DecodingRules, encoded: CrossKV
) -> None:
    found = []
    for row in range(N_ROWS):
        batch = filled(programs, rules, encoded, {row: 4})
        _, written = programs.advance(WEIGHTS, batch, 0, 1000)
        found.append(row_values(written, row))
    assert found == [found[0]] * N_ROWS


def test_a_text_is_the_same_to_the_bit_while_caches_grow_and_shrink(
    decoder: Decoder, rules: DecodingRules, method: Method, encoded: CrossKV
) -> None:
    long_rules = replace(rules, max_new_tokens=150)
    programs = MethodPrograms(method, lambda _: decoder, long_rules, make_mesh(), None)
    sizes = programs.room_sizes(0)
    assert sizes == ((64, 154) if method is sampling else (64, 128, 154))
    k = method.n_hypotheses(long_rules)

    def room(batch: Batch) -> int:
        return next(size for size in sizes if n_slots(0, k, size) == batch.state.caches[0].key.shape[2])

    largest = filled(programs, long_rules, encoded, {0: 0, 1: 1})
    largest = programs.with_room(largest, sizes[-1])
    _, expected = programs.advance(WEIGHTS, largest, 0, 1000)
    batch = filled(programs, long_rules, encoded, {0: 0})
    rooms = [room(batch)]
    for step in range(40):
        if step == 15:
            batch = programs.insert(WEIGHTS, batch, EncodedWindow(encoded, 1), 1, given(long_rules, 1))
        batch, written = programs.advance(WEIGHTS, batch, 0, 10)
        rooms.append(room(batch))
    assert not written.is_active.any()
    assert list(dict.fromkeys(rooms)) == list(sizes), "caches did not grow"
    assert rooms[-1] == sizes[0], "caches did not shrink"
    for row in (0, 1):
        assert row_values(written, row) == row_values(expected, row)


def test_what_was_compiled_is_not_compiled_again(
    programs: MethodPrograms, rules: DecodingRules, encoded: CrossKV
) -> None:
    def decode(number: int, max_steps: int) -> None:
        programs.advance(WEIGHTS, filled(programs, rules, encoded, {number % N_ROWS: number}), 0, max_steps)

    decode(0, 1)
    waited_s = compile_wait_s()
    decode(5, 2)
    assert compile_wait_s() == waited_s
    padded = padded_positions(encoded, N_POSITIONS + 100)
    batch = programs.empty(WEIGHTS, padded, N_ROWS, 0)
    programs.insert(WEIGHTS, batch, EncodedWindow(padded, 0), 0, given(rules, 0))
    assert compile_wait_s() > waited_s  # of another shape


def test_padded_positions_are_not_attended_to(
    programs: MethodPrograms, rules: DecodingRules, encoded: CrossKV
) -> None:
    _, expected = programs.advance(WEIGHTS, filled(programs, rules, encoded, {0: 1}), 0, 1000)
    # What is in the padding must not matter.
    padded = jax.tree.map(
        lambda x: x.at[:, :, N_POSITIONS:].set(1e3), padded_positions(encoded, N_POSITIONS + 100)
    )
    _, written = programs.advance(WEIGHTS, filled(programs, rules, padded, {0: 1}), 0, 1000)
    assert written.tokens[0].tolist() == expected.tokens[0].tolist()
    np.testing.assert_allclose(written.sum_logprob[0], expected.sum_logprob[0], rtol=1e-4)


def test_previous_text_changes_the_text_and_its_padding_does_not(
    programs: MethodPrograms, rules: DecodingRules, encoded: CrossKV
) -> None:
    def sum_logprob(prompt: list[int], n_prompt: int) -> float:
        row = given(rules, 1, len(prompt))._replace(
            prompt=jnp.asarray(prompt, jnp.int32), n_prompt=jnp.int32(n_prompt)
        )
        batch = programs.empty(WEIGHTS, encoded, N_ROWS, len(prompt))
        batch = programs.insert(WEIGHTS, batch, EncodedWindow(encoded, 1), 2, row)
        _, written = programs.advance(WEIGHTS, batch, 0, 1000)
        return float(written.sum_logprob[2])

    previous = rules.special.start_of_previous
    assert sum_logprob([previous, 5, 6, 0], 3) == sum_logprob([previous, 5, 6, 99], 3)
    assert sum_logprob([previous, 5, 6, 0], 3) != sum_logprob([previous, 5, 6, 99], 4)


def test_one_row_of_arrays() -> None:
    found = row_of({"a": jnp.arange(6).reshape(3, 2), "b": jnp.asarray([7, 8, 9])}, jnp.int32(1))
    assert jax.tree.map(np.ndarray.tolist, jax.device_get(found)) == {"a": [[2, 3]], "b": [8]}


def test_a_scale_is_not_padded() -> None:
    values, scale = jnp.ones((1, 2, 3, 4)), jnp.ones((1, 2, 1, 4))
    padded = padded_positions(((values, scale),), 5)  # type: ignore[arg-type]
    assert [x.shape for x in jax.tree.leaves(padded)] == [(1, 2, 5, 4), (1, 2, 1, 4)]
    assert not jax.tree.leaves(padded)[0][:, :, 3:].any()
