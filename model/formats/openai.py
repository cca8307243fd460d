"""openai/whisper's names of weights, its sizes, and the reader of its `.pt` files.

A `.pt` is `{"dims": sizes, "model_state_dict": weights}`, saved by torch. whisper.cpp and MLX kept the names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.config import MAX_TEXT_POSITIONS, N_POSITIONS, DecodingConfig, WhisperConfig
from model.formats.huggingface import network_layout
from model.formats.mapped_file import FormatError
from model.formats.pytorch import TorchFile, open_torch, state_dict, tensors
from model.formats.vocabulary import ENGLISH, has_known_vocabulary
from model.tokens import WhisperTokenizer

_RENAMED = (
    (r"\.blocks\.", ".layers."),
    (r"\.cross_attn_ln\.", ".cross_attention_norm."),
    (r"\.cross_attn\.", ".cross_attention."),
    (r"^decoder\.(.*)\.attn(_ln)?\.", r"decoder.\1.self_attention\2."),
    (r"\.attn(_ln)?\.", r".attention\1."),
    (r"attention_ln\.", "attention_norm."),
    (r"\.mlp_ln\.", ".mlp_norm."),
    (r"\.mlp(\.0|1)\.", ".mlp.up."),
    (r"\.mlp(\.2|2)\.", ".mlp.down."),
    (r"^encoder\.ln_post\.", "encoder.norm."),
    (r"^decoder\.ln\.", "decoder.norm."),
    (r"\.positional_embedding$", ".positions"),
    (r"\.token_embedding\.weight$", ".embedding.embedding"),
    (r"norm\.weight$", "norm.scale"),
    (r"\.weight$", ".kernel"),
)
# `non_speech_tokens` of whisper/tokenizer.py. Of the second, the first of several tokens is suppressed.
_SYMBOLS = (
    *'"#()*+/:;<=>@[\\]^_`{|}~「」『』',
    *("<<", ">>", "<<<", ">>>", "--", "---", "-(", "-[", "('", '("'),
    *("((", "))", "(((", ")))", "[[", "]]", "{{", "}}", "♪♪", "♪♪♪"),
)
_MUSIC = "♩♪♫♬♭♮♯"


@dataclass(frozen=True)
class OpenAIModel:
    """A model whose weights have openai/whisper's names, in any format.

    Attributes:
        config: sizes of the network.
        files: files of the weights.
        read_weights: yields each weight under its name in `model.network`.
        alignment_heads: (layer, head) of the cross-attention that follows time; empty when unknown.
        vocabulary: the bytes of each text token, in the order of the ids; None if the files lack it.
    """

    config: WhisperConfig
    files: tuple[Path, ...]
    read_weights: Callable[[], Iterator[tuple[str, NDArray[np.generic]]]]
    alignment_heads: tuple[tuple[int, int], ...] = ()
    vocabulary: tuple[bytes, ...] | None = None


def network_name(name: str) -> str:
    """Returns the name in `model.network` of a weight, by its name in openai/whisper or MLX."""
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def network_weights(
    tensors: Iterable[tuple[str, NDArray[np.generic]]],
) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """Yields weights of openai/whisper under their names in `model.network`, kernels as (inputs, outputs)."""
    for name, weight in tensors:
        ours = network_name(name)
        yield ours, network_layout(ours, weight)


def read_config(dims: Mapping[str, object]) -> WhisperConfig:
    """Returns the sizes from openai/whisper's `ModelDimensions`.

    Raises:
        ValueError: a missing size, or one that no Whisper has.
    """
    try:
        sizes = {name: dims[name] for name in _SIZES}
    except KeyError as error:
        raise ValueError(f"its dimensions lack {error.args[0]!r}") from None
    for name, expected in (("n_audio_ctx", N_POSITIONS), ("n_text_ctx", MAX_TEXT_POSITIONS)):
        if dims.get(name, expected) != expected:
            raise ValueError(f"{name} is {dims[name]!r:.100}, where {expected} was expected")
    d_model = sizes["n_audio_state"]
    if sizes.pop("n_text_state") != d_model:
        raise ValueError("n_text_state differs from n_audio_state, which no Whisper has")
    renamed = {_SIZES[name]: size for name, size in sizes.items()}
    return WhisperConfig(**renamed, d_mlp=4 * d_model if isinstance(d_model, int) else d_model)  # type: ignore[arg-type]  # it checks their types


_SIZES = {
    "n_mels": "n_mels",
    "n_audio_state": "d_model",
    "n_audio_head": "encoder_heads",
    "n_audio_layer": "encoder_layers",
    "n_vocab": "n_vocab",
    "n_text_state": "",
    "n_text_head": "decoder_heads",
    "n_text_layer": "decoder_layers",
}


def read_decoding(tokenizer: WhisperTokenizer, model: OpenAIModel) -> DecodingConfig:
    """Returns the ids that openai/whisper suppresses by default, as these formats name none.

    These are those of `_get_suppress_tokens` and `SuppressBlank` in `whisper/decoding.py`, which the
    configs of Hugging Face and CTranslate2 list.
    """
    special, n_vocab = tokenizer.special, model.config.n_vocab
    suppressed = {tokenizer.encode_text(" -")[0], tokenizer.encode_text(" '")[0]}
    for symbol in (*_SYMBOLS, *_MUSIC):
        for ids in (tokenizer.encode_text(symbol), tokenizer.encode_text(f" {symbol}")):
            if len(ids) == 1 or (ids and symbol in _MUSIC):
                suppressed.add(ids[0])
    suppressed |= {special.start_of_transcript, special.transcribe, special.translate}
    suppressed |= {special.start_of_previous, special.start_of_lm, special.no_speech}
    return DecodingConfig(
        suppress_ids=tuple(sorted(suppressed)),
        begin_suppress_ids=(*tokenizer.encode_text(" "), special.end_of_text),
        alignment_heads=model.alignment_heads,
        # openai/whisper and whisper.cpp tell it by the size; of another, the tokenizer does.
        is_multilingual=n_vocab != ENGLISH if has_known_vocabulary(n_vocab) else None,
    )


def open_pt(path: Path) -> OpenAIModel:
    """Opens a `.pt` of openai/whisper.

    Raises:
        FormatError: another format, damage, or sizes that no Whisper has.
    """
    file = open_torch(path)
    content = file.content
    if not isinstance(content, dict) or not isinstance(content.get("dims"), dict):
        raise FormatError(
            f"{path.name} lacks the sizes (dims) that openai/whisper's files have: if it is a model of "
            "transformers, call it pytorch_model.bin and put its config.json beside it"
        )
    weights = content.get("model_state_dict")
    if not all(type(size) is int for size in content["dims"].values()):
        raise FormatError(f"{path.name} has sizes (dims) that are no whole numbers")
    try:
        config = read_config(content["dims"])
    except ValueError as error:
        raise FormatError(f"{path.name}: {error}") from error
    state_dict(weights)
    return OpenAIModel(config, (path,), lambda: _read(file, weights))


def _read(file: TorchFile, weights: object) -> Iterator[tuple[str, NDArray[np.generic]]]:
    yield from network_weights(tensors(file, weights))
