"""The tiny Whisper of `tiny_model` in further formats, each as the program of its name writes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from flax.serialization import msgpack_serialize
from flax.traverse_util import unflatten_dict

from model.config import DecodingConfig
from tests.support.ggml_files import ggml_bytes
from tests.support.tiny_model import (
    D_MODEL,
    GENERATION_CONFIG,
    N_HEADS,
    N_MELS,
    N_VOCAB,
    TINY_CONFIG,
    Weights,
    save_huggingface,
    tiny_tokenizer,
)
from tests.support.torch_files import openai_pt, weights_zip

DIMS: Mapping[str, int] = {
    "n_mels": N_MELS, "n_audio_ctx": 1500, "n_audio_state": D_MODEL, "n_audio_head": N_HEADS,
    "n_audio_layer": 1, "n_vocab": N_VOCAB,
    "n_text_ctx": 448, "n_text_state": D_MODEL, "n_text_head": N_HEADS, "n_text_layer": 1,
}  # fmt: skip
D_MLP = 4 * D_MODEL  # as in each model of OpenAI
CONFIG: Mapping[str, object] = {**TINY_CONFIG, "encoder_ffn_dim": D_MLP, "decoder_ffn_dim": D_MLP}
_OPENAI_NAMES = (
    ("model.", ""), (".layers.", ".blocks."), (".self_attn_layer_norm", ".attn_ln"),
    (".encoder_attn_layer_norm", ".cross_attn_ln"), (".final_layer_norm", ".mlp_ln"),
    (".self_attn", ".attn"), (".encoder_attn", ".cross_attn"), (".q_proj", ".query"), (".k_proj", ".key"),
    (".v_proj", ".value"), (".out_proj", ".out"), (".fc1", ".mlp.0"), (".fc2", ".mlp.2"),
    ("encoder.layer_norm", "encoder.ln_post"), ("decoder.layer_norm", "decoder.ln"),
    ("embed_positions.weight", "positional_embedding"), ("embed_tokens", "token_embedding"),
)  # fmt: skip


def openai_weights(weights: Weights) -> Weights:
    """Returns weights under their names in openai/whisper."""
    renamed = {}
    for name, weight in weights.items():
        for old, new in _OPENAI_NAMES:
            name = name.replace(old, new)
        renamed[name] = weight
    return renamed


def save_pytorch(folder: Path, weights: Weights) -> Path:
    """`pytorch_model.bin`, as transformers wrote it until 2023."""
    _save_configs(folder)
    (folder / "pytorch_model.bin").write_bytes(weights_zip(weights))
    return folder


def save_sharded_pytorch(folder: Path, weights: Weights) -> Path:
    """The same in two shards."""
    _save_configs(folder)
    names = sorted(weights)
    index = {}
    for number, members in enumerate((names[::2], names[1::2]), 1):
        file = f"pytorch_model-{number:05}-of-00002.bin"
        (folder / file).write_bytes(weights_zip({name: weights[name] for name in members}))
        index.update(dict.fromkeys(members, file))
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
    return folder


def save_flax(folder: Path, weights: Weights) -> Path:
    """`flax_model.msgpack`, as transformers wrote it until version 5."""
    tree = {}
    for name, weight in weights.items():
        *modules, last = name.replace("proj_out", "lm_head").split(".")
        if weight.ndim == 3:
            last, weight = "kernel", weight.transpose(2, 1, 0)
        elif "embed" in modules[-1]:
            last = "embedding"
        elif last == "weight":
            last, weight = ("kernel", weight.T) if weight.ndim == 2 else ("scale", weight)
        tree[(*modules, last)] = np.ascontiguousarray(weight)
    nested = unflatten_dict(tree)  # type: ignore[no-untyped-call]  # flax types it in parts
    _save_configs(folder)
    (folder / "flax_model.msgpack").write_bytes(msgpack_serialize(nested))
    return folder


def save_openai(folder: Path, weights: Weights) -> Path:
    """A single `.pt` of openai/whisper, with a tokenizer beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.pt").write_bytes(openai_pt(openai_weights(weights), DIMS))
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def _save_configs(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "generation_config.json").write_text(json.dumps(GENERATION_CONFIG))
    tiny_tokenizer().save(str(folder / "tokenizer.json"))


def save_ggml(folder: Path, weights: Weights) -> Path:
    """A single `ggml-tiny.bin` of whisper.cpp, with a tokenizer beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ggml-tiny.bin").write_bytes(ggml_bytes(openai_weights(weights), DIMS))
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def save_mlx(folder: Path, weights: Weights) -> Path:
    """`weights.npz` of mlx-whisper, with a tokenizer beside it. It has no positions of the encoder."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {
        name.replace("mlp.0", "mlp1").replace("mlp.2", "mlp2"): weight.swapaxes(1, -1)
        if weight.ndim == 3
        else weight
        for name, weight in openai_weights(weights).items()
        if name != "encoder.positional_embedding"
    }
    np.savez(folder / "weights.npz", **arrays)  # type: ignore[arg-type]  # names are none of its arguments
    (folder / "config.json").write_text(json.dumps({**DIMS, "model_type": "whisper"}))
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def save_reference(folder: Path, weights: Weights, decoding: DecodingConfig | None = None) -> Path:
    """The model in safetensors, perhaps with the suppressed tokens of another one."""
    save_huggingface(folder, weights)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    if decoding is not None:
        generation = {
            "suppress_tokens": decoding.suppress_ids,
            "begin_suppress_tokens": decoding.begin_suppress_ids,
            "alignment_heads": decoding.alignment_heads,
        }
        (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder


OF_HUGGING_FACE: Mapping[str, Callable[[Path, Weights], Path]] = {
    "pytorch": save_pytorch,
    "sharded pytorch": save_sharded_pytorch,
    "flax": save_flax,
}
"""Formats with the configs of Hugging Face."""

OF_OPENAI: Mapping[str, Callable[[Path, Weights], Path]] = {
    "openai": save_openai,
    "ggml": save_ggml,
    "mlx": save_mlx,
}
"""Formats with openai/whisper's names of weights."""
