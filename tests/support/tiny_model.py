"""A Whisper of one layer with random weights, in each supported checkpoint format."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

from model.languages import LANGUAGES

D_MODEL, D_MLP, N_HEADS, N_MELS, N_VOCAB = 32, 64, 2, 80, 51_865
Weights = dict[str, NDArray[np.float32]]


def tiny_weights(seed: int = 0, d_mlp: int = D_MLP) -> Weights:
    """Random weights under their names in transformers."""
    random = np.random.default_rng(seed)

    def normal(*shape: int) -> NDArray[np.float32]:
        return (random.standard_normal(shape) * 0.2).astype(np.float32)

    weights = {
        "model.encoder.conv1.weight": normal(D_MODEL, N_MELS, 3),
        "model.encoder.conv1.bias": normal(D_MODEL),
        "model.encoder.conv2.weight": normal(D_MODEL, D_MODEL, 3),
        "model.encoder.conv2.bias": normal(D_MODEL),
        "model.encoder.embed_positions.weight": normal(1500, D_MODEL),
        "model.decoder.embed_positions.weight": normal(448, D_MODEL),
        "model.decoder.embed_tokens.weight": normal(N_VOCAB, D_MODEL),
    }
    for side, attentions in (("encoder", ["self_attn"]), ("decoder", ["self_attn", "encoder_attn"])):
        norms = [f"layers.0.{name}_layer_norm" for name in [*attentions, "final"]]
        for norm in [*norms, "layer_norm"]:
            weights[f"model.{side}.{norm}.weight"] = 1 + normal(D_MODEL)
            weights[f"model.{side}.{norm}.bias"] = normal(D_MODEL)
        for attention in attentions:
            for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
                name = f"model.{side}.layers.0.{attention}.{projection}"
                weights[f"{name}.weight"] = normal(D_MODEL, D_MODEL)
                if projection != "k_proj":
                    weights[f"{name}.bias"] = normal(D_MODEL)
        for linear, outputs, inputs in (("fc1", d_mlp, D_MODEL), ("fc2", D_MODEL, d_mlp)):
            weights[f"model.{side}.layers.0.{linear}.weight"] = normal(outputs, inputs)
            weights[f"model.{side}.layers.0.{linear}.bias"] = normal(outputs)
    return weights


def tiny_tokenizer(n_text: int = 50_257) -> Tokenizer:
    """Byte tokens, filler, and special tokens, by default with the ids of the multilingual models."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = [*alphabet, *(f"filler{i}" for i in range(n_text - len(alphabet)))]
    tokenizer = Tokenizer(BPE({name: i for i, name in enumerate(names)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    languages = list(LANGUAGES)[:99]
    tasks = ["translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps"]
    specials = ["endoftext", "startoftranscript", *languages, *tasks]
    tokenizer.add_special_tokens([AddedToken(f"<|{name}|>", special=True) for name in specials])
    tokenizer.add_tokens([f"<|{i * 0.02:.2f}|>" for i in range(1501)])
    return tokenizer


TINY_CONFIG: Mapping[str, object] = {
    "model_type": "whisper",
    "num_mel_bins": N_MELS,
    "d_model": D_MODEL,
    "encoder_ffn_dim": D_MLP,
    "decoder_ffn_dim": D_MLP,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": N_HEADS,
    "decoder_attention_heads": N_HEADS,
    "vocab_size": N_VOCAB,
    "begin_suppress_tokens": [220, 50_257],
}

GENERATION_CONFIG: Mapping[str, object] = {"suppress_tokens": [1, 2, 7], "alignment_heads": [[0, 1]]}
CTRANSLATE2_CONFIG: Mapping[str, object] = {
    "suppress_ids": [1, 2, 7],
    "suppress_ids_begin": [220, 50_257],
    "alignment_heads": [[0, 1]],
}


def save_huggingface(folder: Path, weights: Weights) -> Path:
    """Writes a checkpoint as transformers does."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(TINY_CONFIG))
    (folder / "generation_config.json").write_text(json.dumps(GENERATION_CONFIG))
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def ctranslate2_variables(weights: Weights) -> dict[str, NDArray[np.generic]]:
    """The same weights under CTranslate2's names, with its fused projections."""
    variables: dict[str, NDArray[np.generic]] = {
        "encoder/position_encodings/encodings": weights["model.encoder.embed_positions.weight"],
        "decoder/position_encodings/encodings": weights["model.decoder.embed_positions.weight"],
        "decoder/embeddings/weight": weights["model.decoder.embed_tokens.weight"],
    }
    for conv in ("conv1", "conv2"):
        for part in ("weight", "bias"):
            variables[f"encoder/{conv}/{part}"] = weights[f"model.encoder.{conv}.{part}"]
    for side in ("encoder", "decoder"):
        variables[f"{side}/num_heads"] = np.array(N_HEADS, np.int16)
        layer, source = f"{side}/layer_0", f"model.{side}.layers.0"
        norms = {f"{side}/layer_norm": f"model.{side}.layer_norm"}
        norms[f"{layer}/self_attention/layer_norm"] = f"{source}.self_attn_layer_norm"
        norms[f"{layer}/ffn/layer_norm"] = f"{source}.final_layer_norm"
        fuse(variables, f"{layer}/self_attention", weights, f"{source}.self_attn", [["q", "k", "v"], ["out"]])
        if side == "decoder":
            norms[f"{layer}/attention/layer_norm"] = f"{source}.encoder_attn_layer_norm"
            fuse(
                variables,
                f"{layer}/attention",
                weights,
                f"{source}.encoder_attn",
                [["q"], ["k", "v"], ["out"]],
            )
        for theirs, ours in norms.items():
            variables[f"{theirs}/gamma"] = weights[f"{ours}.weight"]
            variables[f"{theirs}/beta"] = weights[f"{ours}.bias"]
        for index, linear in enumerate(("fc1", "fc2")):
            for part in ("weight", "bias"):
                variables[f"{layer}/ffn/linear_{index}/{part}"] = weights[f"{source}.{linear}.{part}"]
    return variables


def fuse(
    variables: dict[str, NDArray[np.generic]],
    target: str,
    weights: Weights,
    source: str,
    groups: list[list[str]],
) -> None:
    """Concatenates the projections of each group on axis 0."""
    zeros = np.zeros(D_MODEL, np.float32)
    for index, group in enumerate(groups):
        names = [f"{source}.{name}_proj" for name in group]
        variables[f"{target}/linear_{index}/weight"] = np.concatenate([weights[f"{n}.weight"] for n in names])
        variables[f"{target}/linear_{index}/bias"] = np.concatenate(
            [weights.get(f"{n}.bias", zeros) for n in names]
        )


def ctranslate2_bytes(
    variables: Mapping[str, NDArray[np.generic]], version: int = 6, spec: str = "WhisperSpec"
) -> bytes:
    """Returns the bytes of a `model.bin` of these variables."""
    codes = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}

    def string(text: str) -> bytes:
        return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"

    chunks = [struct.pack("<I", version), string(spec), struct.pack("<II", 3, len(variables))]
    for name, value in variables.items():
        value = np.asarray(value)
        chunks += [string(name), struct.pack("<B", value.ndim), struct.pack(f"<{value.ndim}I", *value.shape)]
        chunks += [struct.pack("<BI", codes[value.dtype.name], value.nbytes), value.tobytes()]
    projection, aliased = "decoder/projection/weight", "decoder/embeddings/weight"
    is_tied = aliased in variables and projection not in variables
    alias = [string(projection), string(aliased)] if is_tied else []
    return b"".join([*chunks, struct.pack("<I", len(alias) // 2), *alias])


def save_ctranslate2(folder: Path, weights: Weights) -> Path:
    """Writes a checkpoint as CTranslate2's converter does."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.bin").write_bytes(ctranslate2_bytes(ctranslate2_variables(weights)))
    (folder / "config.json").write_text(json.dumps(CTRANSLATE2_CONFIG))
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    return folder
