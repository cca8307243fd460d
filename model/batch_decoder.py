"""Decodes a batch to its end, and lets windows go that have finished: none waits for the longest.

The loop of a compiled program has as many rows as it was compiled for. So when half of them have finished it
is left, the others move to a batch of half the size, and go on there. B is windows.
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
from model.network import AudioMemory, Decoder, Weights
from model.prefill import Asked, Opening, Written
from model.program_store import ProgramStore
from model.rules import DecodingRules

LEAST_ROWS = 4
"""XLA has no fast products of a row or two."""


class Generated(NamedTuple):
    """What was written for each window of a batch; see `Written` and `Opening`, here of numpy."""

    tokens: NDArray[np.int32]
    n_tokens: NDArray[np.int32]
    sum_logprob: NDArray[np.float32]
    looped: NDArray[np.bool_]
    no_speech_prob: NDArray[np.float32]
    language: NDArray[np.int32]
    language_logprobs: NDArray[np.float32]


class Method(Protocol):
    """A decoding method: `model.sampling` or `model.beam_search`. A state's arrays begin with windows."""

    __name__: str

    def start(
        self, decoder: Decoder, memory: AudioMemory, asked: Asked, rules: DecodingRules
    ) -> tuple[Opening, Any]:
        """Reads the prompts and writes the first token."""

    def advance(
        self,
        decoder: Decoder,
        memory: AudioMemory,
        state: Any,  # noqa: ANN401
        rules: DecodingRules,
        *,
        n_left: int,
    ) -> Any:  # noqa: ANN401
        """Writes on, until no more than `n_left` windows are unfinished."""

    def is_finished(self, state: Any, rules: DecodingRules) -> jax.Array:  # noqa: ANN401
        """Which windows nothing more is written for, bool[B]."""

    def written(self, state: Any, rules: DecodingRules) -> Written:  # noqa: ANN401
        """What there is of each window."""


class BatchDecoder:
    """A method of decoding, compiled for each size of batch when that is first met.

    Args:
        method: how to write.
        decoder_of: makes the decoder of its weights.
        rules: what may be written.
        store: where compiled programs are kept.
        shrinks: whether windows that have finished are let go. Over several devices they are not: the
            others would have to move between these. Nor on a CPU: XLA rounds in a program of 4 rows in other
            ways than in one of 8, so what is heard of a window would depend on when its neighbours finished.
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

        def start(weights: Weights, memory: AudioMemory, asked: Asked) -> tuple[Opening, Any]:
            return method.start(decoder_of(weights), memory, asked, rules)

        def advance(
            weights: Weights,
            memory: AudioMemory,
            state: Any,  # noqa: ANN401
            n_left: int,
        ) -> tuple[Any, jax.Array, Written]:
            state = method.advance(decoder_of(weights), memory, state, rules, n_left=n_left)
            return state, method.is_finished(state, rules), method.written(state, rules)

        self._start = Compiled(start, f"{method.__name__}.start", store)
        # The caches belong to the state and are written in place, instead of to a copy.
        self._advance = Compiled(advance, f"{method.__name__}.advance", store, static=3, donate_argnums=2)
        self._take = Compiled(_take, "take", store)

    def __call__(self, weights: Weights, memory: AudioMemory, asked: Asked) -> Generated:
        """Decodes a batch over what is remembered of its audio."""
        opening, state = self._start(weights, memory, asked)
        rows = np.arange(asked.wanted.shape[0])
        result: list[NDArray[Any]] = []
        while True:
            n_left = self._n_left(len(rows))
            state, finished, written = self._advance(weights, memory, state, n_left)
            finished, part = jax.device_get((finished, written))
            result = result or [np.empty_like(array) for array in part]
            for whole, now in zip(result, part, strict=True):
                whole[rows] = now
            if finished.all():
                return Generated(*result, *jax.device_get(opening))
            kept = np.flatnonzero(~finished)
            # One that has finished fills a row that nobody needs: it stays as it is.
            filled = np.concatenate([kept, np.flatnonzero(finished)[: n_left - len(kept)]])
            state, memory = self._take((state, memory), jnp.asarray(filled, jnp.int32))
            rows = rows[filled]

    def _n_left(self, size: int) -> int:
        """The size that a batch is to be halved to, once no more are unfinished; 0 if it is to stay."""
        return size // 2 if self._shrinks and size // 2 >= LEAST_ROWS else 0


def _take(state: Any, rows: jax.Array) -> Any:  # noqa: ANN401
    """Some windows of a state. In slices: XLA's gather on a CPU is many times slower."""

    def of_array(x: jax.Array) -> jax.Array:
        if x.ndim == 0:
            return x
        slice_of = partial(jax.lax.dynamic_index_in_dim, x, keepdims=True)
        return jnp.concatenate([slice_of(rows[i]) for i in range(rows.shape[0])])

    return jax.tree.map(of_array, state)
