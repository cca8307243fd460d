"""Whisper models of any size with seeded random weights, which generate a text of a given length.

Weights of the large models are not available here, and speed does not depend on them. But a random decoder
would repeat itself, and decoding stops at repetition. So each position of the text has the direction of
another token's embedding: the decoder generates these tokens in order, which also shows that the network
computed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from flax import nnx
from numpy.typing import NDArray

from model.checkpoint import Checkpoint
from model.config import MAX_TEXT_POSITIONS, DecodingConfig, WhisperConfig
from model.interface import ModelOptions
from model.languages import LANGUAGES
from model.network import Whisper
from model.precision import Precision
from model.rules import DecodingRules, make_rules
from model.tokens import SpecialTokens

FIRST_TOKEN = 1000  # first of the generated tokens, which are text in every vocabulary
_POSITION_SCALE = 50.0  # scale of the position embeddings, beside layer outputs of about 1


def _config(d_model: int, encoder_layers: int, decoder_layers: int) -> WhisperConfig:
    """Returns a config with heads of 64 channels, as in all Whisper models, and other sizes of large-v3."""
    heads = d_model // 64
    return WhisperConfig(128, d_model, 4 * d_model, encoder_layers, heads, decoder_layers, heads, 51_866)


SHAPES: Mapping[str, WhisperConfig] = {
    "tiny": _config(384, 4, 4),
    "base": _config(512, 6, 6),
    "small": _config(768, 12, 12),
    "medium": _config(1024, 24, 24),
    "large-v3-turbo": _config(1280, 32, 4),
    "distil-large-v3": _config(1280, 32, 2),
    "large-v3": _config(1280, 32, 32),
    "smallest": _config(64, 1, 1),
}
"""Sizes of models by name; `smallest` is for tests of a program."""


def random_checkpoint(shape: str) -> Checkpoint:
    """Returns a checkpoint of one of `SHAPES`, whose weights are generated on access, deterministically."""
    config = SHAPES[shape]
    return Checkpoint(
        config, DecodingConfig(), (), Path(), lambda: _random_weights(config), name=f"random {shape}"
    )


def _random_weights(config: WhisperConfig) -> Iterator[tuple[str, NDArray[np.generic]]]:
    precision = Precision(np.dtype(np.float32))
    network = nnx.eval_shape(lambda: Whisper(config, precision=precision))
    for path, variable in nnx.to_flat_state(nnx.state(network)):
        name = ".".join(map(str, path))
        yield name, random_weight(name, variable.shape)


def random_weight(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Returns a weight that preserves the scale of activations."""
    if name.endswith(".scale"):
        return np.ones(shape, np.float32)
    if name.endswith(".bias"):
        return np.zeros(shape, np.float32)
    if name == "decoder.positions":
        tokens = random_weight("decoder.embedding.embedding", (FIRST_TOKEN + MAX_TEXT_POSITIONS, shape[1]))
        return _POSITION_SCALE * tokens[FIRST_TOKEN:]
    normal = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, np.float32)
    return normal / np.sqrt(shape[0], dtype=np.float32) if name.endswith(".kernel") else normal


def special_tokens() -> SpecialTokens:
    """Returns the special tokens of large-v3, in the order of its vocabulary."""
    end = 50_257
    languages = {code: end + 2 + i for i, code in enumerate(LANGUAGES)}
    first = end + 2 + len(languages)
    return SpecialTokens(
        start_of_transcript=end + 1,
        end_of_text=end,
        translate=first,
        transcribe=first + 1,
        start_of_lm=first + 2,
        start_of_previous=first + 3,
        no_speech=first + 4,
        no_timestamps=first + 5,
        timestamp_begin=first + 6,
        languages=languages,
    )


def fixed_length_rules(n_tokens: int) -> DecodingRules:
    """Returns rules without an end: every window without timestamps gets exactly `n_tokens` tokens."""
    special = special_tokens()
    options = ModelOptions(beam_size=1, suppress_tokens=(special.end_of_text,), max_new_tokens=n_tokens)
    return make_rules(special, DecodingConfig(), options, multilingual=True)


def expected_tokens(rules: DecodingRules) -> NDArray[np.int32]:
    """Returns the tokens that a random network generates without timestamps, int32[max_new_tokens]."""
    return (
        np.arange(rules.max_new_tokens, dtype=np.int32) + FIRST_TOKEN + rules.n_prefix(timestamps=False) - 1
    )
