import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from model.formats.huggingface import (
    has_projection,
    is_table,
    network_name,
    read_config,
    read_decoding,
    read_tensors,
    read_weights,
    weight_files,
)
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
        ("proj_out.weight", "decoder.projection.embedding"),
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


EMBEDDING, PROJECTION = "model.decoder.embed_tokens.weight", "proj_out.weight"


def tables(folder: Path, **stored: float) -> list[Path]:
    """Files of an embedding and a projection of these values, in one shard each."""
    names = {"embedding": EMBEDDING, "projection": PROJECTION}
    for kind, value in stored.items():
        save_file({names[kind]: np.full((2, 2), value, np.float32)}, folder / f"{kind}.safetensors")
    return [folder / f"{kind}.safetensors" for kind in sorted(stored)]


def test_a_projection_that_equals_the_embedding_is_stored_once(tmp_path: Path) -> None:
    files = tables(tmp_path, embedding=1, projection=1)
    for said in ({}, {"tie_word_embeddings": True}, {"tie_word_embeddings": False}):
        assert not has_projection(read_tensors(files, is_table), said)
    assert [name for name, _ in read_weights(files)] == ["decoder.embedding.embedding"]


def test_a_projection_that_differs_from_the_embedding_is_a_weight_of_its_own(tmp_path: Path) -> None:
    files = tables(tmp_path, embedding=1, projection=2)
    for said in ({}, {"tie_word_embeddings": True}, {"tie_word_embeddings": False}):
        assert has_projection(read_tensors(files, is_table), said)
    weights = dict(read_weights(files, has_projection=True))
    assert weights["decoder.projection.embedding"].max() == 2
    assert weights["decoder.embedding.embedding"].max() == 1


def test_where_one_of_the_two_is_stored_the_config_decides(tmp_path: Path) -> None:
    only = tables(tmp_path, projection=2)
    assert not has_projection(read_tensors(only, is_table), {})
    ((name, weight),) = read_weights(only)
    assert (name, weight.max()) == ("decoder.embedding.embedding", 2)
    embedding = read_tensors(tables(tmp_path, embedding=1))
    assert has_projection(embedding, {"tie_word_embeddings": False})  # and is missing


@pytest.mark.parametrize(
    ("values", "generation", "suppressed"),
    [
        ({}, {}, ()),
        ({"suppress_tokens": [5]}, {}, (5,)),
        ({"suppress_tokens": [5]}, {"suppress_tokens": [6]}, (6,)),
        ({"suppress_tokens": [5]}, {"suppress_tokens": []}, ()),
        ({"suppress_tokens": [5]}, {"suppress_tokens": None}, ()),
        ({"suppress_tokens": None}, {}, ()),
    ],
)
def test_an_empty_list_of_suppressed_tokens_suppresses_none(
    values: dict[str, Any], generation: dict[str, Any], suppressed: tuple[int, ...]
) -> None:
    assert read_decoding(values, generation).suppress_ids == suppressed


def test_what_generation_config_tells_of_the_tokens() -> None:
    generation = {
        "is_multilingual": True,
        "lang_to_id": {"<|ru|>": 9, "<|en|>": 8},
        "task_to_id": {"transcribe": 11, "translate": 10},
        "no_timestamps_token_id": 15,
        "language": "<|ru|>",
        "task": "transcribe",
        "forced_decoder_ids": [[1, None], [2, 11]],
        "max_initial_timestamp_index": 1,
    }
    found = read_decoding({"forced_decoder_ids": [[1, 8], [2, 11]], "language": "en"}, generation)
    assert found.is_multilingual is True
    assert dict(found.languages) == {"ru": 9, "en": 8}
    assert dict(found.task_ids) == {"transcribe": 11, "translate": 10}
    assert found.no_timestamps_id == 15
    assert (found.max_initial_timestamp, found.start_id) == (1, None)
    assert read_decoding({"decoder_start_token_id": 7}, generation).start_id == 7
    assert (found.language, found.task, found.forced_ids) == ("<|ru|>", "transcribe", (None, 11))
    older = read_decoding({"forced_decoder_ids": [[1, 8], [2, 11]]}, {"forced_decoder_ids": None})
    assert older.forced_ids == (8, 11)


def test_forced_tokens_that_do_not_follow_the_start() -> None:
    assert read_decoding({"forced_decoder_ids": [[2, 11]]}, {}).forced_ids == ()
    with pytest.raises(ValueError, match="not in a row"):
        read_decoding({"forced_decoder_ids": [[1, 8], [3, 11]]}, {})


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
