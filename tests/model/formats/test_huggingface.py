import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from model.formats.huggingface import network_name, read_config, read_decoding, read_weights, weight_files
from tests.support.tiny_model import TINY_CONFIG, tiny_weights


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("model.encoder.conv1.weight", "encoder.conv1.kernel"),
        ("model.encoder.embed_positions.weight", "encoder.positions"),
        ("model.encoder.layers.10.self_attn.k_proj.weight", "encoder.layers.10.attention.key.kernel"),
        ("model.encoder.layers.1.self_attn_layer_norm.bias", "encoder.layers.1.attention_norm.bias"),
        ("model.encoder.layer_norm.weight", "encoder.norm.scale"),
        ("model.decoder.embed_tokens.weight", "decoder.embedding.embedding"),
        ("model.decoder.layers.0.self_attn.out_proj.bias", "decoder.layers.0.self_attention.out.bias"),
        (
            "model.decoder.layers.0.encoder_attn.q_proj.weight",
            "decoder.layers.0.cross_attention.query.kernel",
        ),
        (
            "model.decoder.layers.0.encoder_attn_layer_norm.weight",
            "decoder.layers.0.cross_attention_norm.scale",
        ),
        ("model.decoder.layers.0.final_layer_norm.weight", "decoder.layers.0.mlp_norm.scale"),
        ("model.decoder.layers.0.fc2.weight", "decoder.layers.0.mlp.down.kernel"),
    ],
)
def test_network_names(theirs: str, ours: str) -> None:
    assert network_name(theirs) == ours


def test_a_sharded_checkpoint_reads_as_one(tmp_path: Path, tiny_folder: Path) -> None:
    weights = tiny_weights()
    names = sorted(weights)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, members in shards.items():
        save_file({name: weights[name] for name in members}, tmp_path / file)
    index = {"weight_map": {name: file for file, members in shards.items() for name in members}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    sharded = dict(read_weights(weight_files(tmp_path)))
    single = dict(read_weights(weight_files(tiny_folder)))
    assert sharded.keys() == single.keys()
    for name, weight in single.items():
        np.testing.assert_array_equal(sharded[name], weight)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_is_preserved(tmp_path: Path, dtype: type) -> None:
    save_file({"model.encoder.conv1.bias": np.ones(4, dtype)}, tmp_path / "model.safetensors")
    ((_, weight),) = read_weights(weight_files(tmp_path))
    assert weight.dtype == dtype


def test_the_copy_of_the_embedding_is_skipped(tmp_path: Path) -> None:
    save_file({"proj_out.weight": np.ones((2, 2), np.float32)}, tmp_path / "model.safetensors")
    assert list(read_weights(weight_files(tmp_path))) == []


def test_config_of_another_model_raises() -> None:
    with pytest.raises(ValueError, match="model_type 'bert'"):
        read_config({"model_type": "bert"})


def test_config_without_a_size_raises() -> None:
    with pytest.raises(ValueError, match="lacks 'd_model'"):
        read_config({k: v for k, v in TINY_CONFIG.items() if k != "d_model"})


def test_generation_config_overrides_config() -> None:
    decoding = read_decoding(
        {"suppress_tokens": [1], "begin_suppress_tokens": [220]},
        {"suppress_tokens": [2, 3], "alignment_heads": [[3, 1]]},
    )
    assert decoding.suppress_ids == (2, 3)
    assert decoding.begin_suppress_ids == (220,)
    assert decoding.alignment_heads == ((3, 1),)
