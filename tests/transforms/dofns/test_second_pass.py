from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.dofn_outputs import MAIN, by_tag
from tests.support.merging_records import (
    PART,
    SOURCE,
    WEAK_LEFT,
    WEAK_MERGED,
    WEAK_RIGHT,
    weak_middle,
    window,
)
from transforms.core.metrics import CountingMetrics
from transforms.core.types import AudioSpan, WindowTranscript, of_channel, of_stream
from transforms.dofns.assemble import Assemble, Grouped
from transforms.dofns.second_pass import by_file, plan_second_passes, reopen_origin
from transforms.dofns.tags import FAILURES, ORIGINS, PARTS, SECOND_PASS, WINDOWS
from transforms.merging.second_pass import SecondPass
from transforms.merging.settings import MergeSettings
from transforms.sources.hf_datasets import dataset_work

VOTING = MergeSettings()


def grouped(windows: list[WindowTranscript], /, **others: Any) -> Grouped:  # noqa: ANN401
    return "id", {PARTS: [PART], WINDOWS: windows, ORIGINS: [SOURCE], **others}


def test_windows_that_agree_need_no_second_pass() -> None:
    assert list(plan_second_passes(grouped([window(i, "en") for i in range(3)]), VOTING)) == []


def test_a_second_pass_is_keyed_by_its_origin_and_counted(counted: CountingMetrics) -> None:
    windows = [window(0, "en"), window(1, "cy"), window(2, "en")]
    expected = SecondPass("id", "en", frozenset({1}), ())
    assert list(plan_second_passes(grouped(windows), VOTING)) == [("id", (expected, SOURCE))]
    assert (counted.counters["windows_redone"], counted.counters["boundaries_redone"]) == (1, 0)


@pytest.mark.parametrize("missing", [PARTS, WINDOWS])
def test_a_recording_that_failed_has_no_second_pass(missing: str) -> None:
    values = grouped([window(0, "en"), window(1, "cy")], **{missing: []})
    assert list(plan_second_passes(values, VOTING)) == []


def test_a_recording_of_which_a_part_is_missing_has_no_second_pass() -> None:
    first, last = replace(PART, stop_s=30, n_samples=None), replace(PART, start_s=60)
    values = grouped([window(0, "en"), window(1, "cy")], **{PARTS: [first, last]})
    assert list(plan_second_passes(values, VOTING)) == []


def test_a_recording_without_speech_has_no_second_pass() -> None:
    silent = replace(PART, n_skipped=3, n_speech_samples=0)
    assert list(plan_second_passes(grouped([], **{PARTS: [silent]}), VOTING)) == []


def test_the_language_of_the_recording_needs_no_vote() -> None:
    part = replace(PART, source=replace(SOURCE, language="fr"))
    values = grouped([window(0, "fr"), window(1, "fr")], **{PARTS: [part]})
    assert list(plan_second_passes(values, VOTING)) == []


def test_weak_boundaries_are_planned_reopened_and_merged(counted: CountingMetrics) -> None:
    settings = MergeSettings(redecode_below=0.5)
    values = grouped([WEAK_LEFT, WEAK_RIGHT])
    ((key, planned),) = plan_second_passes(values, settings)
    assert counted.counters["boundaries_redone"] == 1
    (span,) = reopen_origin((key, [planned]))
    assert isinstance(span, AudioSpan)
    assert span.windows == frozenset()
    ((index, start),) = span.extra
    middle = weak_middle(index, start / 16_000)
    (transcript,) = by_tag(
        Assemble(settings).process(grouped([WEAK_LEFT, WEAK_RIGHT], **{SECOND_PASS: [middle]}))
    )[MAIN]
    assert transcript.text == WEAK_MERGED
    assert len(transcript.boundaries) == 2
    assert list(plan_second_passes(values, VOTING)) == []


def test_channels_are_planned_on_their_own_and_reopened_together() -> None:
    channels = [of_channel(SOURCE, channel) for channel in (0, 1, 2)]
    windows = [
        replace(window(index, "cy" if index == 1 and one.channel else "en"), audio_id=one.audio_id)
        for one in channels
        for index in range(3)
    ]
    values: dict[str, list[Any]] = {
        PARTS: [replace(PART, source=one) for one in channels],
        WINDOWS: windows,
        ORIGINS: [SOURCE],
    }
    assert {by_file((one.audio_id, one))[0] for one in windows} == {SOURCE.audio_id}
    planned = list(plan_second_passes(("id", values), VOTING))
    assert [(key, one.audio_id, one.channel, one.windows) for key, (one, _) in planned] == [
        ("id", "id-1", 1, {1}),
        ("id", "id-2", 2, {1}),
    ]
    spans = list(reopen_origin(("id", [one for _, one in planned])))
    assert spans == [AudioSpan(one, "en", frozenset({1})) for one in channels[1:]]


def test_channels_that_are_lines_of_a_manifest_are_reopened_as_they_are() -> None:
    lines = [replace(of_channel(SOURCE, n), prompt=f"line {n}") for n in (0, 1)]
    windows = [
        replace(window(index, "cy" if index == 1 else "en"), audio_id=one.audio_id)
        for one in lines
        for index in range(3)
    ]
    values = {PARTS: [replace(PART, source=one) for one in lines], WINDOWS: windows, ORIGINS: lines[::-1]}
    planned = list(plan_second_passes(("id", values), VOTING))
    assert [key for key, _ in planned] == ["id-0", "id-1"]
    spans = [span for key, one in planned for span in reopen_origin((key, [one]))]
    assert spans == [AudioSpan(one, "en", frozenset({1})) for one in lines]


def test_a_chosen_channel_is_chosen_again() -> None:
    source = replace(SOURCE, channel=1)
    windows = [window(0, "en"), window(1, "cy"), window(2, "en")]
    values = grouped(windows, **{PARTS: [replace(PART, source=source)]})
    ((_, planned),) = plan_second_passes(values, VOTING)
    assert list(reopen_origin(("id", [planned]))) == [AudioSpan(source, "en", frozenset({1}))]


def test_a_chosen_stream_is_chosen_again_and_each_of_all_is_reopened() -> None:
    windows = [window(0, "en"), window(1, "cy"), window(2, "en")]
    for source in (replace(SOURCE, stream=1), replace(SOURCE, stream="en"), of_stream(SOURCE, 2)):
        named = [replace(one, audio_id=source.audio_id) for one in windows]
        values = grouped(named, **{PARTS: [replace(PART, source=source)]})
        ((_, planned),) = plan_second_passes(values, VOTING)
        assert list(reopen_origin(("id", [planned]))) == [AudioSpan(source, "en", frozenset({1}))]


def test_a_shard_that_is_gone_for_the_second_pass_is_a_failure(
    tmp_path: Path, counted: CountingMetrics
) -> None:
    pq.write_table(pa.table({"audio": [{"bytes": b"a", "path": "a.wav"}]}), tmp_path / "train.parquet")
    (shard,) = dataset_work(f"{tmp_path}/train.parquet", "train")
    windows = [window(0, "en"), window(1, "cy"), window(2, "en")]
    ((key, planned),) = plan_second_passes(grouped(windows, **{ORIGINS: [shard]}), VOTING)
    assert key == repr(shard)
    (tmp_path / "train.parquet").unlink()
    found = by_tag(reopen_origin((key, [planned])))
    assert [failure.kind for failure in found[FAILURES]] == ["not_found"]
    assert found[MAIN] == []
    assert counted.counters["failures"] == 1
