"""Alignment heads: cross-attention heads whose weights follow the speech in time."""

from __future__ import annotations

import re

from model.config import DecodingConfig, WhisperConfig

Heads = tuple[tuple[int, int], ...]
"""Pairs of (layer, head), counted from 0."""

# By (encoder layers, decoder layers, heads, mel bands, whether multilingual); from `_ALIGNMENT_HEADS` of
# `whisper/__init__.py`. large-v1 has the sizes of large-v2.
_KNOWN_HEADS: dict[tuple[int, int, int, int, bool], Heads] = {
    # tiny.en
    (4, 4, 6, 80, False): ((1, 0), (2, 0), (2, 5), (3, 0), (3, 1), (3, 2), (3, 3), (3, 4)),
    # tiny
    (4, 4, 6, 80, True): ((2, 2), (3, 0), (3, 2), (3, 3), (3, 4), (3, 5)),
    # base.en
    (6, 6, 8, 80, False): ((3, 3), (4, 7), (5, 1), (5, 5), (5, 7)),
    # base
    (6, 6, 8, 80, True): ((3, 1), (4, 2), (4, 3), (4, 7), (5, 1), (5, 2), (5, 4), (5, 6)),
    # small.en
    (12, 12, 12, 80, False): (
        *((6, 6), (7, 0), (7, 3), (7, 8), (8, 2), (8, 5), (8, 7), (9, 0), (9, 4), (9, 8), (9, 10)),
        *((10, 0), (10, 1), (10, 2), (10, 3), (10, 6), (10, 11), (11, 2), (11, 4)),
    ),
    # small
    (12, 12, 12, 80, True): (
        *((5, 3), (5, 9), (8, 0), (8, 4), (8, 7), (8, 8), (9, 0), (9, 7), (9, 9), (10, 5)),
    ),
    # medium.en
    (24, 24, 16, 80, False): (
        *((11, 4), (14, 1), (14, 12), (14, 14), (15, 4), (16, 0), (16, 4), (16, 9), (17, 12), (17, 14)),
        *((18, 7), (18, 10), (18, 15), (20, 0), (20, 3), (20, 9), (20, 14), (21, 12)),
    ),
    # medium
    (24, 24, 16, 80, True): ((13, 15), (15, 4), (15, 15), (16, 1), (20, 0), (23, 4)),
    # large-v2
    (32, 32, 20, 80, True): (
        *((10, 12), (13, 17), (16, 11), (16, 12), (16, 13), (17, 15), (17, 16), (18, 4), (18, 11)),
        *((18, 19), (19, 11), (21, 2), (21, 3), (22, 3), (22, 9), (22, 12), (23, 5), (23, 7), (23, 13)),
        *((25, 5), (26, 1), (26, 12), (27, 15)),
    ),
    # large-v3
    (32, 32, 20, 128, True): (
        *((7, 0), (10, 17), (12, 18), (13, 12), (16, 1), (17, 14), (19, 11), (21, 4), (24, 1), (25, 6)),
    ),
    # large-v3-turbo
    (32, 4, 20, 128, True): ((2, 4), (2, 11), (3, 3), (3, 6), (3, 11), (3, 14)),
}


_LARGE_V1: Heads = ((9, 19), (11, 2), (11, 4), (11, 17), (22, 7), (22, 11), (22, 17), (23, 2), (23, 15))
_LARGE = (32, 32, 20, 80, True)
_NAMED_LARGE_V1 = re.compile(r"(^|[/_-])whisper-large$|(^|[^a-z])large-v1($|[^0-9])")


def heads_of(config: WhisperConfig, decoding: DecodingConfig, *, multilingual: bool, name: str) -> Heads:
    """Returns the alignment heads of a checkpoint, by the first of these rules that applies.

    1. Those that it names itself, without heads that its decoder lacks: distilled checkpoints keep the list
       of their teacher.
    2. Those of openai/whisper for the model of its layers, heads and mel bands, as fine-tuning keeps them. Of
       the two large models with 80 bands it is large-v1 if the name says so, and large-v2 otherwise.
    3. Every head in the upper half of the decoder, as in `whisper/model.py`.

    Args:
        config: its sizes.
        decoding: what its configs tell.
        multilingual: whether it is multilingual.
        name: its name or folder; the Hub's name of large-v1 is `openai/whisper-large`.
    """
    own = tuple(
        (layer, head)
        for layer, head in decoding.alignment_heads
        if 0 <= layer < config.decoder_layers and 0 <= head < config.decoder_heads
    )
    if own:
        return own
    size = (config.encoder_layers, config.decoder_layers, config.decoder_heads, config.n_mels, multilingual)
    if size == _LARGE and _NAMED_LARGE_V1.search(name.lower().rstrip("/")):
        return _LARGE_V1
    upper_half = range(config.decoder_layers // 2, config.decoder_layers)
    every = tuple((layer, head) for layer in upper_half for head in range(config.decoder_heads))
    return _KNOWN_HEADS.get(size, every)
