"""The same weights in every format: the same logits, and so the same ids.

The logits are those of what follows each token of a random text, the ids the likeliest there. Of quantised
files, they are those of the numbers that the file stands for.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.typing import NDArray

from model.checkpoint import Checkpoint, find_checkpoint
from model.config import DecodingConfig
from model.formats.gguf import open_gguf
from model.formats.huggingface import network_layout, network_name
from model.formats.mlx import sinusoids
from model.layers import Weights as NetworkWeights
from model.log_mel import log_mel
from model.network import Whisper
from model.programs import _load_network
from model.sharding import make_mesh
from tests.support.decode_helpers import FLOAT32, whole_text_logits
from tests.support.ggml_files import gguf_bytes
from tests.support.quantised import QUANTISED, q8_0_blocks, quantised_blocks
from tests.support.tiny_formats import D_MLP, DIMS, OF_HUGGING_FACE, OF_OPENAI, openai_weights, save_reference
from tests.support.tiny_model import D_MODEL, N_MELS, Weights, save_ctranslate2, tiny_weights
from tests.support.transcribers import noise

FORMATS = {**OF_HUGGING_FACE, **OF_OPENAI, "ctranslate2": save_ctranslate2}
LARGEST_ERRORS = {
    "ggml q8_0": 0.15, "ggml q4_0": 2, "mlx, 4 bits": 2, "ctranslate2 int8": 0.15, "ctranslate2 int16": 0.1,
}  # fmt: skip
TEXT = np.random.default_rng(1).integers(0, 300, (1, 24)).astype(np.int32)


@functools.partial(jax.jit, static_argnums=0)
def text_logits(
    graph: nnx.GraphDef[Whisper], weights: NetworkWeights, samples: jax.Array, tokens: jax.Array
) -> jax.Array:
    """Logits float32[1, T, V] of what follows each token of a text int32[1, T]."""
    network = nnx.merge(graph, weights)
    encoded = network.encoder(log_mel(samples, N_MELS))
    return whole_text_logits(network.decoder, tokens, network.decoder.cross_kv(encoded))


def logits_of(checkpoint: Checkpoint) -> NDArray[np.float32]:
    """Logits float32[T, V] of what follows each token of `TEXT`."""
    graph, weights = _load_network(checkpoint, FLOAT32, make_mesh())
    return np.asarray(text_logits(graph, weights, jnp.asarray(noise(30))[None], jnp.asarray(TEXT)))[0]


def check_same(found: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    """The same logits, and the same likeliest ids."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert found.argmax(axis=-1).tolist() == expected.argmax(axis=-1).tolist()


@pytest.fixture(scope="module")
def weights() -> Weights:
    """Weights that float16 holds exactly, with the positions of the encoder that MLX computes."""
    found = {
        name: weight.astype(np.float16).astype(np.float32)
        for name, weight in tiny_weights(d_mlp=D_MLP).items()
    }
    return {**found, "model.encoder.embed_positions.weight": sinusoids(1500, DIMS["n_audio_state"])}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, weights: Weights) -> NDArray[np.float32]:
    """What safetensors in float32 give."""
    folder = save_reference(tmp_path_factory.mktemp("float32"), weights)
    logits = logits_of(find_checkpoint(str(folder)))
    assert logits.std() > 0.5
    assert len(set(logits.argmax(axis=-1).tolist())) > 5
    return logits


def in_float16(weights: Weights) -> Weights:
    """The same numbers in half of the bytes; positions, which are others, stay."""
    return {name: w if "positions" in name else w.astype(np.float16) for name, w in weights.items()}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("is_half", [False, True], ids=["float32", "float16"])
def test_float_formats_give_the_same_logits(
    tmp_path: Path,
    weights: Weights,
    reference: NDArray[np.float32],
    kind: str,
    is_half: bool,
) -> None:
    saved = FORMATS[kind](tmp_path / "model", in_float16(weights) if is_half else weights)
    check_same(logits_of(find_checkpoint(str(saved))), reference)


@pytest.mark.parametrize("kind", QUANTISED)
def test_quantised_formats_give_the_logits_of_their_numbers(
    tmp_path: Path, weights: Weights, reference: NDArray[np.float32], kind: str
) -> None:
    values = QUANTISED[kind](tmp_path / "model", weights)
    logits = logits_of(find_checkpoint(str(tmp_path / "model")))
    check_same(logits, logits_of(find_checkpoint(str(save_reference(tmp_path / "reference", values)))))
    assert 1e-3 < np.abs(logits - reference).max() < LARGEST_ERRORS[kind]


@pytest.mark.parametrize("is_openai", [False, True], ids=["transformers", "openai"])
@pytest.mark.parametrize("quantised", [False, True], ids=["float32", "q8_0"])
def test_gguf_gives_the_same_logits(tmp_path: Path, is_openai: bool, quantised: bool) -> None:
    """With heads of 64, which GGUF does not name, and without a tokenizer."""
    weights = {
        name: np.tile(weight, [2 if size == D_MODEL else 1 for size in weight.shape])
        for name, weight in tiny_weights(d_mlp=96).items()
    }
    blocks = quantised_blocks(weights, q8_0_blocks) if quantised else {}
    values = {**weights, **{name: block.values for name, block in blocks.items()}}
    renamed = openai_weights if is_openai else dict
    kept = {name: weight for name, weight in renamed(weights).items() if name not in renamed(blocks)}
    content = gguf_bytes(kept, {}, {n: (b.values.shape, b.kind, b.data) for n, b in renamed(blocks).items()})
    (tmp_path / "model.gguf").write_bytes(content)
    model = open_gguf(tmp_path / "model.gguf")

    def expected() -> Iterator[tuple[str, NDArray[np.generic]]]:
        for name, weight in values.items():
            yield network_name(name), network_layout(network_name(name), weight)

    found, reference = (
        logits_of(Checkpoint(model.config, DecodingConfig(), (), tmp_path, read, "model"))
        for read in (model.read_weights, expected)
    )
    check_same(found, reference)
