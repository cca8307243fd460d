from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.config import WhisperConfig
from model.decoder import Decoder, Slots, TextCaches, write_slots
from tests.support.decode_helpers import random_audio, random_decoder, whole_text_logits

CONFIG = WhisperConfig(80, 32, 64, 2, 2, 2, 2, 300)
N_SLOTS, N_POSITIONS = 16, 60
TEXTS = jnp.asarray([[5, 6, 7, 8], [9, 1, 2, 3]], jnp.int32)


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return random_decoder(CONFIG)


def slots_of(first: list[int], n_attended: list[list[int]]) -> Slots:
    """The slots from `first` on of each row; each token attends to the first slots of that number."""
    mask = jnp.arange(N_SLOTS) < jnp.asarray(n_attended)[:, None, :, None]
    return Slots(jnp.asarray(first), mask, jnp.ones((len(first), 1, 1, N_POSITIONS), bool))


def run(
    decoder: Decoder, tokens: jax.Array, first: list[int], caches: TextCaches, audio: jax.Array
) -> tuple[jax.Array, TextCaches]:
    """The logits of tokens [B, T], of which each row's are the next of its text, and the caches with them."""
    positions = jnp.asarray(first)[:, None] + jnp.arange(tokens.shape[1])
    slots = slots_of(first, (positions + 1).tolist())
    states, caches = decoder(tokens, positions, slots, caches, decoder.cross_kv(audio))
    return decoder.logits(states), caches


def test_a_projection_of_its_own_replaces_the_embedding() -> None:
    tied, untied = random_decoder(CONFIG), random_decoder(replace(CONFIG, has_projection=True))
    assert tied.projection is None
    assert untied.projection is not None
    table = jax.random.normal(jax.random.key(1), (300, 32))
    untied.projection.embedding[...] = table
    states = jax.random.normal(jax.random.key(2), (2, 32))
    np.testing.assert_allclose(untied.logits(states), states @ table.T, atol=1e-4)
    np.testing.assert_allclose(tied.logits(states), states @ tied.embedding.embedding[...].T, atol=1e-4)


def test_decoding_step_by_step_equals_one_pass(decoder: Decoder) -> None:
    audio = random_audio(decoder, 2, N_POSITIONS)
    expected = whole_text_logits(decoder, TEXTS, decoder.cross_kv(audio))
    caches = decoder.init_caches(2, N_SLOTS)
    for step in range(4):
        logits, caches = run(decoder, TEXTS[:, step : step + 1], [step] * 2, caches, audio)
        np.testing.assert_allclose(logits[:, 0], expected[:, step], atol=1e-5)


def test_tokens_of_one_step_attend_to_each_other_as_the_mask_says(decoder: Decoder) -> None:
    audio = random_audio(decoder, 2, N_POSITIONS)
    logits, _ = run(decoder, TEXTS, [0, 0], decoder.init_caches(2, N_SLOTS), audio)
    expected = whole_text_logits(decoder, TEXTS, decoder.cross_kv(audio))
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_each_row_is_at_a_position_of_its_own(decoder: Decoder) -> None:
    audio = random_audio(decoder, 2, N_POSITIONS)
    expected = whole_text_logits(decoder, TEXTS, decoder.cross_kv(audio))
    caches = decoder.init_caches(2, N_SLOTS)
    found = []
    for step in range(6):  # the second row is two steps behind
        first = [min(step, 3), max(step - 2, 0)]
        tokens = TEXTS[jnp.arange(2), jnp.asarray(first)][:, None]
        logits, caches = run(decoder, tokens, first, caches, audio)
        found.append(logits[:, 0])
    np.testing.assert_allclose(jnp.stack([x[0] for x in found[:4]]), expected[0], atol=1e-5)
    np.testing.assert_allclose(jnp.stack([x[1] for x in found[2:]]), expected[1], atol=1e-5)


def test_slots_that_are_masked_have_no_influence(decoder: Decoder) -> None:
    audio = random_audio(decoder, 1, N_POSITIONS)
    _, caches = run(decoder, jnp.asarray([[5]]), [0], decoder.init_caches(1, N_SLOTS), audio)
    dirty = tuple(cache._replace(key=cache.key.at[:, :, 5:].set(1e3)) for cache in caches)
    clean_next, _ = run(decoder, jnp.asarray([[6]]), [1], caches, audio)
    dirty_next, _ = run(decoder, jnp.asarray([[6]]), [1], dirty, audio)
    np.testing.assert_array_equal(clean_next, dirty_next)
    attended = tuple(cache._replace(key=cache.key.at[:, :, :1].set(1e3)) for cache in caches)
    other_next, _ = run(decoder, jnp.asarray([[6]]), [1], attended, audio)
    assert not np.allclose(clean_next, other_next)


def test_positions_behind_the_audio_have_no_influence(decoder: Decoder) -> None:
    audio = random_audio(decoder, 1, N_POSITIONS)
    caches, slots = decoder.init_caches(1, N_SLOTS), slots_of([0], [[1]])
    slots = slots._replace(audio_mask=jnp.arange(N_POSITIONS) < jnp.full((1, 1, 1, 1), 40))

    def states_of(part: jax.Array, some: Slots) -> jax.Array:
        return decoder(jnp.asarray([[5]]), jnp.asarray([[0]]), some, caches, decoder.cross_kv(part))[0]

    states = states_of(audio, slots)
    np.testing.assert_array_equal(states, states_of(audio.at[:, 40:].set(9.0), slots))
    assert not np.allclose(states, states_of(audio.at[:, 39:].set(9.0), slots))
    short = slots._replace(audio_mask=jnp.ones((1, 1, 1, 40), bool))
    np.testing.assert_allclose(states, states_of(audio[:, :40], short), atol=1e-5)


def test_the_caches_of_a_prompt_are_those_of_its_steps(decoder: Decoder) -> None:
    audio = random_audio(decoder, 2, N_POSITIONS)
    caches = decoder.init_caches(2, N_SLOTS)
    for step in range(4):
        _, caches = run(decoder, TEXTS[:, step : step + 1], [step] * 2, caches, audio)
    everything = jnp.ones((2, 1, 1, N_POSITIONS), bool)
    prompt = decoder.prompt_caches(TEXTS, decoder.cross_kv(audio), everything)
    for whole, part in zip(jax.tree.leaves(caches), jax.tree.leaves(prompt), strict=True):
        np.testing.assert_allclose(whole[:, :, :4], part, atol=1e-5)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_each_row_fills_slots_of_its_own(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    new = jnp.arange(1.0, 1 + 3 * 2 * 2 * 5).reshape(3, 2, 2, 5)
    written = write_slots(jnp.zeros((3, 2, 9, 5)), new, jnp.asarray([0, 4, 7]))
    expected = np.zeros((3, 2, 9, 5))
    for row, first in enumerate((0, 4, 7)):
        expected[row, :, first : first + 2] = new[row]
    np.testing.assert_array_equal(written, expected)
