"""Files of a model on the Hugging Face Hub: those of one format of its weights, and no more.

`OWNER/NAME` is a repository, `OWNER/NAME:FILE` a file of one which is a model by itself.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from model.formats.folder import is_single_file
from model.formats.mapped_file import FormatError

_CONFIGS = (
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
    "adapter_config.json",
)
_WEIGHTS = (  # by format, the first that a repository has is fetched; as `model.formats.folder` prefers them
    ("model.safetensors", "model.safetensors.index.json", "model-*.safetensors"),
    ("model.bin",),
    ("adapter_model.safetensors",),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*.bin"),
    ("flax_model.msgpack", "flax_model.msgpack.index.json", "flax_model-*.msgpack"),
    ("weights.safetensors",),
    ("weights.npz",),
    ("adapter_model.bin",),
)


_FILE_OF = re.compile(r"(?P<repository>[^/:]+/[^/:]+):(?P<file>.*)", re.DOTALL)
_MAX_LISTED = 40


def fetch(name: str) -> Path:
    """Downloads a model, unless it is in the cache, and returns its folder, or its file.

    Repositories often hold the same weights in several formats, of gigabytes each. Where files are models of
    their own (`ggml-*.bin`, `*.pt`, `*.gguf`), that which is named is downloaded, or the only one, with the
    configs and the tokenizer of its folder.

    Args:
        name: name on the Hub, with or without `:FILE`.

    Raises:
        HFValidationError, HfHubHTTPError, LocalEntryNotFoundError: see `huggingface_hub.snapshot_download`.
        OSError: the Hub or the disk cannot be used.
        FormatError: the repository does not have the file, or has several and none is named.
    """
    if match := _FILE_OF.fullmatch(name):
        return _file(match["repository"], match["file"])
    folder = Path()
    for patterns in _WEIGHTS:
        folder = _snapshot(name, patterns)
        if any(next(folder.glob(pattern), None) for pattern in patterns):
            return folder
    models = _single_files(name)
    if len(models) > 1:
        raise FormatError(f"its files are models of their own; name one as {name}:FILE, of {_listed(models)}")
    return _file(name, models[0]) if models else folder


def _file(repository: str, file: str) -> Path:
    path = PurePosixPath(file)
    if str(path) != file or path.is_absolute() or ".." in path.parts or not path.name:
        raise FormatError(f"{file!r} is not the name of a file in {repository}")
    if _needs_config(path.name):
        advice = f"pass {repository}" if path.name == file else "download its folder, and pass that"
        raise FormatError(f"{file} is read with the configs beside it; {advice}")
    configs = [_escaped(str(path.parent / config), "[") for config in _CONFIGS]
    folder = _snapshot(repository, (_escaped(file, "[*?"),), configs)
    if not (folder / path).is_file():
        models = _single_files(repository)
        others = f"; its files that may be models are {_listed(models)}" if models else ""
        raise FormatError(f"{repository} has no file {file}{others}")
    return folder / path


def _snapshot(
    repository: str, patterns: tuple[str, ...], configs: list[str] | tuple[str, ...] = _CONFIGS
) -> Path:
    from huggingface_hub import snapshot_download  # slow to import, and not needed for local weights

    return Path(snapshot_download(repository, allow_patterns=[*configs, *patterns]))


def _escaped(pattern: str, special: str) -> str:
    return "".join(f"[{one}]" if one in special else one for one in pattern)


def _single_files(repository: str) -> list[str]:
    """Returns the files of a repository that may each be a model; none where the Hub gives no answer.

    Without a network, `_snapshot` returns what is in the cache, and its folder is opened as any other.
    """
    from huggingface_hub import list_repo_files
    from huggingface_hub.errors import HfHubHTTPError

    try:
        files = set(list_repo_files(repository))
    except (HfHubHTTPError, OSError):
        return []
    return sorted(file for file in files if _may_be_a_model(PurePosixPath(file), files))


def _may_be_a_model(path: PurePosixPath, files: set[str]) -> bool:
    is_core_ml = any(part.endswith((".mlmodelc", ".mlpackage")) for part in path.parts)
    is_openvino = str(path.with_suffix(".xml")) in files
    return is_single_file(path.name) and not (_needs_config(path.name) or is_core_ml or is_openvino)


def _needs_config(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for patterns in _WEIGHTS for pattern in patterns)


def _listed(files: list[str]) -> str:
    more = f", and {len(files) - _MAX_LISTED} more" if len(files) > _MAX_LISTED else ""
    return ", ".join(files[:_MAX_LISTED]) + more
