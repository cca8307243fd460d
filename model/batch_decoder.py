"""Decodes a batch to its end, and removes windows that have finished, so that none waits for the longest.

A compiled loop has a fixed number of rows. So when half of them have finished, the loop stops, and the other
rows continue in a batch of half the size. B is windows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from model.compiled import Compiled
from model.decoder import CrossKV, Decoder
from model.layers import Weights
from model.prefill import Decoded, DecodeInput, PrefillResult
from model.program_store import ProgramStore
from model.rules import DecodingRules

MIN_ROWS = 4
"""XLA has no fast matrix products for one or two rows."""


class Generated(NamedTuple):
    """The decoding of a batch, in numpy; see `Decoded` and `PrefillResult`."""

    tokens: NDArray[np.int32]
    n_tokens: NDArray[np.int32]
    sum_logprob: NDArray[np.float32]
    repeated: NDArray[np.bool_]
    no_speech_prob: NDArray[np.float32]
    language: NDArray[np.int32]
    language_logprobs: NDArray[np.float32]


class Method(Protocol):
    """A decoding method: `model.sampling` or `model.beam_search`. Axis 0 of a state's arrays is windows."""

    __name__: str

    def start(
        self, decoder: Decoder, cross_kv: CrossKV, decode_input: DecodeInput, rules: DecodingRules
    ) -> tuple[PrefillResult, Any]:
        """Runs the prefill and writes the first token."""

    def advance(
        self,
        decoder: Decoder,
        cross_kv: CrossKV,
        state: Any,  # noqa: ANN401
        rules: DecodingRules,
        *,
        max_unfinished: int,
    ) -> Any:  # noqa: ANN401
        """Writes one token after the other, until at most `max_unfinished` windows are unfinished."""

    def is_finished(self, state: Any, rules: DecodingRules) -> jax.Array:  # noqa: ANN401
        """Returns a mask of the windows for which no more is written, bool[B]."""

    def finalize(self, state: Any, rules: DecodingRules) -> Decoded:  # noqa: ANN401
        """Returns the tokens written so far."""


class BatchDecoder:
    """A decoding method, compiled for each batch size when it first occurs.

    Args:
        method: the decoding method.
        decoder_of: returns the decoder with these weights.
        rules: the decoding rules.
        store: the store of compiled programs; None if JAX's own cache keeps them.
        shrinks: whether windows that have finished are removed. They are not over several devices, because
            rows would have to move between devices; nor on a CPU, because XLA rounds differently in a program
            of 4 rows than in one of 8, so the text of a window would depend on when its neighbours finish.
    """

    def __init__(
        self,
        method: Method,
        decoder_of: Callable[[Weights], Decoder],
        rules: DecodingRules,
        store: ProgramStore | None,
        *,
        shrinks: bool,
    ) -> None:
        self._shrinks = shrinks

        def start(
            weights: Weights, cross_kv: CrossKV, decode_input: DecodeInput
        ) -> tuple[PrefillResult, Any]:
            return method.start(decoder_of(weights), cross_kv, decode_input, rules)

        def advance(
            weights: Weights,
            cross_kv: CrossKV,
            state: Any,  # noqa: ANN401
            max_unfinished: int,
        ) -> tuple[Any, jax.Array, Decoded]:
            decoder = decoder_of(weights)
            state = method.advance(decoder, cross_kv, state, rules, max_unfinished=max_unfinished)
            return state, method.is_finished(state, rules), method.finalize(state, rules)

        name = method.__name__ if rules.timestamps else f"{method.__name__}.without_timestamps"
        self._start = Compiled(start, f"{name}.start", store)
        # The caches are part of the state; they are updated in place instead of in a copy.
        self._advance = Compiled(advance, f"{name}.advance", store, static=3, donate_argnums=2)
        self._select = Compiled(_select_rows, "select_rows", store)

    def __call__(self, weights: Weights, cross_kv: CrossKV, decode_input: DecodeInput) -> Generated:
        """Decodes a batch, given the cross-attention K/V cache of its audio."""
        prefill_result, state = self._start(weights, cross_kv, decode_input)
        rows = np.arange(decode_input.wanted.shape[0])
        result: list[NDArray[Any]] = []
        while True:
            max_unfinished = self._max_unfinished(len(rows))
            state, finished, decoded = self._advance(weights, cross_kv, state, max_unfinished)
            finished, decoded = jax.device_get((finished, decoded))
            result = result or [np.empty_like(array) for array in decoded]
            for whole, part in zip(result, decoded, strict=True):
                whole[rows] = part
            if finished.all():
                return Generated(*result, *jax.device_get(prefill_result))
            kept = np.flatnonzero(~finished)
            # Spare rows are filled with windows that have finished, which do not change any more.
            filled = np.concatenate([kept, np.flatnonzero(finished)[: max_unfinished - len(kept)]])
            state, cross_kv = self._select((state, cross_kv), jnp.asarray(filled, jnp.int32))
            rows = rows[filled]

    def _max_unfinished(self, size: int) -> int:
        """Returns half the batch size, to which a batch is to shrink; 0 if it keeps its size."""
        return size // 2 if self._shrinks and size // 2 >= MIN_ROWS else 0


def _select_rows(state: Any, rows: jax.Array) -> Any:  # noqa: ANN401
    """Returns the state of some windows. In slices: XLA's gather on a CPU is many times slower."""

    def of_array(x: jax.Array) -> jax.Array:
        if x.ndim == 0:
            return x
        slice_of = partial(jax.lax.dynamic_index_in_dim, x, keepdims=True)
        return jnp.concatenate([slice_of(rows[i]) for i in range(rows.shape[0])])

    return jax.tree.map(of_array, state)
