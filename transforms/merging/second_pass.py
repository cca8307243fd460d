"""Windows that are decoded a second time: outvoted ones, and those about weak boundaries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from apache_beam.pvalue import TaggedOutput

from transforms.core.failures import caught
from transforms.core.metrics import count
from transforms.core.recording_parts import chosen
from transforms.core.types import (
    AudioSource,
    AudioSpan,
    Failure,
    RecordingPart,
    WindowTranscript,
    file_id,
)
from transforms.dofns.tags import ORIGINS, PARTS, WINDOWS, failed
from transforms.fetch.policy import CAREFUL, FetchPolicy
from transforms.merging.language_vote import outvoted, vote
from transforms.merging.settings import Assembly, Grouped
from transforms.merging.weak_boundaries import about_weak_boundaries
from transforms.sources.work_items import Work, name_of, open_work


@dataclass(frozen=True)
class SecondLook:
    """Windows of a recording to be decoded again, and where the recording was found.

    Attributes:
        windows: indices of the plan.
        extra: windows off the plan, as in `AudioSpan`.
        channel: as in `AudioSource`.
    """

    audio_id: str
    language: str
    windows: frozenset[int]
    extra: tuple[tuple[int, int], ...]
    origin: Work
    channel: int | None = None


def by_file(keyed: tuple[str, Any]) -> tuple[str, Any]:
    """Keys a value by its file, where it is keyed by a channel: all channels are found where the file was."""
    audio_id, value = keyed
    return file_id(audio_id), value


def second_looks(grouped: Grouped, assembly: Assembly) -> Iterator[tuple[str, SecondLook]]:
    """Asks for what is to be decoded again of a file's recordings, keyed by where they are read from.

    It has one, or one for each channel. That is the windows that the vote on the language overruled, and a
    window about each weak boundary between two that it did not. Nothing is given where windows agree, as
    nearly all do.
    """
    _, values = grouped
    by_id: dict[str, list[RecordingPart]] = defaultdict(list)
    for part in values[PARTS]:
        by_id[part.source.audio_id].append(part)
    for audio_id in sorted(by_id):
        windows = [window for window in values[WINDOWS] if window.audio_id == audio_id]
        parts = chosen(by_id[audio_id])
        if windows and parts:  # else it failed, and its failure is on its way
            origin = min(values[ORIGINS], key=repr)
            yield from _second_look(parts[0].source, windows, origin, assembly)


def _second_look(
    source: AudioSource, windows: Sequence[WindowTranscript], origin: Work, assembly: Assembly
) -> Iterator[tuple[str, SecondLook]]:
    language = assembly.language_of(source) or vote(windows)
    indices = outvoted(windows, language) if assembly.votes_on(source) else frozenset()
    settled = [window for window in windows if window.index not in indices and window.language == language]
    extra = about_weak_boundaries(settled, assembly.redecode_below, assembly.window_s)
    if indices or extra:
        count("windows_redone", len(indices))
        count("boundaries_redone", len(extra))
        key = origin.audio_id if isinstance(origin, AudioSource) else repr(origin)
        yield key, SecondLook(source.audio_id, language, indices, extra, origin, source.channel)


def open_again(
    grouped: tuple[str, Iterable[SecondLook]], policy: FetchPolicy = CAREFUL
) -> Iterator[AudioSpan | TaggedOutput[str, Failure]]:
    """Second looks into spans; a shard is read once more for the payload of its rows.

    Payloads therefore cross no grouping, and only shards that hold such a recording are read twice.
    """
    looks: dict[str, dict[str, SecondLook]] = defaultdict(dict)  # by the file, then by the recording
    for look in grouped[1]:
        looks[file_id(look.audio_id)][look.audio_id] = look
        origin = look.origin  # the same for all
    broken = None
    for source in caught(open_work(origin, policy), name_of(origin), "list"):
        if isinstance(source, Failure):
            broken = source  # of another recording, and told at the first look; or else the last one
            continue
        for audio_id, look in sorted(looks.pop(source.audio_id, {}).items()):
            again = replace(source, audio_id=audio_id, channel=look.channel)
            yield AudioSpan(again, look.language, look.windows, look.extra)
        if not looks:
            return
    if broken is not None:
        yield failed(broken)
