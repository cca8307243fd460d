"""A model as a reader finds it in its files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from model.config import DecodingConfig, WhisperConfig
from model.formats.mapped_file import FormatError

Weights = Iterator[tuple[str, NDArray[np.generic]]]
"""Each weight under its name in `model.network`, kernels as (inputs, outputs), in its stored dtype."""


@dataclass(frozen=True)
class ModelFiles:
    """A model in its files. Its weights are read lazily.

    Attributes:
        config: sizes of the network.
        decoding: what its configs tell about decoding.
        weight_files: the files that hold weights.
        tokenizer: `tokenizer.json`, the folder of `vocab.json` and `merges.txt`, or a tokenizer that was
            built, as no file has it.
        read_weights: reads the weights; raises `FormatError` where the files are damaged.
    """

    config: WhisperConfig
    decoding: DecodingConfig
    weight_files: tuple[Path, ...]
    tokenizer: Path | Tokenizer
    read_weights: Callable[[], Weights]


def tokenizer_files(folder: Path) -> Path | None:
    """Returns the `tokenizer.json` of a folder, or the folder if it has vocabulary and merges, or None."""
    if (folder / "tokenizer.json").is_file():
        return folder / "tokenizer.json"
    has_vocabulary = (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file()
    return folder if has_vocabulary else None


def read_json(path: Path) -> dict[str, Any]:
    """Returns the JSON object in a file.

    Raises:
        FormatError: the file cannot be read, or holds something else.
    """
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise FormatError(f"{path} contains a {type(values).__name__}, expected a JSON object")
    return values
