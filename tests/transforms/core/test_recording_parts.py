from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from model.interface import SAMPLE_RATE
from transforms.core.audio_streams import StreamInfo
from transforms.core.damage import Damage
from transforms.core.recording_parts import Coverage, Range, complete_parts, join_parts, missing_ranges
from transforms.core.types import AudioSource, RecordingPart

SOURCE = AudioSource("id", "u")


@pytest.mark.parametrize(
    ("stop_s", "done", "expected"),
    [
        (None, [], [(0, 60), (60, 120), (120, 180)]),
        (150, [], [(0, 60), (60, 120), (120, 150)]),
        (150, [(0, None)], []),
        (None, [(60, 120)], [(0, 60), (120, 180), (180, 240)]),
        (None, [(90, None), (0, 30)], [(30, 60), (60, 90)]),
        (None, [(0, 90), (60, 120)], [(120, 180), (180, 240), (240, 300)]),
        (90, [(90, None)], [(0, 60), (60, 90)]),
        (90, [(30, 600)], [(0, 30)]),
    ],
)
def test_missing_ranges(stop_s: int | None, done: list[Range], expected: list[Range]) -> None:
    assert list(itertools.islice(missing_ranges(0, stop_s, done, 60), 3)) == expected


def test_missing_ranges_of_a_part() -> None:
    assert list(missing_ranges(90, 210, [(0, 100)], 60)) == [(100, 120), (120, 180), (180, 210)]


def part(start_s: int, stop_s: int | None, **more: object) -> RecordingPart:
    return replace(RecordingPart(SOURCE, start_s, stop_s), **more)  # type: ignore[arg-type]


def test_complete_parts_have_each_range_once_in_order() -> None:
    parts = [part(0, 60), part(60, 90), part(90, None)]
    for order in itertools.permutations([*parts, parts[1]]):
        assert complete_parts(order) == parts
    for n in range(3):
        assert complete_parts(parts[:n] + parts[n + 1 :]) is None
    assert complete_parts([]) is None


def test_complete_parts_of_a_duplicate_do_not_depend_on_order() -> None:
    other = replace(SOURCE, prompt="So,")
    twice = [part(0, 60), part(0, 60, source=other), part(60, None), part(60, None, source=other)]
    assert complete_parts(twice) == complete_parts(twice[::-1])


def test_joined_recording_is_the_sum_of_its_parts() -> None:
    last_source = replace(SOURCE, uri="v")
    parts = [
        part(
            0, 60, n_windows=2, n_skipped=1, n_speech_samples=16_000, covered=(20_000, 40_000),
            gaps=((5, 30_005),),
        ),
        part(60, 120, n_windows=1, n_skipped=1, n_speech_samples=0, damage=Damage(n_invalid=3)),
        part(
            120, None, source=last_source, n_speech_samples=8_000, covered=(2_000_000, 2_100_000),
            n_samples=140 * SAMPLE_RATE, declared_s=150.0,
        ),
    ]  # fmt: skip
    recording = join_parts(parts)
    assert recording.source == last_source
    assert (recording.duration_s, recording.n_windows, recording.n_skipped) == (140.0, 3, 2)
    assert recording.speech_s == 1.5
    assert recording.skipped == (
        (0.0, 1.25), (5 / 16_000, 30_005 / 16_000), (2.5, 125.0), (131.25, 140.0),
    )  # fmt: skip
    assert (recording.truncated, recording.declared_s) == (True, 150.0)
    assert recording.problem is not None
    assert "140.00 s of 150.00 s declared" in recording.problem
    assert "3 samples" in recording.problem
    assert join_parts([part(0, None, n_samples=1)]).speech_s is None


def test_stream_that_was_guessed_is_in_the_problem_and_is_no_damage() -> None:
    streams = (StreamInfo(0, default=True), StreamInfo(1, taken=True))
    found = part(0, None, streams=streams, n_samples=SAMPLE_RATE, n_speech_samples=9)
    remark = "no speech was found in audio stream 0 (default): 1 was transcribed"
    joined = join_parts([found])
    assert (joined.problem, joined.truncated, joined.streams) == (remark, False, streams)
    damage = Damage(n_damaged=1)
    assert join_parts([replace(found, damage=damage)]).problem == f"1 damaged packets were skipped; {remark}"
    silent = join_parts([replace(found, n_speech_samples=0)])
    assert str(silent.problem).startswith(
        f"{remark}; no speech was found in audio stream 1; there are others"
    )
    chosen = replace(found, source=replace(SOURCE, stream=1), n_speech_samples=0)
    assert join_parts([chosen]).problem is None


def test_short_pause_between_spans_is_not_a_gap() -> None:
    at = 60 * SAMPLE_RATE
    parts = [part(0, 60, covered=(0, at - 9_000)), part(60, None, covered=(at + 6_999, at + 9_000))]
    last = replace(parts[1], n_samples=at + 9_000)
    assert join_parts([parts[0], last]).skipped == ()
    assert join_parts([parts[0], replace(last, covered=(at + 7_000, at + 9_000))]).skipped == (
        ((at - 9_000) / SAMPLE_RATE, (at + 7_000) / SAMPLE_RATE),
    )


def test_coverage_of_windows_that_overlap() -> None:
    coverage = Coverage()
    assert coverage.covered is None
    for stretches in (((5, 20_000),), ((10_000, 15_000), (40_000, 50_000)), ((66_000, 70_000),)):
        coverage.add(stretches)
    assert coverage.covered == (5, 70_000)
    assert coverage.gaps == [(20_000, 40_000), (50_000, 66_000)]
