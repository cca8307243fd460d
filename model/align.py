"""Which part of the audio each token was written of: the cross-attention of the alignment heads.

As in `find_alignment` of `whisper/timing.py` (openai/whisper), for a batch of windows in one program. What
it returns goes to `model.word_times`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from model.alignment_heads import Heads
from model.config import MAX_TEXT_POSITIONS, N_POSITIONS
from model.network import AudioMemory, Decoder
from model.tokens import SAMPLES_PER_TIMESTAMP

_LENGTHS = (64, 128, 240, MAX_TEXT_POSITIONS)  # what texts are padded to, so that XLA compiles few shapes
_BLOCK = 16  # tokens whose logits are held at once; divides each of the lengths
_REACH = 3  # positions on each side that the median is taken of: 7 in all


class TokenBatch(NamedTuple):
    """What is read along with the audio.

    Attributes:
        tokens: int32[B, T], prompt, text and `<|endoftext|>` of each window, and more of the last as padding.
        n_text: int32[B], tokens of the text alone.
        n_positions: int32[B], positions of 20 ms that each window has without its padding, 1 to 1,500.
    """

    tokens: jax.Array | NDArray[np.int32]
    n_text: jax.Array | NDArray[np.int32]
    n_positions: jax.Array | NDArray[np.int32]


class Alignment(NamedTuple):
    """How strongly each token of text points at each moment, and how likely it was.

    Row i is the i-th token of the text; the row after the last is the end of text, those after it padding.

    Attributes:
        weights: float32[B, T - n_prompt, 1500], how many standard deviations above a moment's mean over the
            tokens, averaged over heads; zero after the window's end.
        token_probs: float32[B, T - n_prompt], probability of the token given those before it, among all
            tokens of text; zero for the end of text.
    """

    weights: jax.Array | NDArray[np.float32]
    token_probs: jax.Array | NDArray[np.float32]


def pack(
    prompt_and_text: Sequence[tuple[Sequence[int], Sequence[int]]],
    n_samples: Sequence[int],
    end_of_text: int,
    batch_size: int,
) -> TokenBatch:
    """Token ids as arrays of the shortest length that `align` is compiled for that holds them all.

    Args:
        prompt_and_text: a window each: `<|startoftranscript|>`, language and task if any and
            `<|notimestamps|>`; and the ids of its text, without timestamps, which may be none.
        n_samples: length of each window without padding.
        end_of_text: id of `<|endoftext|>`.
        batch_size: rows of the result; those that no window needs repeat the first.

    Raises:
        ValueError: a text is longer than the decoder can read.
    """
    rows = [[*prompt, *text, end_of_text] for prompt, text in prompt_and_text]
    longest = max(map(len, rows))
    if longest > MAX_TEXT_POSITIONS:
        raise ValueError(
            f"{longest} tokens cannot be aligned: the decoder reads {MAX_TEXT_POSITIONS} at most"
        )
    spare = batch_size - len(rows)
    tokens = np.full((batch_size, min(n for n in _LENGTHS if n >= longest)), end_of_text, np.int32)
    for padded, row in zip(tokens, rows + [rows[0]] * spare, strict=True):
        padded[: len(row)] = row
    n_text = [len(text) for _, text in prompt_and_text]
    n_positions = [max(1, n // SAMPLES_PER_TIMESTAMP) for n in n_samples]
    return TokenBatch(
        tokens,
        np.array(n_text + n_text[:1] * spare, np.int32),
        np.array(n_positions + n_positions[:1] * spare, np.int32),
    )


def align(
    decoder: Decoder,
    memory: AudioMemory,
    batch: TokenBatch,
    *,
    heads: Heads,
    n_prompt: int,
    end_of_text: int,
) -> Alignment:
    """Reads each window's text along with its audio.

    Args:
        decoder: the network.
        memory: what the decoder remembers of the audio.
        batch: what `pack` made.
        heads: (layer, head) of the cross-attention to go by; at least one.
        n_prompt: tokens before the text.
        end_of_text: id of `<|endoftext|>`; every id below it is text.
    """
    tokens = jnp.asarray(batch.tokens)
    n_tokens, n_positions = n_prompt + jnp.asarray(batch.n_text) + 1, jnp.asarray(batch.n_positions)
    x = decoder.embedding(tokens) + decoder.positions[...][: tokens.shape[1]]
    weights = jnp.zeros((*tokens.shape, N_POSITIONS), jnp.float32)
    for index, (layer, audio) in enumerate(zip(decoder.layers, memory, strict=True)):
        chosen = [head for at, head in heads if at == index]
        x, scores = layer.read(x, audio, chosen)
        if chosen:
            weights += _pointing(scores, n_tokens, n_positions).sum(axis=1)
    # A token was written by the state of the one before it: that is what attends to its sound.
    before = slice(n_prompt - 1, -1)
    probs = _probs_of_next(decoder, decoder.norm(x), tokens, end_of_text)
    return Alignment(weights[:, before] / len(heads), probs[:, before])


def _pointing(scores: jax.Array, n_tokens: jax.Array, n_positions: jax.Array) -> jax.Array:
    """Attention scores [B, H, T, S] as standard deviations above the mean over tokens, smoothed in time."""
    _, _, length, n_slots = scores.shape
    is_token = (jnp.arange(length) < n_tokens[:, None])[:, None, :, None]
    is_heard = (jnp.arange(n_slots) < n_positions[:, None])[:, None, None, :]
    weights = jax.nn.softmax(jnp.where(is_heard, scores, -jnp.inf), axis=-1)
    mean = weights.mean(axis=2, keepdims=True, where=is_token)
    deviation = weights.std(axis=2, keepdims=True, where=is_token)
    standardised = jnp.where(deviation > 0, (weights - mean) / jnp.where(deviation > 0, deviation, 1), 0)
    return jnp.where(is_heard, _median_filter(standardised, n_positions), 0)


def _median_filter(x: jax.Array, n_positions: jax.Array) -> jax.Array:
    """Median of 7 along the last axis of [B, H, T, S], mirrored at 0 and at each window's last position.

    Windows of 3 positions or fewer stay as they are, as in `whisper/timing.py`.
    """
    n = n_positions[:, None, None, None]
    padding = [(0, 0)] * 3 + [(_REACH, _REACH)]
    padded = jnp.pad(x, padding, mode="reflect")
    slot = jnp.arange(padded.shape[-1]) - _REACH
    for beyond in range(_REACH):
        mirrored = jnp.take_along_axis(x, jnp.maximum(n - 2 - beyond, 0), axis=-1)
        padded = jnp.where(slot == n + beyond, mirrored, padded)
    neighbours = [padded[..., shift : shift + x.shape[-1]] for shift in range(2 * _REACH + 1)]
    return jnp.where(n > _REACH, _median_of_7(neighbours), x)


def _median_of_7(values: Sequence[jax.Array]) -> jax.Array:
    """Element by element, by comparing and exchanging: sorting along an axis is many times slower in XLA."""
    sorted_so_far: list[jax.Array] = []
    for value in values:
        # Puts it in its place; of the values so far, only the 4 least can be the median of all 7.
        for index, other in enumerate(sorted_so_far):
            sorted_so_far[index] = jnp.minimum(other, value)
            value = jnp.maximum(other, value)
        sorted_so_far.append(value)
        del sorted_so_far[_REACH + 1 :]
    return sorted_so_far[_REACH]


def _probs_of_next(decoder: Decoder, states: jax.Array, tokens: jax.Array, end_of_text: int) -> jax.Array:
    """Probability of the token after each of [B, T] among all tokens of text, float32[B, T]."""
    following = jnp.roll(tokens, -1, axis=1)

    def of_block(first: jax.Array) -> jax.Array:
        logits = decoder.logits(jax.lax.dynamic_slice_in_dim(states, first, _BLOCK, axis=1))
        logits = jnp.where(jnp.arange(logits.shape[-1]) < end_of_text, logits, -jnp.inf)
        ids = jax.lax.dynamic_slice_in_dim(following, first, _BLOCK, axis=1)
        chosen = jnp.take_along_axis(logits, ids[..., None], axis=-1)[..., 0]
        return jnp.exp(chosen - jax.nn.logsumexp(logits, axis=-1))

    # In blocks: the logits of all tokens would take half a gigabyte.
    blocks: jax.Array = jax.lax.map(of_block, jnp.arange(0, tokens.shape[1], _BLOCK))
    return blocks.swapaxes(0, 1).reshape(tokens.shape)
