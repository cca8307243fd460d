"""Alignment of text tokens with audio by the cross-attention of the alignment heads.

Follows `find_alignment` of `whisper/timing.py` (openai/whisper), for a batch of windows in one program.
`model.word_times` turns its result into word times.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from model.alignment_heads import Heads
from model.config import MAX_TEXT_POSITIONS
from model.decoder import CrossKV, Decoder
from model.text_cache import positions_mask
from model.tokens import SAMPLES_PER_TIMESTAMP

# Texts are padded to one of these lengths, so that XLA compiles few shapes.
_LENGTHS = (64, 128, 240, MAX_TEXT_POSITIONS)
_BLOCK = 16  # tokens whose logits are in memory at once; divides each of the lengths
_MEDIAN_REACH = 3  # positions on each side of the median filter: 7 in all


class TokenBatch(NamedTuple):
    """Texts to align, as arrays.

    Attributes:
        tokens: int32[B, T], prompt, text and `<|endoftext|>` of each window, padded with `<|endoftext|>`.
        n_text: int32[B], number of text tokens.
        n_positions: int32[B], encoder positions (20 ms each) of each window without padding, 1 to S.
        n_encoded: int32[B], the same with the padding that the network was given.
    """

    tokens: jax.Array | NDArray[np.int32]
    n_text: jax.Array | NDArray[np.int32]
    n_positions: jax.Array | NDArray[np.int32]
    n_encoded: jax.Array | NDArray[np.int32]


class Alignment(NamedTuple):
    """Attention of each text token to each encoder position, and each token's probability.

    S is the encoder positions of the windows.
    Row i is the i-th text token; the row after the last one is `<|endoftext|>`, later rows are padding.

    Attributes:
        weights: float32[B, T - n_prompt, S], attention weights as standard deviations above each
            position's mean over the tokens, averaged over heads; zero after the window's end.
        token_probs: float32[B, T - n_prompt], probability of the token given the previous ones, among all
            text tokens; zero for `<|endoftext|>`.
    """

    weights: jax.Array | NDArray[np.float32]
    token_probs: jax.Array | NDArray[np.float32]


def pack(
    prefix: Sequence[int], text: Sequence[int], end_of_text: int, *, n_samples: int, n_encoded: int
) -> TokenBatch:
    """Packs a text into arrays of one row, of the shortest compiled length that fits it.

    Args:
        prefix: the tokens before it (`<|startoftranscript|>`, language and task if any, `<|notimestamps|>`).
        text: ids of the text without timestamps, which may be empty.
        end_of_text: id of `<|endoftext|>`.
        n_samples: length of the window without padding.
        n_encoded: the same with the padding that the network was given.

    Raises:
        ValueError: a text is longer than the decoder's context.
    """
    ids = [*prefix, *text, end_of_text]
    if len(ids) > MAX_TEXT_POSITIONS:
        raise ValueError(
            f"{len(ids)} tokens cannot be aligned: the decoder reads {MAX_TEXT_POSITIONS} at most"
        )
    tokens = np.full((1, min(n for n in _LENGTHS if n >= len(ids))), end_of_text, np.int32)
    tokens[0, : len(ids)] = ids
    numbers = (len(text), max(1, n_samples // SAMPLES_PER_TIMESTAMP), n_encoded // SAMPLES_PER_TIMESTAMP)
    return TokenBatch(tokens, *(np.array([number], np.int32) for number in numbers))


def align(
    decoder: Decoder,
    cross_kv: CrossKV,
    batch: TokenBatch,
    *,
    heads: Heads,
    n_prompt: int,
    end_of_text: int,
    added_text: Sequence[int] = (),
) -> Alignment:
    """Aligns each window's text with its audio, in one forward pass of the decoder.

    Args:
        decoder: the network.
        cross_kv: the cross-attention K/V cache of the windows.
        batch: result of `pack`.
        heads: alignment heads, (layer, head) of the cross-attention; at least one.
        n_prompt: tokens before the text.
        end_of_text: id of `<|endoftext|>`; every smaller id is text.
        added_text: larger ids that are text.
    """
    tokens = jnp.asarray(batch.tokens)
    n_tokens, n_positions = n_prompt + jnp.asarray(batch.n_text) + 1, jnp.asarray(batch.n_positions)
    x = decoder.embedding(tokens) + decoder.positions[...][: tokens.shape[1]]
    n_slots = jax.tree.leaves(cross_kv)[0].shape[2]
    audio_mask = positions_mask(jnp.asarray(batch.n_encoded), n_slots)
    weights: jax.Array | float = 0.0
    for index, (layer, layer_cross_kv) in enumerate(zip(decoder.layers, cross_kv, strict=True)):
        layer_heads = [head for layer_index, head in heads if layer_index == index]
        x, scores = layer.forward_with_scores(x, layer_cross_kv, audio_mask, layer_heads)
        if layer_heads:
            weights += _standardised_weights(scores, n_tokens, n_positions).sum(axis=1)
    # A token is predicted at the position before it: that row attends to the token's audio.
    before = slice(n_prompt - 1, -1)
    is_text = np.arange(decoder.n_vocab) < end_of_text
    is_text[list(added_text)] = True
    probs = _probs_of_next(decoder, decoder.norm(x), tokens, is_text)
    return Alignment(jnp.asarray(weights)[:, before] / len(heads), probs[:, before])


def _standardised_weights(scores: jax.Array, n_tokens: jax.Array, n_positions: jax.Array) -> jax.Array:
    """Attention weights of scores [B, H, T, S], standardised over tokens and median-filtered in time."""
    _, _, length, n_slots = scores.shape
    is_token = (jnp.arange(length) < n_tokens[:, None])[:, None, :, None]
    is_audio = (jnp.arange(n_slots) < n_positions[:, None])[:, None, None, :]
    weights = jax.nn.softmax(jnp.where(is_audio, scores, -jnp.inf), axis=-1)
    mean = weights.mean(axis=2, keepdims=True, where=is_token)
    deviation = weights.std(axis=2, keepdims=True, where=is_token)
    standardised = jnp.where(deviation > 0, (weights - mean) / jnp.where(deviation > 0, deviation, 1), 0)
    return jnp.where(is_audio, _median_filter(standardised, n_positions), 0)


def _median_filter(x: jax.Array, n_positions: jax.Array) -> jax.Array:
    """Median of 7 along the last axis of [B, H, T, S], reflected at 0 and at each window's last position.

    Windows of 3 positions or fewer are not filtered, as in `whisper/timing.py`.
    """
    n = n_positions[:, None, None, None]
    padding = [(0, 0)] * 3 + [(_MEDIAN_REACH, _MEDIAN_REACH)]
    padded = jnp.pad(x, padding, mode="reflect")
    slot = jnp.arange(padded.shape[-1]) - _MEDIAN_REACH
    for beyond in range(_MEDIAN_REACH):
        reflected = jnp.take_along_axis(x, jnp.maximum(n - 2 - beyond, 0), axis=-1)
        padded = jnp.where(slot == n + beyond, reflected, padded)
    neighbours = [padded[..., shift : shift + x.shape[-1]] for shift in range(2 * _MEDIAN_REACH + 1)]
    return jnp.where(n > _MEDIAN_REACH, _median_of_7(neighbours), x)


def _median_of_7(values: Sequence[jax.Array]) -> jax.Array:
    """Elementwise median by compare-and-exchange: a sort along an axis is many times slower in XLA."""
    sorted_so_far: list[jax.Array] = []
    for value in values:
        # Insertion sort; of the values so far, only the 4 smallest can be the median of all 7.
        for index, other in enumerate(sorted_so_far):
            sorted_so_far[index] = jnp.minimum(other, value)
            value = jnp.maximum(other, value)
        sorted_so_far.append(value)
        del sorted_so_far[_MEDIAN_REACH + 1 :]
    return sorted_so_far[_MEDIAN_REACH]


def _probs_of_next(
    decoder: Decoder, states: jax.Array, tokens: jax.Array, is_text: NDArray[np.bool_]
) -> jax.Array:
    """Probability of each next token of [B, T], among the text tokens bool[V], float32[B, T]."""
    following = jnp.roll(tokens, -1, axis=1)

    def block_probs(first: jax.Array) -> jax.Array:
        logits = decoder.logits(jax.lax.dynamic_slice_in_dim(states, first, _BLOCK, axis=1))
        logits = jnp.where(is_text, logits, -jnp.inf)
        ids = jax.lax.dynamic_slice_in_dim(following, first, _BLOCK, axis=1)
        chosen = jnp.take_along_axis(logits, ids[..., None], axis=-1)[..., 0]
        return jnp.exp(chosen - jax.nn.logsumexp(logits, axis=-1))

    # In blocks, since the logits of all tokens would take half a gigabyte.
    blocks: jax.Array = jax.lax.map(block_probs, jnp.arange(0, tokens.shape[1], _BLOCK))
    return blocks.swapaxes(0, 1).reshape(tokens.shape)
