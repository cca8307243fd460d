"""Speech without text in a decoding: the tail behind its last segment, and what counts as silence.

Without voice activity detection, loudness stands for speech.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from model.interface import SAMPLE_RATE, Samples, WindowResult
from transforms.core.text import has_letters
from transforms.core.types import Window
from transforms.recognition.decode_passes import DroppedRange

MIN_TAIL = SAMPLE_RATE  # samples: less than a second is a breath, or a timestamp that is a bit early
FRAME = SAMPLE_RATE // 50  # samples: 20 ms
MIN_LOUD = 3 * SAMPLE_RATE // 10  # samples: 0.3 s, a short word
MIN_SPEECH = SAMPLE_RATE  # samples: a short word with the 0.4 s that the VAD keeps on each side of it
SPEECH_LEVEL, NOISE_LEVEL = 90, 10  # percentiles of a window's frames
BELOW_SPEECH_DB, ABOVE_NOISE_DB = 20.0, 6.0
REMAINDER = "remainder"
"""Reason of `Untranscribed`: the model stopped before it, and it has no text that passed the thresholds."""
NO_SPEECH = "no_speech"
"""Reason of `Untranscribed`: the model took it for silence."""


def tail_start(window: Window, result: WindowResult) -> int | None:
    """Returns the sample from which a window should be decoded again; None if nothing was left out.

    Audio is left out if it lies after the last segment, is in no later window, and contains speech. A window
    without text or timestamps has no position to continue from.
    """
    if not result.timestamped or not result.segments:
        return None
    stop = result.segments[-1].stop
    if window.n_unshared - stop < MIN_TAIL or not has_speech(window, stop, window.n_unshared):
        return None
    return stop


def has_speech(window: Window, start: int, stop: int) -> bool:
    """Whether there is at least a short word between two samples of a window."""
    if window.speech is None:
        return is_loud(window.samples, start, stop)
    n_speech = sum(max(min(end, stop) - max(begin, start), 0) for begin, end in window.speech)
    return n_speech >= MIN_SPEECH


def is_loud(samples: Samples, start: int, stop: int) -> bool:
    """Whether there may be speech between two samples: enough frames above noise, near speech level."""
    levels = frame_levels_db(samples)
    speech, noise = np.percentile(levels, [SPEECH_LEVEL, NOISE_LEVEL])
    threshold = max(speech - BELOW_SPEECH_DB, noise + ABOVE_NOISE_DB)
    loud = levels[start // FRAME : stop // FRAME] > threshold
    return int(loud.sum()) * FRAME >= MIN_LOUD


def frame_levels_db(samples: Samples) -> NDArray[np.float32]:
    """Returns the root mean square of each 20 ms in dB of full scale, float32[n // 320]; -100 for silence."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    levels: NDArray[np.float32] = 10 * np.log10(np.mean(np.square(frames), axis=1) + 1e-10)
    return levels


def silenced(window: Window, result: WindowResult, start: int, stop: int) -> Iterator[DroppedRange]:
    """Yields the text of a result that counts as silence; its samples, if there is speech and no text.

    Args:
        window: the window.
        result: decoding of a range of it.
        start: first sample of the range.
        stop: one past its last sample.
    """
    written = [segment for segment in result.segments if has_letters(segment.text)]
    for segment in written:
        yield DroppedRange(start + segment.start, start + segment.stop, NO_SPEECH, segment.text)
    if not written and window.speech is not None and has_speech(window, start, stop):
        yield DroppedRange(start, stop, NO_SPEECH)


def rejected_tail(window: Window, start: int, result: WindowResult) -> Iterator[DroppedRange]:
    """Yields the text of a tail that failed a threshold; its samples, if there is speech and no text.

    Args:
        window: the window.
        start: first sample of the tail.
        result: the best decoding of it.
    """
    text = "".join(segment.text for segment in result.segments)
    if has_letters(text) or window.speech is not None:  # else it may be noise
        yield DroppedRange(start, window.n_unshared, REMAINDER, text)
