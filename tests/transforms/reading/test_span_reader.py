from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import soundfile

from model.interface import SAMPLE_RATE, SPEECH_CHUNK, Samples
from tests.support.detectors import IntermittentDetector
from tests.support.span_reading import KNOWN, PLAN, Reading, read, wav
from tests.support.stops import OwnStopError, StopAfter
from transforms.checkpoint.spans import SpanStart, SpanStarted, WorkUnit
from transforms.core.cancellation import Check
from transforms.core.damage import Damage
from transforms.core.recording_parts import complete_parts, join_parts
from transforms.core.run_context import RunContext
from transforms.core.sections import Sections
from transforms.core.types import AudioSource, AudioSpan, RecordingPart
from transforms.core.uris import audio_source
from transforms.fetch.policy import DEFAULT_POLICY, FetchPolicy
from transforms.reading.span_reader import SpanReader
from transforms.windows.plan import WindowPlan


def test_a_file_is_its_windows_and_one_part(tmp_path: Path) -> None:
    source = audio_source(str(wav(tmp_path / "a.wav", 70)))
    found = read(AudioSpan(source, "fr"))
    assert [(window.index, window.stretches, window.language) for _, window in found.windows] == [
        (0, ((0, 30 * SAMPLE_RATE),), "fr"),
        (1, ((25 * SAMPLE_RATE, 55 * SAMPLE_RATE),), "fr"),
        (2, ((50 * SAMPLE_RATE, 70 * SAMPLE_RATE),), "fr"),
    ]
    (part,) = found.parts
    assert part.source.audio_id == source.audio_id
    assert (part.n_samples, part.n_windows) == (70 * SAMPLE_RATE, 3)
    assert found.failures == []
    assert found.tally.recordings == 1
    assert found.tally.audio_s == pytest.approx(70.0)  # shared seconds are counted once


class RegularDetector:
    """Detects speech in one fifth of each 3.2 s."""

    n_read = 0

    def __call__(self, samples: Samples) -> Samples:
        numbers = np.arange(self.n_read // SPEECH_CHUNK, (self.n_read + len(samples)) // SPEECH_CHUNK)
        self.n_read += len(samples)
        return (numbers % 100 < 20).astype(np.float32)

    def finish(self) -> Samples:
        return np.zeros(int(self.n_read % SPEECH_CHUNK > 0), np.float32)


def test_silence_that_is_in_no_window_counts_as_progress(tmp_path: Path) -> None:
    source = audio_source(str(wav(tmp_path / "a.wav", 8)))
    found = read(AudioSpan(source), WindowPlan(30, 5, RegularDetector))
    ((_, window),) = found.windows
    assert len(window.stretches) == 3
    assert window.stretches[-1][1] < 8 * SAMPLE_RATE
    assert found.tally.audio_s == pytest.approx(8.0)


def test_sources_of_windows_and_parts_have_no_payload(tmp_path: Path) -> None:
    payload = wav(tmp_path / "a.wav", 1).read_bytes()
    found = read(AudioSpan(audio_source("dataset://d/0", payload)))
    assert [source.payload for source, _ in found.windows] == [None]
    assert found.parts[0].source.payload is None


def test_a_second_pass_reads_the_wanted_windows_and_adds_no_progress(tmp_path: Path) -> None:
    source = audio_source(str(wav(tmp_path / "a.wav", 70)))
    found = read(AudioSpan(source, "en", frozenset({1})))
    assert [window.index for _, window in found.windows] == [1]
    assert found.parts == []
    assert (found.tally.recordings, found.tally.audio_s) == (0, 0.0)


def test_a_recording_that_cannot_be_read_is_a_failure(tmp_path: Path) -> None:
    source = audio_source(str(tmp_path / "missing.wav"))
    found = read(AudioSpan(source))
    (failure,) = found.failures
    assert (failure.audio_id, failure.stage, failure.kind) == (source.audio_id, "fetch", "not_found")
    assert found.windows == []
    assert found.tally.recordings == 1


def test_only_the_part_of_a_file_that_was_asked_for_is_read(tmp_path: Path) -> None:
    source = replace(audio_source(str(wav(tmp_path / "a.wav", 70))), start_s=20.0, end_s=60.0)
    found = read(AudioSpan(source, "fr"))
    assert [window.stretches for _, window in found.windows] == [
        ((0, 30 * SAMPLE_RATE),), ((25 * SAMPLE_RATE, 40 * SAMPLE_RATE),),
    ]  # fmt: skip
    (part,) = found.parts
    assert (part.n_samples, part.damage) == (40 * SAMPLE_RATE, Damage())


def test_a_second_pass_starts_at_its_section_and_has_no_part(tmp_path: Path) -> None:
    source = audio_source(str(wav(tmp_path / "a.wav", 400)))
    plan = replace(PLAN, sections=Sections(120))
    found = read(AudioSpan(source, "en", frozenset({11})), plan)
    assert [(window.index, window.stretches[0][0]) for _, window in found.windows] == [
        (11, 275 * SAMPLE_RATE)
    ]
    assert found.started == [SpanStarted("key")]


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> AudioSource:
    """Five and a half minutes with speech now and then, and silence in the middle."""
    rng = np.random.default_rng(0)
    samples = rng.uniform(-0.5, 0.5, 330 * SAMPLE_RATE).astype(np.float32)
    samples[150 * SAMPLE_RATE : 215 * SAMPLE_RATE] = 0
    path = tmp_path_factory.mktemp("talk") / "a.wav"
    soundfile.write(path, samples, SAMPLE_RATE)
    return audio_source(str(path))


PLANS = [
    replace(plan, sections=Sections(120))
    for plan in (
        WindowPlan(30, 5, IntermittentDetector),
        WindowPlan(30, 5, IntermittentDetector, over_speech=False),
        PLAN,
    )
]


def windows_of(found: Reading) -> list[tuple[int, bytes]]:
    return [(window.index, window.samples.tobytes()) for _, window in found.windows]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("span_s", [30, 60, 90, 120, 240, 3600])
def test_windows_and_parts_do_not_depend_on_the_length_of_spans(
    talk: AudioSource, plan: WindowPlan, span_s: int
) -> None:
    expected = read(AudioSpan(talk), plan)
    found = read(AudioSpan(talk), plan, span_s)
    assert windows_of(found) == windows_of(expected)
    assert join_parts(found.parts) == join_parts(expected.parts)
    assert complete_parts(found.parts) == found.parts
    starts = [one.start.start_s for one in found.started]
    assert starts == list(range(0, 330, span_s))
    assert [one.key for one in found.started][1:] == [f"key/0/{start_s}" for start_s in starts[1:]]
    assert found.tally.audio_s == pytest.approx(330)


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("span_s", [60, 120, 210])
def test_windows_and_parts_do_not_depend_on_who_reads_which_range(
    talk: AudioSource, plan: WindowPlan, span_s: int
) -> None:
    expected = read(AudioSpan(talk), plan)
    shares = [
        read(AudioSpan(talk, start_s=start_s, stop_s=start_s + span_s), plan, span_s)
        for start_s in range(0, 421 + span_s, span_s)  # and some of them find that it ends before
    ]
    assert [one for share in shares for one in windows_of(share)] == windows_of(expected)
    parts = [part for share in shares for part in share.parts]
    assert join_parts(complete_parts(parts) or []) == join_parts(expected.parts)
    assert len(parts) == -(-330 // span_s)
    assert all(share.failures == [] for share in shares)


@pytest.mark.parametrize("plan", PLANS)
def test_committed_ranges_are_not_read_again(talk: AudioSource, plan: WindowPlan) -> None:
    expected = read(AudioSpan(talk), plan, 60)
    done = ((0, (60, 120)), (0, (240, 300)))
    found = read(AudioSpan(talk), plan, 60, known=replace(KNOWN, done=done, attempts={"key": 2}))
    assert [(part.start_s, part.stop_s) for part in found.parts] == [
        (0, 60), (120, 180), (180, 240), (300, None),
    ]  # fmt: skip
    assert found.parts == [part for part in expected.parts if part.start_s not in (60, 240)]
    kept = set(windows_of(found))
    assert kept < set(windows_of(expected))
    assert [one.attempt for one in found.started] == [2, 1, 1, 1]


@pytest.mark.parametrize("plan", PLANS)
def test_the_rest_of_a_long_part_of_a_file_is_read_from_the_start_of_the_part(
    talk: AudioSource, plan: WindowPlan
) -> None:
    part = replace(talk, start_s=20.0, end_s=310.0)
    expected = read(AudioSpan(part), plan, 60)
    done = ((0, (0, 60)), (0, (60, 180)))
    found = read(AudioSpan(part), plan, 60, known=replace(KNOWN, done=done))
    assert found.failures == []
    assert found.parts == [one for one in expected.parts if one.start_s >= 180]
    assert windows_of(found) == windows_of(expected)[-len(found.windows) :]
    wanted = frozenset(window.index for _, window in found.windows[-1:])
    again = read(AudioSpan(part, windows=wanted), plan)
    assert windows_of(again) == windows_of(found)[-1:]


def test_reading_stops_where_no_range_is_missing(talk: AudioSource) -> None:
    done = ((0, (60, None)),)
    found = read(AudioSpan(talk), PLANS[0], 60, known=replace(KNOWN, done=done))
    assert found.tally.audio_s == 60.0
    found = read(AudioSpan(talk, stop_s=60), PLANS[0], 60)
    assert [(part.start_s, part.stop_s, part.n_samples) for part in found.parts] == [(0, 60, None)]


def test_a_recording_that_is_shorter_than_its_committed_ranges_is_a_failure(tmp_path: Path) -> None:
    source = audio_source(str(wav(tmp_path / "a.wav", 70)))
    found = read(
        AudioSpan(source),
        span_s=60,
        known=replace(KNOWN, done=((0, (0, 60)), (0, (60, 120)))),
    )
    (failure,) = found.failures
    assert (failure.stage, failure.kind) == ("decode", "changed")
    assert "ends before second 120" in failure.message
    assert found.parts == []


def test_a_file_that_cannot_be_opened_is_a_failure_of_its_first_missing_span(tmp_path: Path) -> None:
    source = audio_source(str(tmp_path / "missing.wav"))
    found = read(AudioSpan(source), span_s=60, known=replace(KNOWN, done=((0, (0, 60)),)))
    assert [one.start for one in found.started] == [SpanStart(0, 60)]
    assert [failure.kind for failure in found.failures] == ["not_found"]
    split = AudioSpan(source, split=True)
    found = read(
        split,
        span_s=60,
        known=replace(KNOWN, done=((0, (0, None)), (1, (0, 60))), n_tracks=2),
    )
    assert [one.key for one in found.started] == ["key/1/60"]


def test_an_unexpected_exception_ends_the_span_that_is_read(talk: AudioSource) -> None:
    class FailingDetector(IntermittentDetector):
        def __call__(self, samples: Samples) -> Samples:
            if not samples.any():
                raise ZeroDivisionError("silence")
            return super().__call__(samples)

    found = read(AudioSpan(talk), replace(PLANS[1], detector=FailingDetector), 60)
    assert [part.start_s for part in found.parts] == [0]
    (failure,) = found.failures
    assert (failure.stage, failure.kind) == ("decode", "unexpected")
    assert [one.start.start_s for one in found.started] == [0, 60]


def test_seconds_of_reading_are_counted(tmp_path: Path) -> None:
    found = read(AudioSpan(audio_source(str(wav(tmp_path / "a.wav", 1)))))
    assert found.metrics.counters["read_us"] > 0


def test_a_unit_that_crashed_before_is_read_exclusively(tmp_path: Path) -> None:
    source = audio_source(str(wav(tmp_path / "a.wav", 1)))
    for n_crashes in (0, 1, 2):
        found = read(AudioSpan(source), known=replace(KNOWN, n_crashes=n_crashes))
        assert [one.exclusive for one in found.started] == [n_crashes == 2]


def test_the_file_is_opened_by_the_opener_that_is_given(tmp_path: Path) -> None:
    path, given = wav(tmp_path / "a.wav", 3), list[object]()

    @contextmanager
    def opener(source: AudioSource, policy: FetchPolicy, check: Check) -> Iterator[BinaryIO]:
        given.extend((source, policy, check))
        with path.open("rb") as file:
            yield file
        given.append("closed")

    context, source = RunContext(check=StopAfter(1000)), AudioSource("id", "elsewhere")
    unit = WorkUnit("key", AudioSpan(source))
    events = SpanReader(unit, PLAN, DEFAULT_POLICY, 1800, context, opener).events()
    (part,) = [event for _, event in events if isinstance(event, RecordingPart)]
    assert part.n_samples == 3 * SAMPLE_RATE
    assert given == [source, DEFAULT_POLICY, context.check, "closed"]


def test_a_check_that_raises_ends_the_reading_and_closes_the_file(tmp_path: Path) -> None:
    source = audio_source(str(wav(tmp_path / "a.wav", 300)))
    n_open = len(os.listdir("/proc/self/fd"))
    check = StopAfter(6)
    unit = WorkUnit("key", AudioSpan(source))
    with pytest.raises(OwnStopError):
        list(SpanReader(unit, PLAN, DEFAULT_POLICY, 1800, RunContext(check=check)).events())
    assert check.n_made == 6
    assert len(os.listdir("/proc/self/fd")) == n_open
