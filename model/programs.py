"""The network on a mesh: weights placed, and the programs that run on them compiled."""

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
from model.batch_decoder import BatchDecoder, Generated
from model.checkpoint import Checkpoint, CheckpointError
from model.compiled import Compiled
from model.log_mel import log_mel
from model.network import AudioMemory, Decoder, Weights, Whisper
from model.precision import Precision, quantize_weight
from model.prefill import Asked
from model.program_store import ProgramStore
from model.rules import DecodingRules
from model.sharding import DATA, batch_sharding, memory_sharding, split_by_windows, weight_sharding

_MATRICES = {"kernel": 0, "embedding": 1}  # the axis that a product sums over, by the end of a weight's name


class Programs:
    """Samples to what the decoder remembers of them, and that to tokens, each compiled when it is first used.

    They are programs of their own, and the memory stays on the devices between them: what one of them makes
    of it does not ask for the audio to be encoded again.

    Args:
        kept: the folder where compiled programs are kept between runs (`model.program_store`); None where
            JAX sees to that.

    Raises:
        CheckpointError: the weights cannot be read or do not fit the config.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        rules: DecodingRules,
        precision: Precision,
        mesh: Mesh,
        kept: Path | None = None,
    ) -> None:
        heads = heads_of(checkpoint.config, checkpoint.decoding)
        store = None
        if kept is not None:
            store = ProgramStore(kept, repr((checkpoint.config, heads, rules, precision)))
            store.load_ahead()  # while the weights are read
        graph, self._weights = _load_network(checkpoint, precision, mesh)
        self._mesh = mesh
        n_mels = checkpoint.config.n_mels

        def encode_audio(weights: Weights, samples: jax.Array) -> jax.Array:
            network = nnx.merge(graph, weights)
            encoded: jax.Array = network.encoder(log_mel(samples, n_mels).astype(precision.dtype))
            return encoded

        def remember_audio(weights: Weights, samples: jax.Array) -> AudioMemory:
            return nnx.merge(graph, weights).decoder.remember(encode_audio(weights, samples))

        def decoder_of(weights: Weights) -> Decoder:
            return nnx.merge(graph, weights).decoder

        def align_tokens(weights: Weights, memory: AudioMemory, batch: TokenBatch) -> Alignment:
            n_prompt, end_of_text = rules.n_before_text, rules.special.end_of_text
            return align(
                decoder_of(weights), memory, batch, heads=heads, n_prompt=n_prompt, end_of_text=end_of_text
            )

        by_window, remembered = batch_sharding(mesh), memory_sharding(mesh)
        encode, remember = split_by_windows(encode_audio, mesh), split_by_windows(remember_audio, mesh)
        self._encode = Compiled(encode, "encode", store, out_shardings=by_window)
        self._remember = Compiled(remember, "remember", store, out_shardings=remembered)
        self._join = Compiled(_join, "join", store, out_shardings=remembered)
        # On a CPU a program of fewer rows rounds in other ways: what is heard would depend on what ends when.
        shrinks = mesh.shape[DATA] == 1 and jax.default_backend() != "cpu"
        self._generate = BatchDecoder(sampling, decoder_of, rules, store, shrinks=shrinks)
        self._search = BatchDecoder(beam_search, decoder_of, rules, store, shrinks=shrinks)
        self._align = Compiled(align_tokens, "align", store)

    def encode(self, samples: NDArray[np.float32]) -> jax.Array:
        """The encoder's output for float32[B, 480000] at 16 kHz, [B, 1500, d_model]."""
        encoded: jax.Array = self._encode(self._weights, self._put(samples))
        return encoded

    def remember(self, samples: NDArray[np.float32], n_wanted: int | None = None) -> AudioMemory:
        """Encodes float32[B, 480000] at 16 kHz to what the decoder remembers of each window.

        Of the windows after the first `n_wanted`, which pad the batch, there is anything that was at hand.
        """
        parts: list[AudioMemory] = []
        for first, part in self._parts(samples):
            idle = n_wanted is not None and first >= n_wanted
            parts.append(parts[-1] if idle else self._remember(self._weights, self._put(part)))
        memory: AudioMemory = parts[0] if len(parts) == 1 else self._join(parts)
        return memory

    def generate(self, memory: AudioMemory, asked: Asked) -> Generated:
        """Decodes greedily or by sampling; see `model.sampling`."""
        return self._generate(self._weights, memory, self._placed(asked))

    def search(self, memory: AudioMemory, asked: Asked) -> Generated:
        """Decodes by beam search; see `model.beam_search`."""
        return self._search(self._weights, memory, self._placed(asked))

    def align(self, memory: AudioMemory, batch: TokenBatch) -> Alignment:
        """Says when each token was written of; see `model.align.align`."""
        alignment: Alignment = self._align(self._weights, memory, jax.tree.map(self._put, batch))
        return alignment

    def _parts(self, samples: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """What to encode at once, and the first window of it.

        On a CPU one window for each device: its activations stay in the cache, which made the encoder half
        as fast again. An accelerator is better filled with the whole batch.
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

    def _placed(self, asked: Asked) -> Asked:
        placed: Asked = jax.tree.map(self._put, asked)
        return placed


def _join(parts: list[AudioMemory]) -> AudioMemory:
    """Memories of n windows each, one a device, as the memory of all: a window stays on its device."""

    def joined(*arrays: jax.Array) -> jax.Array:
        return jnp.stack(arrays, axis=1).reshape(-1, *arrays[0].shape[1:])

    memory: AudioMemory = jax.tree.map(joined, *parts)
    return memory


def _load_network(
    checkpoint: Checkpoint, precision: Precision, mesh: Mesh
) -> tuple[nnx.GraphDef[Whisper], Weights]:
    """The network's structure, and its weights placed on the mesh.

    The network is built without memory, and each weight goes from the file to its place on the mesh before
    the next is read.
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
    """A weight of the checkpoint as the network has it: matrices perhaps in 8 bits and with a scale."""
    axis = _MATRICES.get(name.rpartition(".")[2])
    side = precision.of_encoder if name.startswith("encoder.") else precision.of_decoder
    if axis is None or not side.has_scales or weight.ndim != 2:
        yield name, weight
        return
    values, scale = quantize_weight(weight, axis=axis)
    yield name, values
    yield f"{name}_scale", scale
