import json
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from model.checkpoint import Checkpoint, CheckpointError, find_checkpoint
from model.interface import ModelOptions
from model.precision import EncoderAttention, Precision
from model.programs import Programs
from model.rules import DecodingRules, make_rules
from model.sharding import make_mesh
from model.tokens import WhisperTokenizer
from tests.support.lowering import largest_scores, lowered, with_cudnn
from tests.support.tiny_model import save_huggingface, tiny_weights


def rules_of(checkpoint: Checkpoint) -> DecodingRules:
    special = WhisperTokenizer(checkpoint.tokenizer).special
    return make_rules(special, checkpoint.decoding, ModelOptions(beam_size=1), multilingual=True)


def encode(checkpoint: Checkpoint, dtype: str) -> NDArray[np.float32]:
    precision = Precision(np.dtype(jnp.dtype(dtype)))
    programs = Programs(checkpoint, rules_of(checkpoint), precision, make_mesh())
    samples = np.random.default_rng(0).standard_normal((2, 480_000)).astype(np.float32) * 0.1
    encoded = programs.encode(samples)
    assert encoded.dtype == dtype
    return np.asarray(encoded, np.float32)


def test_the_cache_of_a_short_window_is_padded_to_the_room_of_a_row(tiny_checkpoint: Checkpoint) -> None:
    precision = Precision(np.dtype(np.float32))
    programs = Programs(tiny_checkpoint, rules_of(tiny_checkpoint), precision, make_mesh())
    samples = np.random.default_rng(0).standard_normal((1, 64_000)).astype(np.float32) * 0.1
    ((key, value),) = programs.cross_kv(samples)
    for array in (key, value):
        assert array.shape == (1, 2, 700, 16)  # 14 s, of which 4 s are encoded
        assert np.asarray(array)[:, :, :200].any(axis=(0, 1, 3)).all()
        assert not np.asarray(array)[:, :, 200:].any()


def test_the_encoder_of_a_card_is_lowered_with_cudnn(
    tiny_checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the whole program, mapped over devices: XLA's partitioner would not know the call of cuDNN."""
    precision = Precision(np.dtype(np.float16), attention=EncoderAttention.CUDNN)
    programs = Programs(tiny_checkpoint, rules_of(tiny_checkpoint), precision, make_mesh())
    samples = jax.ShapeDtypeStruct((8, 480_000), np.float32)
    with with_cudnn(monkeypatch):
        program = lowered(programs._cross_kv._jitted, programs._weights, samples, platform="cuda")
    assert program.count("custom_call @__cudnn$fmhaSoftmax") == 1
    assert "CustomSPMDPartitioning" not in program
    assert largest_scores(program, 1500) == 0


@pytest.mark.parametrize(("dtype", "error"), [("bfloat16", 0.05), ("float16", 0.01)])
def test_half_precision_is_close_to_float32(tiny_checkpoint: Checkpoint, dtype: str, error: float) -> None:
    exact, rounded = encode(tiny_checkpoint, "float32"), encode(tiny_checkpoint, dtype)
    assert np.linalg.norm(rounded - exact) / np.linalg.norm(exact) < error


def test_a_weight_of_another_shape_is_named(tmp_path: Path) -> None:
    weights = tiny_weights()
    weights["model.encoder.conv1.bias"] = np.zeros(7, np.float32)
    checkpoint = find_checkpoint(str(save_huggingface(tmp_path / "odd", weights)))
    with pytest.raises(CheckpointError, match=r"'encoder\.conv1\.bias' of shape \(7,\).* asks for \(32,\)"):
        encode(checkpoint, "float32")


def test_a_weight_that_is_missing_is_named(tmp_path: Path) -> None:
    folder = save_huggingface(tmp_path / "odd", tiny_weights())
    weights = tiny_weights()
    del weights["model.decoder.layer_norm.bias"]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"lacks the weights decoder\.norm\.bias"):
        encode(find_checkpoint(str(folder)), "float32")


def test_a_surplus_weight_is_named(tmp_path: Path) -> None:
    weights = {**tiny_weights(), "model.decoder.layers.0.adapter.weight": np.zeros((2, 2), np.float32)}
    folder = save_huggingface(tmp_path / "odd", weights)
    with pytest.raises(CheckpointError, match=r"'decoder\.layers\.0\.adapter\.kernel'.* asks for none"):
        encode(find_checkpoint(str(folder)), "float32")


def test_a_projection_that_is_said_to_be_stored_and_is_missing_is_named(tmp_path: Path) -> None:
    folder = save_huggingface(tmp_path / "odd", tiny_weights())
    values = json.loads((folder / "config.json").read_text()) | {"tie_word_embeddings": False}
    (folder / "config.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=r"lacks the weights decoder\.projection\.embedding"):
        encode(find_checkpoint(str(folder)), "float32")


def test_a_config_with_more_layers_than_weights(tiny_checkpoint: Checkpoint) -> None:
    deeper = replace(tiny_checkpoint, config=replace(tiny_checkpoint.config, encoder_layers=2))
    with pytest.raises(CheckpointError, match=r"lacks the weights encoder\.layers\.1"):
        encode(deeper, "float32")
