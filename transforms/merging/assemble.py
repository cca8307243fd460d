"""What was said in a recording's windows, brought together: the language, the second look, the row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from transforms.core.errors import AudioError, to_failure
from transforms.core.types import (
    Failure,
    Recording,
    WindowTranscript,
)
from transforms.merging.weak_boundaries import is_extra, with_better_boundaries


def choose_windows(
    first: Sequence[WindowTranscript], again: Sequence[WindowTranscript]
) -> list[WindowTranscript]:
    """Of each window the transcript that counts, and the windows about boundaries that make these better.

    Args:
        first: at least one; what was said of each window in the language given, or in its own.
        again: what was said in the recording's language of those that the vote overruled, and of those off
            the plan. A window that is missing here keeps its first transcript: text in another language is
            better than a hole.
    """
    # Sorted: of a recording that was named twice, with other hints, the same transcript wins in every run.
    ordered = (*sorted(first, key=repr), *sorted(again, key=repr))
    planned = {window.index: window for window in ordered if not is_extra(window)}
    return with_better_boundaries(
        [planned[index] for index in sorted(planned)], [window for window in ordered if is_extra(window)]
    )


def language_failures(
    recording: Recording, language: str, windows: Sequence[WindowTranscript]
) -> Iterator[Failure]:
    """A failure for each window whose transcript is still in another language than its recording's."""
    offset_s = recording.source.start_s or 0.0
    for window in windows:
        if window.language != language:
            reason = (
                f"seconds {offset_s + window.start_s:.2f} to {offset_s + window.end_s:.2f} are transcribed "
                f"in {window.language!r}, for they could not be read again to be decoded in {language!r}; "
                f"try --language {language}"
            )
            yield to_failure(recording.source, AudioError("transcribe", "other_language", reason))
