"""Hugging Face checkpoints: `config.json`, shards, names of weights, and the reader of safetensors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from model.config import DecodingConfig, WhisperConfig
from model.formats.mapped_file import FormatError

__all__ = [
    "EMBEDDING",
    "PROJECTION",
    "SafetensorError",
    "has_projection",
    "is_table",
    "network_name",
    "network_weights",
    "read_config",
    "read_decoding",
    "read_tensors",
    "read_weights",
    "weight_files",
]

SINGLE_FILE = "model.safetensors"
_SHARD = re.compile(r"[\w.-]{1,200}")
EMBEDDING, PROJECTION = "decoder.embedding.embedding", "decoder.projection.embedding"

Array = NDArray[np.generic]
TensorReader = Callable[[Sequence[Path], Callable[[str], bool]], Iterator[tuple[str, Array]]]
"""Yields tensors of files, those whose names satisfy a condition, with names and layouts of transformers."""

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
    (r"^proj_out\.weight$", PROJECTION),
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
        start_id=found("decoder_start_token_id"),
        max_initial_timestamp=found("max_initial_timestamp_index"),
    )


def _forced_ids(pairs: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
    """Returns the tokens of pairs (position, token) that follow the start of the transcript."""
    positions = [position for position, _ in pairs]
    if positions and positions[0] == 1 and positions != list(range(1, len(pairs) + 1)):
        raise ValueError(f"forced_decoder_ids has the positions {positions!r:.100}, which are not in a row")
    return tuple(token for _, token in pairs) if positions[:1] == [1] else ()


def has_projection(tensors: Iterable[tuple[str, Array]], values: Mapping[str, Any]) -> bool:
    """Whether the projection to the vocabulary is a weight of its own, and not the embedding.

    As transformers decides it: where both are stored, their values count, whatever `config.json` says. A
    projection of its own that `config.json` names and that is not stored is missing once weights are read.

    Args:
        tensors: tensors with the names of transformers, among them those of which `is_table` holds.
        values: content of `config.json`; empty if there is none.
    """
    tables = {network_name(name): tensor for name, tensor in tensors if is_table(name)}
    if len(tables) < 2:
        return values.get("tie_word_embeddings") is False
    return not np.array_equal(tables[PROJECTION], tables[EMBEDDING])


def is_table(name: str) -> bool:
    """Whether a name in transformers is that of the embedding or of the projection to the vocabulary."""
    return name.endswith(".weight") and network_name(name) in (EMBEDDING, PROJECTION)


def read_tensors(
    files: Sequence[Path], is_read: Callable[[str], bool] = lambda _: True
) -> Iterator[tuple[str, Array]]:
    """Yields the tensors of safetensors files whose names satisfy `is_read`."""
    for file in files:
        with safe_open(file, framework="numpy") as tensors:
            for name in tensors.keys():  # noqa: SIM118  the reader is not a mapping
                if is_read(name):
                    yield name, tensors.get_tensor(name)


def read_weights(
    files: Sequence[Path], read: TensorReader = read_tensors, *, has_projection: bool = False
) -> Iterator[tuple[str, Array]]:
    """Yields each weight of files under its name in `model.network`; see `network_weights`."""
    yield from network_weights(read(files, lambda _: True), has_projection=has_projection)


def network_weights(
    tensors: Iterable[tuple[str, Array]], *, has_projection: bool = False
) -> Iterator[tuple[str, Array]]:
    """Yields weights of transformers under their names in `model.network`, kernels as (inputs, outputs).

    A projection that equals the embedding is skipped; where only it is stored, it is the embedding, too.

    Args:
        tensors: all tensors of the model.
        has_projection: see `WhisperConfig`.
    """
    has_embedding, projection = False, None
    for name, weight in tensors:
        ours = network_name(name)
        has_embedding |= ours == EMBEDDING
        if ours != PROJECTION or has_projection:
            yield ours, network_layout(ours, weight)
        elif not has_embedding:
            projection = weight
    if projection is not None and not has_embedding:
        yield EMBEDDING, projection


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
