"""Reader of Hugging Face checkpoints: `config.json` and safetensors, single or sharded. No pickles."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from model.config import DecodingConfig, WhisperConfig

__all__ = [
    "SafetensorError",
    "has_projection",
    "network_name",
    "read_config",
    "read_decoding",
    "read_weights",
    "weight_files",
]

INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
_EMBEDDING, _PROJECTION = "model.decoder.embed_tokens.weight", "proj_out.weight"
_SHARD = re.compile(r"[\w.-]{1,200}\.safetensors")

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


def weight_files(folder: Path) -> list[Path]:
    """Returns the safetensors files of a checkpoint, in order; empty if it has none.

    Raises:
        ValueError: its index is invalid, or names a path outside the folder.
    """
    if (folder / INDEX_FILE).is_file():
        return [folder / name for name in _shards(folder / INDEX_FILE)]
    single = folder / SINGLE_FILE
    return [single] if single.is_file() else []


def _shards(index_file: Path) -> list[str]:
    try:
        names = sorted(set(json.loads(index_file.read_text("utf-8"))["weight_map"].values()))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{error!r:.200}") from error
    for name in names:
        if not isinstance(name, str) or not _SHARD.fullmatch(name):
            raise ValueError(f"{name!r:.100} is not the name of a safetensors file in the same folder")
    return names


def read_config(values: Mapping[str, Any], *, has_projection: bool = False) -> WhisperConfig:
    """Returns the sizes from the content of a Whisper `config.json`, and what `has_projection` found.

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
            has_projection=has_projection,
        )
    except KeyError as error:
        raise ValueError(f"its config.json lacks {error.args[0]!r}") from None


def read_decoding(values: Mapping[str, Any], generation: Mapping[str, Any]) -> DecodingConfig:
    """Returns what two configs tell about decoding; `generation_config.json` overrides `config.json`.

    Lists that are null or missing are empty, as for transformers.

    Args:
        values: content of `config.json`.
        generation: content of `generation_config.json`; empty if there is none.

    Raises:
        ValueError, TypeError, AttributeError: values of other types.
    """

    def found(key: str) -> Any:  # noqa: ANN401  # of JSON
        return generation[key] if key in generation else values.get(key)

    heads, languages = found("alignment_heads") or (), found("lang_to_id") or {}
    tasks = found("task_to_id") or {}
    return DecodingConfig(
        suppress_ids=tuple(found("suppress_tokens") or ()),
        begin_suppress_ids=tuple(found("begin_suppress_tokens") or ()),
        alignment_heads=tuple((layer, head) for layer, head in heads),
        is_multilingual=found("is_multilingual"),
        languages=tuple((str(name).strip("<|>"), token) for name, token in languages.items()),
        task_ids=tuple((str(name), token) for name, token in tasks.items()),
        no_timestamps_id=found("no_timestamps_token_id"),
        language=found("language"),
        task=found("task"),
        forced_ids=_forced_ids(
            generation.get("forced_decoder_ids") or values.get("forced_decoder_ids") or ()
        ),
    )


def _forced_ids(pairs: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
    """Returns the tokens of pairs (position, token) that follow the start of the transcript."""
    positions = [position for position, _ in pairs]
    if positions and positions[0] == 1 and positions != list(range(1, len(pairs) + 1)):
        raise ValueError(f"forced_decoder_ids has the positions {positions!r:.100}, which are not in a row")
    return tuple(token for _, token in pairs) if positions[:1] == [1] else ()


def has_projection(files: Sequence[Path], values: Mapping[str, Any]) -> bool:
    """Whether the projection to the vocabulary is a weight of its own, and not the embedding.

    As transformers decides it: where both are stored, their values count, whatever `config.json` says. A
    projection of its own that `config.json` names and that is not stored is missing once weights are read.

    Args:
        files: the safetensors files.
        values: content of `config.json`.

    Raises:
        SafetensorError, OSError: the files are damaged.
    """
    places = _places_of_tables(files)
    if _PROJECTION not in places or _EMBEDDING not in places:
        return values.get("tie_word_embeddings") is False
    tables = [_read(places[name], name) for name in (_PROJECTION, _EMBEDDING)]
    return not np.array_equal(tables[0], tables[1])


def read_weights(
    files: Sequence[Path], *, has_projection: bool = False
) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """Yields each weight under its name in `model.network`, kernels as (inputs, outputs).

    A projection that equals the embedding is skipped; where only it is stored, it is the embedding, too.

    Args:
        files: the safetensors files.
        has_projection: see `WhisperConfig`.
    """
    places = _places_of_tables(files)
    if has_projection and _PROJECTION in places:
        yield "decoder.projection.embedding", _read(places[_PROJECTION], _PROJECTION)
    elif not has_projection and _PROJECTION in places and _EMBEDDING not in places:
        yield "decoder.embedding.embedding", _read(places[_PROJECTION], _PROJECTION)
    for file in files:
        with safe_open(file, framework="numpy") as tensors:
            for name in tensors.keys():  # noqa: SIM118  the reader is not a mapping
                if name != _PROJECTION:
                    ours = network_name(name)
                    yield ours, _transposed(ours, tensors.get_tensor(name))


def _places_of_tables(files: Sequence[Path]) -> dict[str, Path]:
    """Returns the files that store the embedding and the projection, as far as they are stored."""
    places = {}
    for file in files:
        with safe_open(file, framework="numpy") as tensors:
            places.update({name: file for name in (_EMBEDDING, _PROJECTION) if name in tensors.keys()})  # noqa: SIM118
    return places


def _read(file: Path, name: str) -> NDArray[np.generic]:
    with safe_open(file, framework="numpy") as tensors:
        weight: NDArray[np.generic] = tensors.get_tensor(name)
        return weight


def _transposed(name: str, weight: NDArray[np.generic]) -> NDArray[np.generic]:
    if not name.endswith(".kernel") or not weight.size:
        return weight
    return weight.transpose(2, 1, 0).reshape(-1, weight.shape[0]) if weight.ndim == 3 else weight.T
