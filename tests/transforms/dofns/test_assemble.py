from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from model.interface import SAMPLE_RATE
from tests.support.dofn_outputs import MAIN, by_tag
from tests.support.merging_records import PART, SOURCE, window
from transforms.core.damage import Damage
from transforms.core.metrics import CountingMetrics
from transforms.core.progress import PROGRESS
from transforms.core.types import Boundary, CutKind, Recording, Transcript, WindowTranscript
from transforms.dofns.assemble import Assemble, Grouped, count_transcript
from transforms.dofns.tags import FAILURES, ORIGINS, PARTS, SECOND_PASS, WINDOWS
from transforms.merging import assemble
from transforms.merging.settings import MergeSettings

VOTING = MergeSettings()


def grouped(windows: list[WindowTranscript], /, **others: Any) -> Grouped:  # noqa: ANN401
    return "id", {PARTS: [PART], WINDOWS: windows, ORIGINS: [SOURCE], **others}


def outputs_of(values: Grouped, settings: MergeSettings = VOTING) -> dict[str, list[Any]]:
    return by_tag(Assemble(settings).process(values))


def test_both_passes_are_merged_into_a_transcript(counted: CountingMetrics) -> None:
    windows = [window(1, "cy"), window(0, "en"), window(2, "en")]
    found = outputs_of(grouped(windows, **{SECOND_PASS: [window(1, "en")]}))
    assert list(found) == [MAIN]
    (transcript,) = found[MAIN]
    assert isinstance(transcript, Transcript)
    assert transcript.text == "en0 en1 en2"
    counts = counted.counters
    assert (counts["transcribed"], counts["audio_ms"], counts["duplicates"]) == (1, 60_000, 0)
    assert counts["merge_us"] > 0
    assert counted.distributions["recording_s"] == [60]
    assert len(counted.distributions["boundary_agreement_percent"]) == 2


def test_failures_of_the_recording_are_emitted_and_counted(counted: CountingMetrics) -> None:
    part = replace(PART, damage=Damage(read_error="it broke off"))
    windows = [window(0, "en"), window(1, "cy"), window(2, "en")]
    found = outputs_of(grouped(windows, **{PARTS: [part]}))
    assert [failure.kind for failure in found[FAILURES]] == ["truncated", "other_language"]
    assert [transcript.text for transcript in found[MAIN]] == ["en0 cy1 en2"]
    assert counted.counters["failures"] == PROGRESS.tally().failures == 2


@pytest.mark.parametrize("missing", [PARTS, WINDOWS])
def test_a_recording_that_failed_has_no_transcript(missing: str, counted: CountingMetrics) -> None:
    found = outputs_of(grouped([window(0, "en")], **{missing: []}), MergeSettings("en"))
    assert found == {MAIN: []}
    assert "transcribed" not in counted.counters


def test_a_recording_of_which_a_part_is_missing_has_no_transcript() -> None:
    first, last = replace(PART, stop_s=30, n_samples=None), replace(PART, start_s=60)
    values = grouped([window(0, "en"), window(1, "cy")], **{PARTS: [first, last]})
    assert outputs_of(values) == {MAIN: []}


def test_an_exception_of_the_merge_is_the_failure_of_one_recording(
    monkeypatch: pytest.MonkeyPatch, counted: CountingMetrics
) -> None:
    def unexpected(*args: object) -> None:
        raise IndexError("out of range")

    monkeypatch.setattr(assemble, "merge_windows", unexpected)
    found = outputs_of(grouped([window(0, "en")], **{PARTS: [PART, PART]}), MergeSettings("en"))
    (failure,) = found[FAILURES]
    assert (failure.stage, failure.kind) == ("merge", "unexpected")
    assert found[MAIN] == []
    assert counted.counters["merge_us"] > 0


def test_a_recording_named_twice_is_one_transcript(counted: CountingMetrics) -> None:
    windows = [window(0, "en"), window(0, "en"), window(1, "en"), window(1, "en")]
    (transcript,) = outputs_of(grouped(windows, **{PARTS: [PART, PART]}), MergeSettings("en"))[MAIN]
    assert transcript.text == "en0 en1"
    assert counted.counters["transcribed"] == 1


def test_the_parts_of_a_recording_are_one_transcript() -> None:
    parts = [replace(PART, stop_s=30, n_samples=None), replace(PART, start_s=30)]
    assert len(outputs_of(grouped([window(0, "en")], **{PARTS: parts}))[MAIN]) == 1


def test_seconds_of_speech_and_of_skipped_audio_are_counted(counted: CountingMetrics) -> None:
    recording = Recording(SOURCE, 60.0, 3, skipped=((0.0, 1.5), (10.0, 12.0)), speech_s=30.25)
    boundaries = (
        Boundary(20.0, CutKind.DISJOINT, 1.0),
        Boundary(30.0, next(kind for kind in CutKind if kind is not CutKind.DISJOINT), 0.625),
    )
    (transcript,) = outputs_of(grouped([window(0, "en")]))[MAIN]
    before = CountingMetrics()
    before.counters.update(counted.counters)
    before.distributions = {name: list(values) for name, values in counted.distributions.items()}
    count_transcript(recording, replace(transcript, boundaries=boundaries))
    assert counted.counters - before.counters == {
        "transcribed": 1, "audio_ms": 60_000, "skipped_ms": 3_500, "speech_ms": 30_250,
    }  # fmt: skip
    agreements = counted.distributions["boundary_agreement_percent"]
    assert agreements[len(before.distributions.get("boundary_agreement_percent", [])) :] == [62]


def test_a_recording_without_speech_has_an_empty_transcript(counted: CountingMetrics) -> None:
    silent = replace(PART, n_skipped=3, n_speech_samples=0, n_samples=60 * SAMPLE_RATE)
    (transcript,) = outputs_of(grouped([], **{PARTS: [silent]}))[MAIN]
    assert transcript.text == ""
    assert (counted.counters["skipped_ms"], counted.counters["speech_ms"]) == (60_000, 0)


def test_hours_are_those_of_the_clips(counted: CountingMetrics) -> None:
    recording = Recording(SOURCE, 60.0, 1)
    transcript = Transcript("id", "a.wav", 60.0, False, "en", "transcribe", "", (), "m", clips=((1.0, 3.5),))
    count_transcript(recording, transcript)
    assert counted.counters["audio_ms"] == 2_500
