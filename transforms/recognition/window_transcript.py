"""Converts the decoding of a window to a `WindowTranscript`, in seconds of the recording."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from model.interface import SAMPLE_RATE
from model.interface import Segment as ModelSegment
from transforms.core.errors import AudioError, to_failure
from transforms.core.types import AudioSource, Failure, Segment, Window, WindowTranscript, Word
from transforms.recognition.window_decode import DecodePass
from transforms.windows.splices import in_recording


def to_window_transcript(window: Window, passes: Sequence[DecodePass]) -> WindowTranscript:
    """Converts samples of the window to seconds of the recording; no segment ends after its window.

    Args:
        window: the window as it was read.
        passes: its accepted passes, at least one, in order.
    """
    result = passes[0].result
    start_s, end_s = _seconds(window, 0, window.samples.size)
    return WindowTranscript(
        audio_id=window.audio_id,
        index=window.index,
        start_s=start_s,
        end_s=end_s,
        segments=_with_words_in_order(
            _segment(window, decode_pass, segment)
            for decode_pass in passes
            for segment in decode_pass.result.segments
        ),
        language=result.language,
        language_probs=result.language_probs,
        no_speech_prob=result.no_speech_prob,
        timestamped=result.timestamped,
        speech=None if window.speech is None else tuple(_seconds(window, *part) for part in window.speech),
    )


def _segment(window: Window, decode_pass: DecodePass, segment: ModelSegment) -> Segment:
    def seconds(start: int, stop: int) -> tuple[float, float]:
        return _seconds(window, decode_pass.offset + start, decode_pass.offset + stop)

    result = decode_pass.result
    words = tuple(
        Word(*seconds(word.start, word.stop), word.text, word.probability) for word in segment.words
    )
    start_s, end_s = seconds(segment.start, segment.stop)
    return Segment(
        start_s=start_s,
        end_s=end_s,
        text=segment.text,
        avg_logprob=result.avg_logprob,
        no_speech_prob=result.no_speech_prob,
        compression_ratio=result.compression_ratio,
        temperature=result.temperature,
        language=result.language,
        fallback=decode_pass.fallback,
        words=words,
    )


def _with_words_in_order(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """Ends words where the next segment's begin: the last word of a pass may reach into the next pass."""
    ordered: list[Segment] = []
    limit_s = math.inf
    for segment in reversed(tuple(segments)):
        if segment.words and segment.words[-1].end_s > limit_s:
            words = (
                replace(word, start_s=min(word.start_s, limit_s), end_s=min(word.end_s, limit_s))
                for word in segment.words
            )
            segment = replace(segment, words=tuple(words))
        if segment.words:
            limit_s = segment.words[0].start_s
        ordered.append(segment)
    return tuple(reversed(ordered))


def within_speech(window: WindowTranscript) -> WindowTranscript:
    """Trims silence from the ends of segments: Whisper starts the first segment with the window.

    Segments with words span these instead, unless all are at one time. This comes last: filters and further
    passes depend on the times of segments, and the text is to be the same with and without words.
    """
    speech = window.speech if window.timestamped else None
    return replace(window, segments=tuple(_trimmed(segment, speech) for segment in window.segments))


def _trimmed(segment: Segment, speech: Sequence[tuple[float, float]] | None) -> Segment:
    if segment.words and segment.words[0].start_s < segment.words[-1].end_s:
        return replace(segment, start_s=segment.words[0].start_s, end_s=segment.words[-1].end_s)
    return segment if speech is None else _spoken(segment, speech)


def _spoken(segment: Segment, speech: Sequence[tuple[float, float]]) -> Segment:
    inside = [
        (start_s, end_s) for start_s, end_s in speech if start_s < segment.end_s and end_s > segment.start_s
    ]
    if not inside:
        return segment
    return replace(
        segment, start_s=max(segment.start_s, inside[0][0]), end_s=min(segment.end_s, inside[-1][1])
    )


def window_failure(source: AudioSource, window: Window, error: Exception) -> Failure:
    """Returns the failure of one window, with its seconds, as the rest of the recording is transcribed."""
    start_s, end_s = ((source.start_s or 0.0) + time_s for time_s in _seconds(window, 0, window.samples.size))
    reason = (
        f"seconds {start_s:.2f} to {end_s:.2f} are missing from the transcript: "
        f"the model raised {type(error).__name__}: {error}"
    )
    return to_failure(source, AudioError("transcribe", "model_error", reason, retryable=False))


def _seconds(window: Window, start: int, stop: int) -> tuple[float, float]:
    """Converts samples of a window, clamped to its end, to seconds of the recording."""
    n_samples = window.samples.size
    first, last = in_recording(window.stretches, min(start, n_samples), min(stop, n_samples))
    return first / SAMPLE_RATE, last / SAMPLE_RATE
