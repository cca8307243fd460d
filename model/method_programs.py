"""The programs of one decoding method: they put a window into a row of a batch, and advance all rows.

B is rows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from model.cache_sizes import MAX_PREFIX, n_slots
from model.compiled import Compiled
from model.decoder import CrossKV, Decoder, TextCaches
from model.layers import Weights
from model.program_store import ProgramStore
from model.rows import RowInput, Written
from model.rules import DecodingRules
from model.sharding import DATA, batch_sharding, cross_kv_sharding
from model.text_cache import positions_mask, resized, room, room_sizes, with_prompt

Tree = TypeVar("Tree")

METHODS = SAMPLING, BEAM_SEARCH, BEST_OF = "sampling", "beam_search", "best_of"
"""The decoding methods, each a module of `model`; the first is greedy at temperature 0."""


class BatchKind(NamedTuple):
    """Properties of a batch, besides its number of rows, on which its programs depend.

    Attributes:
        length: samples that a row has room for, one of `model.window_length.DECODED_LENGTHS`.
        n_before: tokens of previous text that a row has room for.
        method: how rows are decoded, one of `METHODS`.
    """

    length: int
    n_before: int
    method: str


class Batch(NamedTuple):
    """The arrays of a batch: cross-attention K/V cache, and the state of the method; axis 0 is rows."""

    cross_kv: CrossKV
    state: Any


class EncodedWindow(NamedTuple):
    """The window `row` of a cross-attention K/V cache."""

    cross_kv: CrossKV
    row: int


class Method(Protocol):
    """A decoding method: one of the modules named in `METHODS`. Axis 0 of a state's arrays is rows."""

    __name__: str

    def n_hypotheses(self, rules: DecodingRules) -> int:
        """Returns the number of tokens that a row runs in each step."""

    def new_state(self, row: RowInput, caches: TextCaches, rules: DecodingRules) -> Any:  # noqa: ANN401
        """Returns the state of a window before its first token, as a batch of one row."""

    def write_next(
        self,
        decoder: Decoder,
        cross_kv: CrossKV,
        state: Any,  # noqa: ANN401
        rules: DecodingRules,
    ) -> Any:  # noqa: ANN401
        """Runs one step of each row."""

    def written(self, state: Any, rules: DecodingRules) -> Written:  # noqa: ANN401
        """Returns the tokens written so far."""


class MethodPrograms:
    """The programs of one decoding method, each compiled for each shape when it first occurs.

    Args:
        method: the decoding method.
        decoder_of: returns the decoder with these weights.
        rules: the decoding rules.
        mesh: the devices.
        store: the store of compiled programs; None if JAX's own cache keeps them.
    """

    def __init__(
        self,
        method: Method,
        decoder_of: Callable[[Weights], Decoder],
        rules: DecodingRules,
        mesh: Mesh,
        store: ProgramStore | None,
    ) -> None:
        self._mesh, self._rules = mesh, rules
        self._k = k = method.n_hypotheses(rules)

        def new_row(
            weights: Weights, cross_kv: CrossKV, source: jax.Array, given: RowInput, n_tokens: int
        ) -> Batch:
            decoder, n_before = decoder_of(weights), given.prompt.shape[0]
            audio = row_of(cross_kv, source)
            audio_mask = positions_mask(given.n_positions[None], jax.tree.leaves(audio)[0].shape[2])
            caches = decoder.init_caches(1, n_slots(n_before, k, n_tokens))
            if n_before:
                caches = with_prompt(caches, decoder.prompt_caches(given.prompt[None], audio, audio_mask))
            return Batch(audio, method.new_state(given, caches, rules))

        def insert(
            weights: Weights, batch: Batch, cross_kv: CrossKV, numbers: jax.Array, given: RowInput
        ) -> Batch:
            source, row = numbers
            new = new_row(weights, cross_kv, source, given, self._room(batch.state))
            return self._placed(_with_row(batch, new, row, is_split=mesh.shape[DATA] > 1))

        def advance(
            weights: Weights, batch: Batch, limits: jax.Array
        ) -> tuple[Batch, Written, jax.Array, jax.Array]:
            decoder, (max_active, max_steps) = decoder_of(weights), limits
            n_tokens = self._room(batch.state)

            def should_continue(carry: tuple[jax.Array, Any]) -> jax.Array:
                n_steps, state = carry
                rows = state.rows
                has_room = ~(rows.is_active & (rows.n_run >= n_tokens)).any()
                is_going = (rows.is_active.sum() > max_active) & (n_steps < max_steps) & has_room
                return jnp.asarray(is_going)

            def write_next(carry: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
                n_steps, state = carry
                return n_steps + 1, method.write_next(decoder, batch.cross_kv, state, rules)

            n_steps, state = jax.lax.while_loop(should_continue, write_next, (jnp.int32(0), batch.state))
            placed = self._placed(Batch(batch.cross_kv, state))
            return placed, method.written(state, rules), n_steps, state.rows.n_run

        name = method.__name__
        self._new_row = new_row
        self._shapes: dict[tuple[int, int], Batch] = {}
        # The arrays of a batch are updated in place instead of in a copy.
        self._insert = Compiled(insert, f"{name}.insert", store, donate_argnums=1)
        self._resized = Compiled(
            lambda caches, length: self._placed(resized(caches, length)), f"{name}.resized", store, static=1
        )
        self._advance = Compiled(advance, f"{name}.advance", store, donate_argnums=1)

    def empty(self, weights: Weights, cross_kv: CrossKV, n_rows: int, n_before: int) -> Batch:
        """Returns a batch without windows, for windows whose cache is like `cross_kv`."""
        length = jax.tree.leaves(cross_kv)[0].shape[2]
        shapes = self._shapes.get((length, n_before))
        if shapes is None:  # tracing takes a tenth of a second
            given, sizes = empty_input(n_before, self._rules, self._k), self.room_sizes(n_before)
            new_row = functools.partial(self._new_row, n_tokens=sizes[0])
            shapes = jax.eval_shape(new_row, weights, cross_kv, jnp.int32(0), given)
            self._shapes[length, n_before] = shapes
        batch: Batch = jax.tree.map(
            lambda x: jnp.zeros((n_rows, *x.shape[1:]), x.dtype, device=self._sharding(x.ndim)), shapes
        )
        return batch

    def insert(
        self, weights: Weights, batch: Batch, encoded: EncodedWindow, row: int, given: RowInput
    ) -> Batch:
        """Returns the batch with a window in one of its rows; see `Programs.insert`."""
        numbers = np.asarray([encoded.row, row], np.int32)
        inserted: Batch = self._insert(weights, batch, encoded.cross_kv, numbers, given)
        return inserted

    def advance(
        self, weights: Weights, batch: Batch, max_active: int, max_steps: int
    ) -> tuple[Batch, Written]:
        """Writes tokens; see `Programs.advance`."""
        while True:
            limits = np.asarray([max_active, max_steps], np.int32)
            batch, *results = self._advance(weights, batch, limits)
            written, n_steps, n_run = jax.device_get(results)
            batch = self._fitted(batch, int(n_run.max(where=written.is_active, initial=0)))
            max_steps -= int(n_steps)
            if max_steps <= 0 or written.is_active.sum() <= max_active:
                return batch, written

    def room_sizes(self, n_before: int) -> tuple[int, ...]:
        """Returns the numbers of tokens that caches may have room for; see `model.text_cache.room_sizes`."""
        return room_sizes(n_before, self._k, self._rules)

    def with_room(self, batch: Batch, n_tokens: int) -> Batch:
        """Returns the batch with caches that have room for `n_tokens` tokens, one of `room_sizes`."""
        state = batch.state
        if n_tokens == self._room(state):
            return batch
        caches = self._resized(state.caches, n_slots(state.rows.n_before, self._k, n_tokens))
        return Batch(batch.cross_kv, state._replace(caches=caches))

    def _fitted(self, batch: Batch, n_run: int) -> Batch:
        """Returns the batch with room for the token `n_run`, and little more than twice as many."""
        sizes, now = self.room_sizes(batch.state.rows.n_before), self._room(batch.state)
        if n_run >= now:
            return self.with_room(batch, next(size for size in sizes if size > n_run))
        return self.with_room(batch, next((size for size in sizes if 2 * n_run <= size < now), now))

    def _room(self, state: Any) -> int:  # noqa: ANN401  # of any method
        return room(state.caches, state.rows, self._k, self._rules)

    def _sharding(self, rank: int) -> NamedSharding:
        """Returns the sharding of an array: those of rank 4 are caches, [B, H, S, K]."""
        return cross_kv_sharding(self._mesh) if rank == 4 else batch_sharding(self._mesh)

    def _placed(self, arrays: Tree) -> Tree:
        if self._mesh.size == 1:
            return arrays
        placed: Tree = jax.tree.map(
            lambda x: jax.lax.with_sharding_constraint(x, self._sharding(x.ndim)), arrays
        )
        return placed


def empty_input(n_before: int, rules: DecodingRules, n_hypotheses: int = 1) -> RowInput:
    """Returns an input of zeros, with room for `n_before` tokens of previous text."""
    zero = jnp.int32(0)
    return RowInput(
        prefix=jnp.zeros(MAX_PREFIX, jnp.int32),
        n_prefix=zero,
        language=zero,
        timestamps=jnp.bool_(False),
        last_start=zero,
        last_time=zero,
        temperature=jnp.float32(0),
        uniforms=jnp.zeros((n_hypotheses, rules.max_new_tokens)),
        prompt=jnp.zeros(n_before, jnp.int32),
        n_prompt=zero,
        n_positions=zero,
    )


def row_of(tree: Tree, row: jax.Array) -> Tree:
    """Returns one row of arrays, with a first axis of length 1."""
    found: Tree = jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, row, keepdims=True), tree)
    return found


def padded_positions(cross_kv: CrossKV, length: int) -> CrossKV:
    """Returns a cross-attention K/V cache padded to `length` positions."""

    def padded(x: jax.Array) -> jax.Array:
        n_missing = length - x.shape[2] if x.shape[2] > 1 else 0  # a scale has one for all positions
        return jnp.pad(x, ((0, 0), (0, 0), (0, n_missing), (0, 0)))

    wide: CrossKV = jax.tree.map(padded, cross_kv)
    return wide


def _with_row(batch: Batch, new: Batch, row: jax.Array, *, is_split: bool) -> Batch:
    """Returns a batch with one row replaced; `is_split`: whether the rows are on several devices."""

    def replaced(whole: jax.Array, part: jax.Array) -> jax.Array:
        if not is_split:
            updated: jax.Array = jax.lax.dynamic_update_slice_in_dim(whole, part, row, axis=0)
            return updated
        # Each device rewrites its own rows; a slice of an array that is split would be gathered.
        is_row = jnp.arange(whole.shape[0]) == row
        return jnp.where(is_row.reshape(-1, *[1] * (whole.ndim - 1)), part, whole)

    written: Batch = jax.tree.map(replaced, batch, new)
    return written
