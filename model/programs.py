"""The network on a mesh: its weights, and the compiled programs that run on them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from numpy.typing import NDArray

from model import beam_search, best_of, sampling
from model.align import Alignment, TokenBatch, align
from model.alignment_heads import heads_of
from model.checkpoint import Checkpoint, CheckpointError
from model.compiled import Compiled, small_buffers
from model.decoder import CrossKV, Decoder
from model.layers import Weights
from model.log_mel import log_mel
from model.method_programs import (
    METHODS,
    Batch,
    BatchKind,
    EncodedWindow,
    MethodPrograms,
    padded_positions,
    row_of,
)
from model.network import Whisper
from model.precision import Precision, quantize_weight
from model.program_store import ProgramStore
from model.rows import RowInput, Written
from model.rules import DecodingRules
from model.sharding import batch_sharding, cross_kv_sharding, split_by_windows, weight_sharding
from model.tokens import SAMPLES_PER_TIMESTAMP
from model.window_length import decoded_length

# The axis that a product sums over, by the last part of a weight's name.
_MATRICES = {"kernel": 0, "embedding": 1}


class Programs:
    """The programs that encode windows, decode the rows of a batch, and time the words.

    Each is compiled when it is first used. The arrays of a batch stay on the devices between them, so that
    the audio of a window is encoded once for all.

    Args:
        checkpoint: the network's config and weights.
        rules: the decoding rules.
        precision: precision of the weights and products.
        mesh: the devices.
        folder: folder of compiled programs, which are kept between runs (`model.program_store`); None where
            JAX has a cache of its own.

    Raises:
        CheckpointError: the weights cannot be read or do not fit the config.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        rules: DecodingRules,
        precision: Precision,
        mesh: Mesh,
        folder: Path | None = None,
    ) -> None:
        heads = heads_of(
            checkpoint.config,
            checkpoint.decoding,
            multilingual=bool(rules.language_ids),
            name=checkpoint.name,
        )
        store = None
        if folder is not None:
            store = ProgramStore(folder, repr((checkpoint.config, heads, rules, precision)))
            store.load_ahead()  # while the weights are read
        graph, self._weights = _load_network(checkpoint, precision, mesh)
        self._mesh = mesh
        n_mels = checkpoint.config.n_mels

        def encode_audio(weights: Weights, samples: jax.Array) -> jax.Array:
            network = nnx.merge(graph, weights)
            encoded: jax.Array = network.encoder(log_mel(samples, n_mels).astype(precision.dtype))
            return encoded

        def cross_kv_of(weights: Weights, samples: jax.Array) -> CrossKV:
            cross_kv = nnx.merge(graph, weights).decoder.cross_kv(encode_audio(weights, samples))
            return padded_positions(cross_kv, decoded_length(samples.shape[1]) // SAMPLES_PER_TIMESTAMP)

        def decoder_of(weights: Weights) -> Decoder:
            return nnx.merge(graph, weights).decoder

        def align_row(weights: Weights, cross_kv: CrossKV, row: jax.Array, batch: TokenBatch) -> Alignment:
            return align(
                decoder_of(weights),
                row_of(cross_kv, row),
                batch,
                heads=heads,
                n_prompt=rules.n_before_text,
                end_of_text=rules.special.end_of_text,
                added_text=rules.special.added_text,
            )

        by_window, of_cross_kv = batch_sharding(mesh), cross_kv_sharding(mesh)
        encode, encode_to_kv = split_by_windows(encode_audio, mesh), split_by_windows(cross_kv_of, mesh)
        options = small_buffers()
        self._encode = Compiled(encode, "encode", store, out_shardings=by_window, compiler_options=options)
        self._cross_kv = Compiled(
            encode_to_kv, "cross_kv", store, out_shardings=of_cross_kv, compiler_options=options
        )
        self._align = Compiled(align_row, "align", store)
        self._methods = {
            name: MethodPrograms(method, decoder_of, rules, mesh, store)
            for name, method in zip(METHODS, (sampling, beam_search, best_of), strict=True)
        }

    def encode(self, samples: NDArray[np.float32]) -> jax.Array:
        """Returns the encoder's output for float32[B, n] at 16 kHz, [B, n / 320, d_model]."""
        encoded: jax.Array = self._encode(self._weights, self._put(samples))
        return encoded

    def cross_kv(self, samples: NDArray[np.float32]) -> CrossKV:
        """Encodes float32[B, n] at 16 kHz to the cross-attention K/V cache of each window.

        It is padded to one of `model.window_length.DECODED_LENGTHS`.
        """
        cross_kv: CrossKV = self._cross_kv(self._weights, self._put(samples))
        return cross_kv

    def empty(self, kind: BatchKind, n_rows: int, encoded: CrossKV) -> Batch:
        """Returns the arrays of a batch without windows; `encoded` is the cache of windows like its own."""
        return self._methods[kind.method].empty(self._weights, encoded, n_rows, kind.n_before)

    def insert(
        self, kind: BatchKind, batch: Batch, encoded: EncodedWindow, row: int, given: RowInput
    ) -> Batch:
        """Returns the batch with a window in one of its rows; the arrays of `batch` are used up."""
        return self._methods[kind.method].insert(self._weights, batch, encoded, row, given)

    def advance(
        self, kind: BatchKind, batch: Batch, *, max_active: int, max_steps: int
    ) -> tuple[Batch, Written]:
        """Writes tokens until at most `max_active` rows are active, or `max_steps` steps were made.

        Returns:
            The batch, for which the arrays of the old one are used up, and what is written, in numpy.
        """
        return self._methods[kind.method].advance(self._weights, batch, max_active, max_steps)

    def room_sizes(self, kind: BatchKind) -> tuple[int, ...]:
        """Returns the numbers of tokens that caches may have room for, the smallest first."""
        return self._methods[kind.method].room_sizes(kind.n_before)

    def with_room(self, kind: BatchKind, batch: Batch, n_tokens: int) -> Batch:
        """Returns the batch with caches of another of the `room_sizes`; see `MethodPrograms.with_room`."""
        return self._methods[kind.method].with_room(batch, n_tokens)

    def align(self, batch: Batch, row: int, tokens: TokenBatch) -> Alignment:
        """Aligns a text with the audio of a row, in numpy; see `model.align.align`."""
        alignment: Alignment = jax.device_get(
            self._align(self._weights, batch.cross_kv, np.asarray(row, np.int32), tokens)
        )
        return alignment

    def _put(self, array: jax.Array | NDArray[Any]) -> jax.Array:
        placed: jax.Array = jax.device_put(array, batch_sharding(self._mesh))
        return placed


def _load_network(
    checkpoint: Checkpoint, precision: Precision, mesh: Mesh
) -> tuple[nnx.GraphDef[Whisper], Weights]:
    """Returns the network's structure, and its weights placed on the mesh.

    The network is built without arrays, and each weight is moved from the file to the mesh before the next
    one is read.
    """
    shapes = nnx.eval_shape(lambda: Whisper(checkpoint.config, precision=precision))
    graph, state = nnx.split(shapes)
    variables = dict(nnx.to_flat_state(state))
    expected = {".".join(map(str, path)): path for path in variables}
    loaded = {}
    for name, weight in checkpoint.weights():
        for own_name, part in _stored(name, weight, precision):
            path = expected.get(own_name)
            if path is None or variables[path].shape != part.shape:
                wanted = "none" if path is None else str(variables[path].shape)
                raise CheckpointError(
                    f"model {checkpoint.name!r} has a weight {name!r} of shape {weight.shape}, "
                    f"where its config asks for {wanted}"
                )
            part = np.asarray(part, variables[path].dtype)
            placed = jax.device_put(part, weight_sharding(mesh, own_name))
            loaded[path] = variables[path].replace(placed)
    missing = sorted(name for name, path in expected.items() if path not in loaded)
    if missing:
        raise CheckpointError(f"model {checkpoint.name!r} lacks the weights {', '.join(missing[:5])}")
    return graph, nnx.from_flat_state(loaded)


def _stored(
    name: str, weight: NDArray[np.generic], precision: Precision
) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """Yields a weight of the checkpoint as the network stores it: matrices perhaps in 8 bits with a scale."""
    axis = _MATRICES.get(name.rpartition(".")[2])
    side = precision.for_encoder if name.startswith("encoder.") else precision.for_decoder
    if axis is None or not side.has_scales or weight.ndim != 2:
        yield name, weight
        return
    values, scale = quantize_weight(weight, axis=axis)
    yield name, values
    yield f"{name}_scale", scale
