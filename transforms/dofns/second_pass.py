"""Beam functions of the second pass: the windows to decode again, keyed by the origin to read them from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from apache_beam.pvalue import TaggedOutput

from transforms.core.recording_parts import complete_parts
from transforms.core.types import AudioSource, AudioSpan, Failure, RecordingPart, file_id
from transforms.dofns.assemble import Grouped
from transforms.dofns.counters import BEAM_METRICS
from transforms.dofns.tags import ORIGINS, PARTS, WINDOWS, failed
from transforms.fetch.policy import DEFAULT_POLICY, FetchPolicy
from transforms.merging.second_pass import SecondPass, reopen, second_pass_of
from transforms.merging.settings import MergeSettings
from transforms.sources.work_items import Work

PassAndOrigin = tuple[SecondPass, Work]


def by_file(keyed: tuple[str, Any]) -> tuple[str, Any]:
    """Keys a value by its file, where it is keyed by a channel: all channels share the file's origin."""
    audio_id, value = keyed
    return file_id(audio_id), value


def plan_second_passes(grouped: Grouped, settings: MergeSettings) -> Iterator[tuple[str, PassAndOrigin]]:
    """Emits the second passes over a file's recordings (one, or one per channel), keyed by their origin."""
    _, values = grouped
    by_id: dict[str, list[RecordingPart]] = defaultdict(list)
    for part in values[PARTS]:
        by_id[part.source.audio_id].append(part)
    for audio_id in sorted(by_id):
        windows = [window for window in values[WINDOWS] if window.audio_id == audio_id]
        parts = complete_parts(by_id[audio_id])
        if not windows or not parts:  # it failed, and its failure was emitted
            continue
        second_pass = second_pass_of(parts[0].source, windows, settings)
        if second_pass is not None:
            BEAM_METRICS.count("windows_redone", len(second_pass.windows))
            BEAM_METRICS.count("boundaries_redone", len(second_pass.extra))
            origin = _origin_of(audio_id, values[ORIGINS])
            key = origin.audio_id if isinstance(origin, AudioSource) else repr(origin)
            yield key, (second_pass, origin)


def _origin_of(audio_id: str, origins: Iterable[Work]) -> Work:
    """Returns the origin of a recording: its own, where lines of a manifest name channels of one file."""
    found = list(origins)
    own = [one for one in found if isinstance(one, AudioSource) and one.audio_id == audio_id]
    return min(own or found, key=repr)


def reopen_origin(
    grouped: tuple[str, Iterable[PassAndOrigin]], policy: FetchPolicy = DEFAULT_POLICY
) -> Iterator[AudioSpan | TaggedOutput[str, Failure]]:
    """Emits the spans of the second passes that are read from one origin."""
    passes = list(grouped[1])
    _, origin = passes[0]
    for span in reopen((one for one, _ in passes), origin, policy):
        yield failed(span) if isinstance(span, Failure) else span
