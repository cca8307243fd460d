"""Hugging Face checkpoints: `config.json`, shards, names of weights, and the reader of safetensors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from model.config import DecodingConfig, WhisperConfig
from model.formats.mapped_file import FormatError

__all__ = [
    "SafetensorError",
    "network_name",
    "network_weights",
    "read_config",
    "read_decoding",
    "read_weights",
    "weight_files",
]

SINGLE_FILE = "model.safetensors"
_SHARD = re.compile(r"[\w.-]{1,200}")

_RENAMED = (
    (r"^model\.", ""),
    (r"\.self_attn_layer_norm\.", ".self_attention_norm."),
    (r"\.encoder_attn_layer_norm\.", ".cross_attention_norm."),
    (r"\.final_layer_norm\.", ".mlp_norm."),
    (r"\.self_attn\.", ".self_attention."),
    (r"\.encoder_attn\.", ".cross_attention."),
    (r"\.q_proj\.", ".query."),
    (r"\.k_proj\.", ".key."),
    (r"\.v_proj\.", ".value."),
    (r"\.out_proj\.", ".out."),
    (r"\.fc1\.", ".mlp.up."),
    (r"\.fc2\.", ".mlp.down."),
    (r"\.layer_norm\.", ".norm."),
    (r"\.embed_positions\.weight$", ".positions"),
    (r"\.embed_tokens\.weight$", ".embedding.embedding"),
    (r"norm\.weight$", "norm.scale"),
    (r"\.weight$", ".kernel"),
    # The encoder has one attention only, so its name needs no "self".
    (r"^(encoder\..*)self_attention", r"\1attention"),
)


def network_name(name: str) -> str:
    """Returns the name in `model.network` of a weight, by its name in transformers."""
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def weight_files(folder: Path, single: str = SINGLE_FILE) -> list[Path]:
    """Returns the files of a checkpoint's weights, in order; empty if it has none.

    Args:
        folder: folder of the checkpoint.
        single: name of the file that holds all weights; an index of shards is called like it, with
            `.index.json`.

    Raises:
        FormatError: its index is invalid, or names a path outside the folder.
    """
    index = folder / f"{single}.index.json"
    if index.is_file():
        try:
            return [folder / name for name in _shards(index, Path(single).suffix)]
        except ValueError as error:
            raise FormatError(f"{index} is not a valid index of shards: {error}") from error
    return [folder / single] if (folder / single).is_file() else []


def _shards(index_file: Path, suffix: str) -> list[str]:
    try:
        names = sorted(set(json.loads(index_file.read_text("utf-8"))["weight_map"].values()))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{error!r:.200}") from error
    for name in names:
        if not isinstance(name, str) or not _SHARD.fullmatch(name) or not name.endswith(suffix):
            raise ValueError(f"{name!r:.100} is not the name of a {suffix[1:]} file in the same folder")
    return names


def read_config(values: Mapping[str, Any]) -> WhisperConfig:
    """Returns the sizes from the content of a Whisper `config.json`.

    Raises:
        ValueError: another type of model, or a missing size.
    """
    if values.get("model_type") != "whisper":
        raise ValueError(f"its config.json has model_type {values.get('model_type')!r}, not 'whisper'")
    try:
        return WhisperConfig(
            n_mels=values["num_mel_bins"],
            d_model=values["d_model"],
            d_mlp=values["encoder_ffn_dim"],
            encoder_layers=values["encoder_layers"],
            encoder_heads=values["encoder_attention_heads"],
            decoder_layers=values["decoder_layers"],
            decoder_heads=values["decoder_attention_heads"],
            n_vocab=values["vocab_size"],
        )
    except KeyError as error:
        raise ValueError(f"its config.json lacks {error.args[0]!r}") from None


def read_decoding(values: Mapping[str, Any], generation: Mapping[str, Any]) -> DecodingConfig:
    """Returns suppressed tokens and alignment heads; `generation_config.json` overrides `config.json`.

    Raises:
        ValueError, TypeError: values that are not lists of whole numbers.
    """

    def ids(key: str) -> Sequence[int]:
        return generation.get(key) or values.get(key) or ()

    heads = generation.get("alignment_heads") or ()
    return DecodingConfig(
        suppress_ids=tuple(ids("suppress_tokens")),
        begin_suppress_ids=tuple(ids("begin_suppress_tokens")),
        alignment_heads=tuple((layer, head) for layer, head in heads),
    )


def read_weights(files: Sequence[Path]) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """Yields each weight of safetensors files under its name in `model.network`."""
    for file in files:
        with safe_open(file, framework="numpy") as tensors:
            names = tensors.keys()  # the reader is not a mapping
            yield from network_weights((name, tensors.get_tensor(name)) for name in names)


def network_weights(
    tensors: Iterable[tuple[str, NDArray[np.generic]]],
) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """Yields weights of transformers under their names in `model.network`, kernels as (inputs, outputs).

    Every Whisper ties the projection to the vocabulary to the embedding, so the copy of it is skipped.
    """
    for name, weight in tensors:
        if name != "proj_out.weight":
            ours = network_name(name)
            yield ours, network_layout(ours, weight)


def network_layout(name: str, weight: NDArray[np.generic]) -> NDArray[np.generic]:
    """Returns a weight of torch as `model.network` has it: kernels as (inputs, outputs).

    Args:
        name: its name in `model.network`.
        weight: a kernel of [outputs, inputs], of [outputs, inputs, 3], in MLX of [outputs, 3, inputs], or any
            other weight.
    """
    if not name.endswith(".kernel") or not weight.size:
        return weight
    if weight.ndim != 3:
        return weight.T
    is_mlx = weight.shape[1] == 3 != weight.shape[2]
    by_width = weight.transpose(1, 2, 0) if is_mlx else weight.transpose(2, 1, 0)
    return by_width.reshape(-1, weight.shape[0])
