"""Finds the format of a model's folder or file, and opens it with its reader.

Where a folder holds several formats, the first of these is read: safetensors (Hugging Face or MLX),
CTranslate2, `pytorch_model.bin`, `flax_model.msgpack`, MLX's `weights.*`, and then a single file of
openai/whisper or whisper.cpp.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any

from tokenizers import Tokenizer

from model.formats import (
    ctranslate2,
    flax_msgpack,
    ggml,
    gguf,
    huggingface,
    mlx,
    openai,
    pytorch,
    unsupported,
    vocabulary,
)
from model.formats.adapters import CONFIG_FILE
from model.formats.contents import ModelFiles, read_json, tokenizer_files
from model.formats.mapped_file import FormatError
from model.formats.openai import OpenAIModel
from model.packaged_models import PACKAGED_MODELS
from model.pypi_files import PackagedFileError
from model.tokens import TokenizerError, WhisperTokenizer

_HUGGING_FACE: Mapping[str, huggingface.TensorReader] = {
    "pytorch_model.bin": pytorch.read_tensors,
    "flax_model.msgpack": flax_msgpack.read_tensors,
}
"""Files of weights that go with transformers' `config.json`, beside safetensors, and their readers."""

_SINGLE_FILES: Mapping[tuple[bytes, ...], Callable[[Path], OpenAIModel]] = {
    (pytorch.ZIP_MAGIC, pytorch.LEGACY_MAGIC[:4]): openai.open_pt,
    (ggml.MAGIC,): ggml.open_ggml,
    (gguf.MAGIC,): gguf.open_gguf,
}
"""First bytes of files that are a model by themselves, and their readers."""

_OF_A_TRAINING = ("optimizer", "scheduler", "scaler", "rng_state", "training_args")
"""Beginnings of names of files that transformers writes beside a model while it trains it."""


def open_folder(folder: Path) -> ModelFiles:
    """Opens the model in a folder.

    Raises:
        FormatError: it holds none that can be read; the message says what it holds, and what to do.
    """
    if safetensors := huggingface.weight_files(folder):
        return _open_safetensors(folder, safetensors)
    if (folder / "model.bin").is_file():
        config = folder / "config.json"
        values = read_json(config) if config.is_file() else {}
        return open_ctranslate2((folder / "model.bin",), values, _tokenizer_in(folder), _generation(folder))
    for single, read in _HUGGING_FACE.items():
        if files := huggingface.weight_files(folder, single):
            return _open_huggingface(folder, files, read)
    for single in mlx.WEIGHT_FILES:
        if files := huggingface.weight_files(folder, single):
            return _with_tokenizer(mlx.open_mlx(folder, files), folder)
    return _open_single(folder)


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, and no whole model."""
    singles = (huggingface.SINGLE_FILE, *_HUGGING_FACE, *mlx.WEIGHT_FILES)
    names = ("model.bin", *singles, *(f"{single}.index.json" for single in singles))
    return (folder / CONFIG_FILE).is_file() and not any((folder / name).is_file() for name in names)


def is_single_file(name: str) -> bool:
    """Whether a file may be a model by itself, by its name: of openai/whisper, whisper.cpp or GGUF."""
    path = PurePath(name)
    return path.suffix in (".pt", ".bin", ".gguf") and not path.name.startswith(_OF_A_TRAINING)


def open_file(path: Path) -> ModelFiles:
    """Opens the model in a file, if it says all that is needed; a tokenizer beside it is used.

    Raises:
        FormatError: another format, or damage.
    """
    opened = _open_openai(path)
    if opened is None:
        reason = (
            unsupported.format_of(path) or "its format is none of openai/whisper's, whisper.cpp's or GGUF"
        )
        raise FormatError(f"{path}: {reason}; of other formats pass the folder of the checkpoint")
    return _with_tokenizer(opened, path.parent)


def open_ctranslate2(
    parts: Sequence[Path],
    values: Mapping[str, Any],
    tokenizer: Path,
    generation: Mapping[str, Any] = MappingProxyType({}),
) -> ModelFiles:
    """Opens a model of CTranslate2.

    Args:
        parts: the parts of `model.bin`.
        values: content of its `config.json`.
        tokenizer: see `ModelFiles`.
        generation: content of its `generation_config.json`.

    Raises:
        FormatError: damage, or values that no Whisper has.
    """
    try:
        file = ctranslate2.CTranslate2File(parts)
        config = ctranslate2.read_config(file)
    except (ValueError, OSError) as error:
        raise FormatError(f"{parts[0]}: {error}") from error
    try:
        decoding = ctranslate2.read_decoding(values, generation)
    except (ValueError, TypeError, AttributeError) as error:
        raise FormatError(f"invalid config: {error}") from error
    return ModelFiles(
        config, decoding, tuple(parts), tokenizer, lambda: ctranslate2.read_weights(file, config)
    )


def _open_safetensors(folder: Path, files: Sequence[Path]) -> ModelFiles:
    """Opens safetensors of transformers, or of MLX: with openai/whisper's names, or quantised."""
    config = folder / "config.json"
    values = read_json(config) if config.is_file() else {}
    if "n_audio_state" in values:
        return _with_tokenizer(mlx.open_mlx(folder, files), folder)
    group_size = mlx.group_size_of(values)
    if not group_size:
        return _open_huggingface(folder, files, huggingface.read_tensors)
    return _open_huggingface(folder, files, lambda files, is_read: mlx.tensors(files, group_size, is_read))


def _open_huggingface(folder: Path, files: Sequence[Path], read: huggingface.TensorReader) -> ModelFiles:
    if not (folder / "config.json").is_file():
        raise FormatError(f"{folder} has no config.json")
    if missing := [file.name for file in files if not file.is_file()]:
        raise FormatError(f"{folder} lacks the shards {', '.join(missing)}")
    values = read_json(folder / "config.json")
    generation = _generation(folder)
    try:
        has_projection = huggingface.has_projection(read(files, huggingface.is_table), values)
    except huggingface.SafetensorError as error:
        raise FormatError(f"{folder} cannot be read: {error}") from error
    try:
        config = huggingface.read_config(values, has_projection=has_projection)
        decoding = huggingface.read_decoding(values, generation)
    except (ValueError, TypeError, AttributeError) as error:
        raise FormatError(f"invalid config: {error}") from error
    return ModelFiles(
        config,
        decoding,
        tuple(files),
        _tokenizer_in(folder),
        lambda: huggingface.read_weights(files, read, has_projection=has_projection),
    )


def _generation(folder: Path) -> dict[str, Any]:
    file = folder / "generation_config.json"
    return read_json(file) if file.is_file() else {}


def _open_single(folder: Path) -> ModelFiles:
    """Opens the only file of openai/whisper or whisper.cpp in a folder."""
    candidates = sorted(path for path in folder.iterdir() if is_single_file(path.name) and path.is_file())
    found = [opened for opened in map(_open_openai, candidates) if opened is not None]
    if len(found) == 1:
        return _with_tokenizer(found[0], folder)
    if found:
        names = ", ".join(str(model.files[0]) for model in found)
        raise FormatError(f"{folder} holds several models; pass one of {names}")
    if reason := unsupported.format_in(folder):
        raise FormatError(f"{folder}: {reason}")
    if not (folder / "config.json").is_file():
        raise FormatError(f"{folder} has no config.json, and no file of weights")
    raise FormatError(
        f"{folder} has no file of weights: none of model.safetensors, model.bin, {', '.join(_HUGGING_FACE)}, "
        "*.pt, ggml-*.bin, *.gguf (docs/models.md has the formats)"
    )


def _open_openai(path: Path) -> OpenAIModel | None:
    """Returns a model with openai/whisper's names of weights; None if the format of a file is another."""
    with path.open("rb") as stream:
        start = stream.read(16)
    for magics, open_model in _SINGLE_FILES.items():
        if start.startswith(magics):
            try:
                return open_model(path)
            except FormatError as error:
                raise error if path.name in str(error) else FormatError(f"{path}: {error}") from error
    return None


def _with_tokenizer(model: OpenAIModel, folder: Path) -> ModelFiles:
    """Adds to a model with openai/whisper's names its tokenizer, and what that implies."""
    source = _openai_tokenizer(model, folder)
    n_vocab = model.config.n_vocab
    try:
        tokenizer = WhisperTokenizer(source, n_vocab=n_vocab)
    except TokenizerError as error:
        raise FormatError(str(error)) from error
    n_ids = tokenizer.special.n_ids
    if vocabulary.has_known_vocabulary(n_vocab) and n_ids != n_vocab:  # of another size it may be padded
        raise FormatError(
            f"the tokenizer in {folder} has the highest id {n_ids - 1}, and the model {n_vocab - 1}, as "
            "OpenAI's have: it is the tokenizer of another model"
        )
    decoding = openai.read_decoding(tokenizer, model)
    return ModelFiles(model.config, decoding, model.files, source, model.read_weights)


def _openai_tokenizer(model: OpenAIModel, folder: Path) -> Path | Tokenizer:
    """Returns the tokenizer of a folder, that of a model's own vocabulary, or that of OpenAI's models."""
    n_vocab = model.config.n_vocab
    if found := tokenizer_files(folder):
        return found
    if not vocabulary.has_known_vocabulary(n_vocab):
        raise FormatError(
            f"its vocabulary of {n_vocab} tokens is none of OpenAI's; put its tokenizer.json in {folder}"
        )
    if model.vocabulary is not None:
        return vocabulary.from_token_bytes(model.vocabulary, n_vocab)
    kind = "openai/whisper-tiny.en" if n_vocab == vocabulary.ENGLISH else "openai/whisper-base"
    packaged = PACKAGED_MODELS[kind].tokenizer
    if packaged.locate() is None:
        raise FormatError(
            f"its format has no tokenizer; put the tokenizer.json of its model on the Hugging Face Hub in "
            f"{folder}, or install that of {kind} with `pip install {packaged.package.replace('_', '-')}`"
        )
    try:
        return vocabulary.from_tokenizer_file(packaged.verified(), n_vocab)
    except PackagedFileError as error:
        raise FormatError(str(error)) from error


def _tokenizer_in(folder: Path) -> Path:
    found = tokenizer_files(folder)
    if found is None:
        raise FormatError(
            f"{folder} has no tokenizer.json (nor vocab.json with merges.txt); "
            "copy it from the model's page on the Hub"
        )
    return found
