"""The network on a mesh: its weights, and the compiled programs that run on them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from numpy.typing import NDArray

from model import beam_search, sampling
from model.align import Alignment, TokenBatch, align
from model.alignment_heads import heads_of
from model.batch_decoder import BatchDecoder, Generated, Method
from model.checkpoint import Checkpoint, CheckpointError
from model.compiled import Compiled, small_buffers
from model.decoder import CrossKV, Decoder
from model.layers import Weights
from model.log_mel import log_mel
from model.network import Whisper
from model.precision import Precision, quantize_weight
from model.prefill import DecodeInput
from model.program_store import ProgramStore
from model.rules import DecodingRules
from model.sharding import DATA, batch_sharding, cross_kv_sharding, split_by_windows, weight_sharding

# The axis that a product sums over, by the last part of a weight's name.
_MATRICES = {"kernel": 0, "embedding": 1}


class Programs:
    """The programs from samples to the cross-attention K/V cache, and from that to tokens and their times.

    Each is compiled when it is first used. The cache stays on the devices between them, so that the audio is
    encoded once for all.

    Args:
        checkpoint: the network's config and weights.
        rules: decoding rules; each is compiled with and without timestamps, for the same weights.
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
        heads = heads_of(checkpoint.config, checkpoint.decoding)
        rules = rules.with_timestamps(True)
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
            return nnx.merge(graph, weights).decoder.cross_kv(encode_audio(weights, samples))

        def decoder_of(weights: Weights) -> Decoder:
            return nnx.merge(graph, weights).decoder

        def align_tokens(weights: Weights, cross_kv: CrossKV, batch: TokenBatch) -> Alignment:
            n_prompt, end_of_text = rules.n_before_text, rules.special.end_of_text
            return align(
                decoder_of(weights), cross_kv, batch, heads=heads, n_prompt=n_prompt, end_of_text=end_of_text
            )

        by_window, of_cross_kv = batch_sharding(mesh), cross_kv_sharding(mesh)
        encode, encode_to_kv = split_by_windows(encode_audio, mesh), split_by_windows(cross_kv_of, mesh)
        options = small_buffers()
        self._encode = Compiled(encode, "encode", store, out_shardings=by_window, compiler_options=options)
        self._cross_kv = Compiled(
            encode_to_kv, "cross_kv", store, out_shardings=of_cross_kv, compiler_options=options
        )
        self._join = Compiled(_join, "join", store, out_shardings=of_cross_kv)
        self._align = Compiled(align_tokens, "align", store)
        # On a CPU a program of fewer rows rounds differently: a text would depend on when others finish.
        shrinks = mesh.shape[DATA] == 1 and jax.default_backend() != "cpu"

        def decoders(method: Method) -> dict[bool, BatchDecoder]:
            return {
                timestamps: BatchDecoder(
                    method, decoder_of, rules.with_timestamps(timestamps), store, shrinks=shrinks
                )
                for timestamps in (True, False)
            }

        self._generate, self._search = decoders(sampling), decoders(beam_search)

    def encode(self, samples: NDArray[np.float32]) -> jax.Array:
        """Returns the encoder's output for float32[B, 480000] at 16 kHz, [B, 1500, d_model]."""
        encoded: jax.Array = self._encode(self._weights, self._put(samples))
        return encoded

    def cross_kv(self, samples: NDArray[np.float32], n_wanted: int | None = None) -> CrossKV:
        """Encodes float32[B, 480000] at 16 kHz to the cross-attention K/V cache of each window.

        The entries of windows after the first `n_wanted`, which pad the batch, are arbitrary.
        """
        parts: list[CrossKV] = []
        for first, part in self._parts(samples):
            is_padding = n_wanted is not None and first >= n_wanted
            parts.append(parts[-1] if is_padding else self._cross_kv(self._weights, self._put(part)))
        cross_kv: CrossKV = parts[0] if len(parts) == 1 else self._join(parts)
        return cross_kv

    def generate(self, cross_kv: CrossKV, decode_input: DecodeInput, *, timestamps: bool = True) -> Generated:
        """Decodes greedily or by sampling; see `model.sampling`."""
        return self._generate[timestamps](self._weights, cross_kv, self._placed(decode_input))

    def search(self, cross_kv: CrossKV, decode_input: DecodeInput, *, timestamps: bool = True) -> Generated:
        """Decodes by beam search; see `model.beam_search`."""
        return self._search[timestamps](self._weights, cross_kv, self._placed(decode_input))

    def align(self, cross_kv: CrossKV, batch: TokenBatch) -> Alignment:
        """Aligns tokens with the audio; see `model.align.align`."""
        alignment: Alignment = self._align(self._weights, cross_kv, jax.tree.map(self._put, batch))
        return alignment

    def _parts(self, samples: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yields the windows to encode at once, each time with the index of the first one.

        On a CPU one window for each device: its activations stay in the processor's cache, which made the
        encoder 1.5 times as fast. On an accelerator the whole batch, which uses it best.
        """
        n_data = self._mesh.shape[DATA]
        if jax.default_backend() != "cpu":
            yield 0, samples
            return
        by_device = samples.reshape(n_data, -1, samples.shape[-1])
        yield from ((part, by_device[:, part]) for part in range(by_device.shape[1]))

    def _put(self, array: jax.Array | NDArray[Any]) -> jax.Array:
        placed: jax.Array = jax.device_put(array, batch_sharding(self._mesh))
        return placed

    def _placed(self, decode_input: DecodeInput) -> DecodeInput:
        placed: DecodeInput = jax.tree.map(self._put, decode_input)
        return placed


def _join(parts: list[CrossKV]) -> CrossKV:
    """Joins caches of n windows each, one per device, to that of all: a window stays on its device."""

    def joined(*arrays: jax.Array) -> jax.Array:
        return jnp.stack(arrays, axis=1).reshape(-1, *arrays[0].shape[1:])

    cross_kv: CrossKV = jax.tree.map(joined, *parts)
    return cross_kv


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
