"""The network on a mesh: weights placed, and the programs that run on them compiled."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from model.align import Alignment, TokenBatch, align
from model.alignment_heads import heads_of
from model.beam import search
from model.checkpoint import Checkpoint, CheckpointError
from model.features import log_mel
from model.generate import Asked, Generated, generate
from model.network import Whisper
from model.rules import DecodingRules
from model.sharding import batch_sharding, weight_sharding

Weights = nnx.State[Any, Any]


class Programs:
    """Samples to encoded audio, and encoded audio to tokens, each compiled when it is first used.

    They are programs of their own, and the encoded audio stays on the devices between them: what one of them
    makes of it does not ask for it to be encoded again.

    Raises:
        CheckpointError: the weights cannot be read or do not fit the config.
    """

    def __init__(
        self, checkpoint: Checkpoint, rules: DecodingRules, dtype: np.dtype[Any], mesh: Mesh
    ) -> None:
        graph, self._weights = _load_network(checkpoint, dtype, mesh)
        n_mels, windows = checkpoint.config.n_mels, batch_sharding(mesh)

        def encode_audio(weights: Weights, samples: jax.Array) -> jax.Array:
            network = nnx.merge(graph, weights)
            encoded: jax.Array = network.encoder(log_mel(samples, n_mels).astype(dtype))
            return encoded

        def generate_tokens(weights: Weights, encoded: jax.Array, asked: Asked) -> Generated:
            return generate(nnx.merge(graph, weights).decoder, encoded, asked, rules)

        def search_tokens(weights: Weights, encoded: jax.Array, asked: Asked) -> Generated:
            return search(nnx.merge(graph, weights).decoder, encoded, asked, rules)

        heads = heads_of(checkpoint.config, checkpoint.decoding)

        def align_tokens(weights: Weights, encoded: jax.Array, batch: TokenBatch) -> Alignment:
            decoder = nnx.merge(graph, weights).decoder
            n_prompt, end_of_text = rules.n_before_text, rules.special.end_of_text
            return align(decoder, encoded, batch, heads=heads, n_prompt=n_prompt, end_of_text=end_of_text)

        self._encode = jax.jit(encode_audio, out_shardings=windows)
        self._generate = jax.jit(generate_tokens)
        self._search = jax.jit(search_tokens)
        self._align = jax.jit(align_tokens)

    def encode(self, samples: jax.Array) -> jax.Array:
        """Encodes float32[B, 480000] at 16 kHz to [B, 1500, d_model]."""
        encoded: jax.Array = self._encode(self._weights, samples)
        return encoded

    def generate(self, encoded: jax.Array, asked: Asked) -> Generated:
        """Decodes [B, 1500, d_model] greedily or by sampling; see `model.generate.generate`."""
        generated: Generated = self._generate(self._weights, encoded, asked)
        return generated

    def search(self, encoded: jax.Array, asked: Asked) -> Generated:
        """Decodes [B, 1500, d_model] by beam search; see `model.beam.search`."""
        generated: Generated = self._search(self._weights, encoded, asked)
        return generated

    def align(self, encoded: jax.Array, batch: TokenBatch) -> Alignment:
        """Says when in [B, 1500, d_model] each token was written of; see `model.align.align`."""
        alignment: Alignment = self._align(self._weights, encoded, batch)
        return alignment


def _load_network(
    checkpoint: Checkpoint, dtype: np.dtype[Any], mesh: Mesh
) -> tuple[nnx.GraphDef[Whisper], Weights]:
    """The network's structure, and its weights placed on the mesh.

    The network is built without memory, and each weight goes from the file to its place on the mesh before
    the next is read.
    """
    shapes = nnx.eval_shape(lambda: Whisper(checkpoint.config, dtype=dtype, rngs=nnx.Rngs(0)))
    graph, state = nnx.split(shapes)
    expected = {".".join(map(str, path)): path for path, _ in nnx.to_flat_state(state)}
    variables = dict(nnx.to_flat_state(state))
    loaded = {}
    for name, weight in checkpoint.weights():
        path = expected.get(name)
        if path is None or variables[path].shape != weight.shape:
            wanted = "none" if path is None else str(variables[path].shape)
            raise CheckpointError(
                f"model {checkpoint.name!r} has a weight {name!r} of shape {weight.shape}, "
                f"where its config asks for {wanted}"
            )
        placed = jax.device_put(np.asarray(weight, dtype), weight_sharding(mesh, name))
        loaded[path] = variables[path].replace(placed)
    missing = sorted(name for name, path in expected.items() if path not in loaded)
    if missing:
        raise CheckpointError(f"model {checkpoint.name!r} lacks the weights {', '.join(missing[:5])}")
    return graph, nnx.from_flat_state(loaded)
