"""Merges the windows of a recording, of both passes, into its `Transcript`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from transforms.core.clips import SEVERAL_CLIPS, SEVERAL_CLIPS_ADVICE
from transforms.core.errors import AudioError, to_failure
from transforms.core.failures import unexpected_failure
from transforms.core.recording_parts import complete_parts, join_parts, missing_clips
from transforms.core.types import Failure, Recording, RecordingPart, Transcript, WindowTranscript
from transforms.core.window_index import is_extra
from transforms.merging.language_vote import outvoted, posteriors
from transforms.merging.merge import merge_windows
from transforms.merging.settings import MergeSettings
from transforms.merging.time_shift import shifted
from transforms.merging.untranscribed import failed_seconds, merged_untranscribed
from transforms.merging.weak_boundaries import use_better_boundaries


@dataclass(frozen=True)
class Assembled:
    """The result of one recording.

    Attributes:
        recording: what was read; None if the recording was not read to its end.
        transcript: transcript in seconds of the file; None if there is none, for the reasons in `failures` or
            in those of the windows. A recording without speech has an empty one.
        failures: failures of the recording as a whole.
    """

    recording: Recording | None = None
    transcript: Transcript | None = None
    failures: tuple[Failure, ...] = ()


def assemble(
    parts: Sequence[RecordingPart],
    first: Sequence[WindowTranscript],
    second: Sequence[WindowTranscript],
    settings: MergeSettings,
) -> Assembled:
    """Merges the windows of one recording. An exception in the merge becomes a failure of this recording.

    Args:
        parts: the ranges that were read, in any order.
        first: its windows, in any order, also those that could not be decoded.
        second: the windows of the second pass.
        settings: how to merge.
    """
    complete = complete_parts(parts)
    if not complete:
        return Assembled()
    recording = join_parts(complete)
    unusable = _unusable_clips(recording, parts)
    if unusable is not None:
        return Assembled(recording, failures=(to_failure(recording.source, unusable),))
    failures = list(truncation(recording))
    failed = [window for window in first if not window.is_decoded]
    decoded = [window for window in first if window.is_decoded]
    first = _in_given_language(decoded, settings.language_of(recording.source))
    if not first and recording.n_skipped < recording.n_windows:  # no window could be decoded
        return Assembled(recording, failures=tuple(failures))
    try:
        windows = choose_windows(first, [one for one in second if one.is_decoded]) if first else []
        transcript = _transcript(recording, first, windows, failed, settings)
    except Exception as error:  # an unexpected error of one recording must not affect the others
        failure = unexpected_failure(recording.source, "merge", error)
        return Assembled(recording, failures=(*failures, failure))
    if settings.votes_on(recording.source) and transcript.language is not None:
        failures += language_failures(recording, transcript.language, windows, settings.languages)
    return Assembled(recording, shifted(transcript, recording.source.start_s or 0.0), tuple(failures))


def _unusable_clips(recording: Recording, parts: Iterable[RecordingPart]) -> AudioError | None:
    """Returns why the clips of a recording give no transcript; None if they do, or there are none."""
    if len({part.source.clip_timestamps for part in parts}) > 1:
        return AudioError("list", SEVERAL_CLIPS, SEVERAL_CLIPS_ADVICE)
    clips = recording.source.clip_timestamps
    if clips and clips[0][0] >= recording.duration_s:
        return AudioError(
            "decode", "no_such_clip", missing_clips(recording.source, recording.duration_s) or ""
        )
    return None


def choose_windows(
    first: Sequence[WindowTranscript], second: Sequence[WindowTranscript]
) -> list[WindowTranscript]:
    """Returns one transcript for each window, and the windows about boundaries that improve these.

    Args:
        first: at least one; the windows in the language given, or each in its own.
        second: in the recording's language: the windows that the vote overruled, and the extra windows. A
            window that is missing here keeps its first transcript: text in another language is better than
            missing text.
    """
    # Sorted: if a recording is listed twice with different hints, every run keeps the same transcript.
    ordered = (*sorted(first, key=repr), *sorted(second, key=repr))
    planned = {window.index: window for window in ordered if not is_extra(window.index)}
    return use_better_boundaries(
        [planned[index] for index in sorted(planned)],
        [window for window in ordered if is_extra(window.index)],
    )


def language_failures(
    recording: Recording, language: str, windows: Sequence[WindowTranscript], among: Sequence[str]
) -> Iterator[Failure]:
    """Yields a failure for each outvoted window whose transcript is still in its own language."""
    offset_s, indices = recording.source.start_s or 0.0, outvoted(windows, language, among)
    for window in windows:
        if window.index in indices:
            reason = (
                f"seconds {offset_s + window.start_s:.2f} to {offset_s + window.end_s:.2f} are transcribed "
                f"in {window.language!r}, as they could not be read again to be decoded in {language!r}; "
                f"try --language {language}"
            )
            yield to_failure(recording.source, AudioError("transcribe", "other_language", reason))


def truncation(recording: Recording) -> Iterator[Failure]:
    """Yields the failure of a truncated recording; nothing for a complete one."""
    if recording.truncated:
        reason = (
            f"{recording.problem or 'the audio breaks off'}; what could be decoded, "
            f"{recording.duration_s:.2f} s, was transcribed; fetch the recording again if it is longer"
        )
        yield to_failure(recording.source, AudioError("decode", "truncated", reason, retryable=False))


def _transcript(
    recording: Recording,
    first: Sequence[WindowTranscript],
    windows: Sequence[WindowTranscript],
    failed: Sequence[WindowTranscript],
    settings: MergeSettings,
) -> Transcript:
    """Returns the transcript in seconds of the part that was read.

    Args:
        recording: what is known of the recording.
        first: the windows of the first pass, which the language vote counts.
        windows: the windows to merge.
        failed: the windows of the first pass that could not be decoded.
        settings: how to merge.
    """
    merged = merge_windows(windows, recording.duration_s)
    untranscribed = merged_untranscribed(windows, failed, merged, recording.duration_s)
    failed_s = failed_seconds(untranscribed, recording.source.start_s or 0.0)
    problems = recording.problem, failed_s, _broken_characters(merged.text)
    given = settings.language_of(recording.source)
    probs = posteriors(first, settings.languages) if first and given is None else {}
    return Transcript(
        audio_id=recording.source.audio_id,
        uri=recording.source.name,
        duration_s=recording.duration_s,
        truncated=recording.truncated,
        language=given or next(iter(probs), None),
        task=settings.task,
        text=merged.text,
        segments=merged.segments,
        model=settings.model,
        reference=recording.source.reference,
        language_probs=probs,
        speech_s=recording.speech_s,
        skipped=recording.skipped,
        boundaries=merged.boundaries,
        channel=recording.source.channel,
        declared_s=recording.declared_s,
        problem="; ".join(filter(None, problems)) or None,
        metadata=recording.source.metadata,
        untranscribed=untranscribed,
        streams=recording.streams,
        clips=recording.clips,
    )


def _broken_characters(text: str) -> str | None:
    """Describes the characters of a text that the model wrote a part of; None if there are none."""
    n_broken = text.count("\N{REPLACEMENT CHARACTER}")
    return f"{n_broken} broken characters of the text are U+FFFD" if n_broken else None


def _in_given_language(windows: Sequence[WindowTranscript], given: str | None) -> list[WindowTranscript]:
    """Returns the windows in the given language, if a recording was listed both with and without one."""
    return [window for window in windows if window.language == given] or list(windows)
