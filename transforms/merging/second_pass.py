"""Windows that are decoded a second time: those that the language vote overruled, and weak boundaries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from transforms.core.audio_streams import StreamChoice
from transforms.core.clips import ClipTimes
from transforms.core.failures import errors_as_failures
from transforms.core.types import AudioSource, AudioSpan, Failure, WindowTranscript, file_id
from transforms.fetch.policy import DEFAULT_POLICY, FetchPolicy
from transforms.merging.language_vote import outvoted, vote
from transforms.merging.settings import MergeSettings
from transforms.merging.weak_boundaries import weak_boundary_windows
from transforms.sources.work_items import Work, failure_source, open_work


@dataclass(frozen=True)
class SecondPass:
    """Windows of a recording to be decoded again.

    Attributes:
        audio_id: `audio_id` of the recording.
        language: code of the language to decode them in.
        windows: indices of windows of the plan.
        extra: windows outside the plan, see `AudioSpan`.
        channel, stream, clip_timestamps: see `AudioSource`.
    """

    audio_id: str
    language: str
    windows: frozenset[int]
    extra: tuple[tuple[int, int], ...]
    channel: int | None = None
    stream: StreamChoice = None
    clip_timestamps: ClipTimes = ()

    def span_of(self, source: AudioSource) -> AudioSpan:
        """Returns the span of the recording to read for it.

        Args:
            source: the file that the recording is, or is an audio stream or a channel of.
        """
        recording = replace(
            source,
            audio_id=self.audio_id,
            channel=self.channel,
            stream=self.stream,
            clip_timestamps=self.clip_timestamps,
        )
        return AudioSpan(recording, self.language, self.windows, self.extra)


def second_pass_of(
    source: AudioSource, windows: Sequence[WindowTranscript], settings: MergeSettings
) -> SecondPass | None:
    """Returns the windows of a recording to decode again; None if there are none, as for nearly all.

    These are the windows that the vote on the language overruled, and a window about each weak boundary
    between two windows that it did not overrule.

    Args:
        source: the recording.
        windows: the windows of the first pass; those that could not be decoded do not count.
        settings: how the recording is merged.
    """
    windows = [window for window in windows if window.is_decoded]
    if not windows:
        return None
    language = settings.language_of(source) or vote(windows, settings.languages)
    indices = outvoted(windows, language, settings.languages) if settings.votes_on(source) else frozenset()
    settled = [window for window in windows if window.index not in indices and window.language == language]
    extra = weak_boundary_windows(settled, settings.redecode_below, settings.window_s)
    if not indices and not extra:
        return None
    return SecondPass(
        source.audio_id, language, indices, extra, source.channel, source.stream, source.clip_timestamps
    )


def reopen(
    passes: Iterable[SecondPass], origin: Work, policy: FetchPolicy = DEFAULT_POLICY
) -> Iterator[AudioSpan | Failure]:
    """Yields the spans of second passes over recordings of one origin.

    A shard is read again for the payloads of its rows, because payloads are not shipped through a grouping.
    Only shards that contain such a recording are read twice.

    Args:
        passes: second passes over recordings of the origin.
        origin: the work item that the recordings are from.
        policy: which URIs may be fetched.
    """
    by_file: dict[str, dict[str, SecondPass]] = defaultdict(dict)  # by the file, then by the recording
    for one in passes:
        by_file[file_id(one.audio_id)][one.audio_id] = one
    broken = None
    for source in errors_as_failures(open_work(origin, policy), failure_source(origin), "list"):
        if isinstance(source, Failure):
            broken = source  # of another recording, and reported in the first pass; or that of the origin
            continue
        for _, one in sorted(by_file.pop(file_id(source.audio_id), {}).items()):
            yield one.span_of(source)
        if not by_file:
            return
    if broken is not None:
        yield broken
