"""Whispers of any size with seeded random weights, which write a text of a given length.

No weights of the large models are at hand, and speed does not ask for them. But a random decoder would go
round in circles, which ours stops. So each place in the text is given the direction of another token: what is
written is these tokens one after the other, and it can be told whether the network computed anything.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from flax import nnx
from numpy.typing import NDArray

from model.checkpoint import Checkpoint
from model.config import MAX_TEXT_POSITIONS, DecodingConfig, WhisperConfig
from model.languages import LANGUAGES
from model.network import Whisper
from model.precision import Precision
from model.rules import DecodingRules, make_rules
from model.tokens import SpecialTokens

FIRST_TOKEN = 1000  # of those that are written: text in every vocabulary
_LOUDNESS = 50.0  # of the places, beside the layers' outputs of about 1 each


def _config(d_model: int, encoder_layers: int, decoder_layers: int) -> WhisperConfig:
    """With heads 64 wide, as they all have, and the sizes of large-v3 otherwise."""
    heads = d_model // 64
    return WhisperConfig(128, d_model, 4 * d_model, encoder_layers, heads, decoder_layers, heads, 51_866)


SHAPES: Mapping[str, WhisperConfig] = {
    "large-v3-turbo": _config(1280, 32, 4),
    "large-v3": _config(1280, 32, 32),
    "tiny": _config(64, 1, 1),
}
"""By name; `tiny` is for trying a program out."""


@dataclass(frozen=True)
class RandomCheckpoint(Checkpoint):
    """A checkpoint whose weights are made when they are asked for, the same ones each time."""

    def weights(self) -> Iterator[tuple[str, NDArray[np.generic]]]:
        """Each weight under its name in `model.network`, float32."""
        precision = Precision(np.dtype(np.float32))
        network = nnx.eval_shape(lambda: Whisper(self.config, precision=precision))
        for path, variable in nnx.to_flat_state(nnx.state(network)):
            name = ".".join(map(str, path))
            yield name, random_weight(name, variable.shape)


def random_checkpoint(shape: str) -> RandomCheckpoint:
    """One of `SHAPES`."""
    return RandomCheckpoint(f"random {shape}", SHAPES[shape], DecodingConfig(), (), Path())


def random_weight(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A weight of that name and shape that keeps the size of what passes through it."""
    if name.endswith(".scale"):
        return np.ones(shape, np.float32)
    if name.endswith(".bias"):
        return np.zeros(shape, np.float32)
    if name == "decoder.positions":
        tokens = random_weight("decoder.embedding.embedding", (FIRST_TOKEN + MAX_TEXT_POSITIONS, shape[1]))
        return _LOUDNESS * tokens[FIRST_TOKEN:]
    normal = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, np.float32)
    return normal / np.sqrt(shape[0], dtype=np.float32) if name.endswith(".kernel") else normal


def special_tokens() -> SpecialTokens:
    """Those of large-v3, in the order in which its vocabulary ends."""
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
    """Text alone, which cannot end: so many tokens are written of every window."""
    special = special_tokens()
    return make_rules(
        special,
        DecodingConfig(),
        multilingual=True,
        task="transcribe",
        timestamps=False,
        suppress_tokens=(special.end_of_text,),
        max_new_tokens=n_tokens,
    )


def expected_tokens(rules: DecodingRules) -> NDArray[np.int32]:
    """What a random network writes of any window, int32[max_new_tokens]."""
    return np.arange(rules.max_new_tokens, dtype=np.int32) + FIRST_TOKEN + rules.prompt_length - 1
