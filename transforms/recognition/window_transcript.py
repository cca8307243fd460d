"""Converts the decoding of a window to a `WindowTranscript`, in seconds of the recording."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from model.interface import SAMPLE_RATE
from model.interface import Segment as ModelSegment
from transforms.core.errors import AudioError, to_failure
from transforms.core.recording_parts import MIN_GAP
from transforms.core.types import (
    AudioSource,
    Failure,
    Segment,
    Untranscribed,
    Window,
    WindowTranscript,
    Word,
)
from transforms.recognition.speech_bounds import held_to_speech, joined_speech, words_held_to_speech
from transforms.recognition.window_decode import DecodePass, DroppedRange
from transforms.windows.splices import in_recording, in_window

CUT_OFF = "cut_off"
"""Reason of `Untranscribed`: the model reached its token limit within the text of these seconds."""


def to_window_transcript(
    window: Window, passes: Sequence[DecodePass], dropped: Iterable[DroppedRange] = ()
) -> WindowTranscript:
    """Converts samples of the window to seconds of the recording; no segment ends after its window.

    Args:
        window: the window as it was read.
        passes: its accepted passes, at least one, in order.
        dropped: what it lost.
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
        speech=_speech(window),
        untranscribed=tuple(_untranscribed(window, (*dropped, *_cut_off(passes)))),
    )


def _cut_off(passes: Iterable[DecodePass]) -> Iterator[DroppedRange]:
    """Yields the segments that ended at the token limit; of a repetition the end is no loss."""
    for one in passes:
        for start, stop, segment in one.placed():
            if segment.is_cut and not one.result.repeated:
                yield DroppedRange(start, stop, CUT_OFF)


def failed_window(window: Window, dropped: Iterable[DroppedRange]) -> WindowTranscript:
    """Returns the transcript of a window of which no decoding succeeded: it has neither text nor language."""
    return WindowTranscript(
        window.audio_id,
        window.index,
        *_seconds(window, 0, window.samples.size),
        segments=(),
        language="",
        timestamped=False,
        speech=_speech(window),
        untranscribed=tuple(_untranscribed(window, dropped)),
    )


def _speech(window: Window) -> tuple[tuple[float, float], ...] | None:
    return None if window.speech is None else tuple(_seconds(window, *part) for part in window.speech)


def _untranscribed(window: Window, dropped: Iterable[DroppedRange]) -> Iterator[Untranscribed]:
    """Yields what a window lost; where there is no text, without the seconds that were cut out of it."""
    for one in dropped:
        if one.text:
            yield Untranscribed(*_seconds(window, one.start, one.stop), one.reason, one.text)
            continue
        for start, stop in _stretches(window, one):
            yield Untranscribed(start / SAMPLE_RATE, stop / SAMPLE_RATE, one.reason)


def _stretches(window: Window, dropped: DroppedRange) -> list[tuple[int, int]]:
    """Returns the samples of the recording in a range of the window; short cuts between them count, too."""
    found: list[tuple[int, int]] = []
    for (start, _), (place, end) in zip(window.stretches, in_window(window.stretches), strict=True):
        first, last = max(dropped.start, place), min(dropped.stop, end)
        if first >= last:
            continue
        first, last = start + first - place, start + last - place
        if found and first - found[-1][1] < MIN_GAP:
            first = found.pop()[0]
        found.append((first, last))
    return found


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
    """Holds the times of segments and words to speech (`transforms.recognition.speech_bounds`).

    Segments with words span these, unless all are at one time. This comes last: filters and further passes
    depend on the times of segments, and the text is to be the same with and without words.
    """
    speech = None if window.speech is None else joined_speech(window.speech)
    held = (
        part for segment in window.segments for part in _held(segment, speech, timestamped=window.timestamped)
    )
    return replace(window, segments=tuple(held))


def _held(
    segment: Segment, speech: Sequence[tuple[float, float]] | None, *, timestamped: bool
) -> tuple[Segment, ...]:
    words = segment.words
    if words and words[0].start_s < words[-1].end_s:
        spanning = replace(segment, start_s=words[0].start_s, end_s=words[-1].end_s)
        return (spanning,) if speech is None else words_held_to_speech(spanning, speech, split=timestamped)
    return (segment,) if speech is None or not timestamped else held_to_speech(segment, speech)


def window_failure(
    source: AudioSource, window: Window, error: Exception, *, is_decoded: bool = False
) -> Failure:
    """Returns the failure of one window, with its seconds, as the rest of the recording is transcribed.

    Args:
        source: the recording.
        window: the window, or a piece of it.
        error: what the model raised.
        is_decoded: whether the seconds were decoded otherwise, or may be yet.
    """
    start_s, end_s = ((source.start_s or 0.0) + time_s for time_s in _seconds(window, 0, window.samples.size))
    outcome = "could not be decoded once more" if is_decoded else "are missing from the transcript"
    reason = (
        f"seconds {start_s:.2f} to {end_s:.2f} {outcome}: the model raised {type(error).__name__}: {error}"
    )
    return to_failure(source, AudioError("transcribe", "model_error", reason, retryable=False))


def _seconds(window: Window, start: int, stop: int) -> tuple[float, float]:
    """Converts samples of a window, clamped to its end, to seconds of the recording."""
    n_samples = window.samples.size
    first, last = in_recording(window.stretches, min(start, n_samples), min(stop, n_samples))
    return first / SAMPLE_RATE, last / SAMPLE_RATE
