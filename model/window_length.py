"""How much of its 30 seconds the network is given of a window.

Whisper was trained on windows of 30 s, and nearly all of the work for a short clip is for the silence behind
it. The encoder also works on fewer positions: a window is padded by `PAD` samples of silence at least, to one
of a few lengths, as each is compiled. What the model then lacks is the silence in which it would end its
text, so segments cannot begin or end behind the audio (`last_times`).
"""

from __future__ import annotations

from collections.abc import Sequence

from model.interface import SAMPLE_RATE, WINDOW_SAMPLES
from model.special_tokens import N_TIMESTAMPS, SAMPLES_PER_TIMESTAMP

PAD = 2 * SAMPLE_RATE
ENCODED_LENGTHS = tuple(seconds * SAMPLE_RATE for seconds in (5, 8, 11, 14, 20, 30))
"""Samples that the encoder is given: those of the window and its padding."""

DECODED_LENGTHS = (14 * SAMPLE_RATE, WINDOW_SAMPLES)
"""Samples that the decoder has room for in each row of a batch. They are few, so that most windows can share
batches, and as compiling a decoder takes five times as long as an encoder."""

SHORT_LANGUAGE = "en"
"""The language whose short windows are given to the network with less than 30 s."""

_SHORTEST_SEGMENT = SAMPLE_RATE * 3 // 10
"""A segment does not begin in the last 0.3 s of a short window: what is written there was never spoken."""


def encoded_length(n_samples: int, *, full: bool) -> int:
    """Returns the length of the encoder's input, one of `ENCODED_LENGTHS`, for a window of `n_samples`.

    Args:
        n_samples: length of the window.
        full: whether it gets 30 s in any case.
    """
    return WINDOW_SAMPLES if full else _fitting(n_samples + PAD, ENCODED_LENGTHS)


def decoded_length(length: int) -> int:
    """Returns the one of `DECODED_LENGTHS` for windows that were encoded with that length."""
    return _fitting(length, DECODED_LENGTHS)


def last_times(n_samples: int, length: int) -> tuple[int, int]:
    """Returns the latest time at which a segment of a window may begin, and the latest at all.

    In steps of 20 ms. With the full 30 s there is no limit, as with openai/whisper.

    Args:
        n_samples: length of the window.
        length: length of the encoder's input.
    """
    if length == WINDOW_SAMPLES:
        return N_TIMESTAMPS - 1, N_TIMESTAMPS - 1
    last = -(-n_samples // SAMPLES_PER_TIMESTAMP)
    return max(0, (n_samples - _SHORTEST_SEGMENT) // SAMPLES_PER_TIMESTAMP), last


def _fitting(n_samples: int, lengths: Sequence[int]) -> int:
    return next((length for length in lengths if n_samples <= length), lengths[-1])
