from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from model.interface import SAMPLE_RATE
from tests.support.cut_recordings import PLAN, SPEECH_PLAN, VAD_STRIDE_PLAN, read, talk, wav
from tests.support.detectors import LoudnessDetector
from tests.support.stops import OwnStopError, StopAfter
from transforms.core.errors import AudioError
from transforms.core.sections import Sections
from transforms.core.types import AudioSpan, Recording, Window
from transforms.core.uris import audio_source
from transforms.fetch.open_audio import open_audio
from transforms.windows.cutters import PlannedWindow
from transforms.windows.plan import WindowPlan
from transforms.windows.splices import in_window, joined, length
from transforms.windows.window_stream import WindowStream


def again(span: AudioSpan) -> list[Window]:
    """Returns the windows of a second pass."""
    with open_audio(span.source) as file:
        return [window for _, window in WindowStream(file, span, PLAN).windows() if window is not None]


def test_read_windows_ends_with_the_recording(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(7))
    source = audio_source(str(path), reference="seven")
    *windows, recording = read(AudioSpan(source, "en"), PLAN)
    assert recording == Recording(source, duration_s=7.0, n_windows=3, declared_s=7.0)
    assert [(w.index, w.stretches, len(w.samples)) for w in windows if isinstance(w, Window)] == [
        (0, ((0, 48_000),), 48_000), (1, ((32_000, 80_000),), 48_000), (2, ((64_000, 112_000),), 48_000),
    ]  # fmt: skip
    assert {(w.audio_id, w.language) for w in windows if isinstance(w, Window)} == {(source.audio_id, "en")}


def test_second_pass_reads_only_the_wanted_windows() -> None:
    source = audio_source("dataset://d/train/0/0", wav(7))
    windows = again(AudioSpan(source, windows=frozenset({0, 2, 9})))
    assert [window.index for window in windows] == [0, 2]


def test_extra_windows_are_cut_in_between_and_have_no_unshared_samples() -> None:
    source = audio_source("dataset://d/train/0/0", wav(7))
    span = AudioSpan(source, windows=frozenset({1}), extra=((-1, 16_000), (-2, 90_000)))
    assert [(w.index, w.stretches, w.n_unshared) for w in again(span)] == [
        (-1, ((16_000, 64_000),), 0), (1, ((32_000, 80_000),), 32_000), (-2, ((90_000, 112_000),), 0),
    ]  # fmt: skip


def test_unshared_samples_are_each_sample_of_the_recording_once() -> None:
    *windows, _ = read(AudioSpan(audio_source("x", wav(7.3))), PLAN)
    assert [(w.stretches[0][0], w.n_unshared) for w in windows if isinstance(w, Window)] == [
        (0, 32_000), (32_000, 32_000), (64_000, 32_000), (96_000, 20_800),
    ]  # fmt: skip


def test_windows_without_speech_are_skipped_and_listed() -> None:
    payload = talk((2, 0.5), (8, 0.0), (1, 0.5), (9, 0.0))
    *windows, recording = read(AudioSpan(audio_source("x", payload)), VAD_STRIDE_PLAN)
    assert [w.index for w in windows if isinstance(w, Window)] == [0, 4, 5]
    assert isinstance(recording, Recording)
    assert (recording.n_windows, recording.n_skipped) == (10, 7)
    assert recording.skipped == ((3.0, 8.0), (13.0, 20.0))
    assert recording.speech_s == pytest.approx(3.0, abs=1.5)  # with padding


def test_packed_windows_leave_silence_out_and_list_it() -> None:
    payload = talk((1, 0.5), (8, 0.0), (0.5, 0.5), (1.2, 0.0), (1, 0.5), (9, 0.0))
    *windows, recording = read(AudioSpan(audio_source("x", payload)), WindowPlan(5, 1, LoudnessDetector))
    (window,) = windows
    assert isinstance(window, Window)
    assert [(round(a / 16_000, 1), round(b / 16_000, 1)) for a, b in window.stretches] == [
        (0.0, 1.4), (8.6, 9.9), (10.3, 12.1),
    ]  # fmt: skip
    assert window.samples.size == window.n_unshared == length(window.stretches)
    assert window.speech == in_window(window.stretches)
    assert isinstance(recording, Recording)
    assert (recording.n_windows, recording.n_skipped) == (1, 0)
    assert recording.speech_s == pytest.approx(window.samples.size / SAMPLE_RATE)
    (first, second) = recording.skipped  # and not the 0.4 s between two words
    assert first == (window.stretches[0][1] / SAMPLE_RATE, window.stretches[1][0] / SAMPLE_RATE)
    assert second == (window.stretches[2][1] / SAMPLE_RATE, 20.7)


def test_packed_windows_without_pauses_are_those_at_fixed_stride() -> None:
    source = audio_source("x", talk((7.3, 0.5)))
    packed = [w for w in read(AudioSpan(source), SPEECH_PLAN) if isinstance(w, Window)]
    strided = [w for w in read(AudioSpan(source), VAD_STRIDE_PLAN) if isinstance(w, Window)]
    assert [(w.stretches, w.n_unshared) for w in packed] == [(w.stretches, w.n_unshared) for w in strided]
    assert len(strided) == 4


def test_window_lists_its_speech() -> None:
    payload = talk((4, 0.0), (2, 0.5), (14, 0.0))
    plan = WindowPlan(5, 2, LoudnessDetector, over_speech=False)
    first, second, *_ = read(AudioSpan(audio_source("x", payload)), plan)
    assert isinstance(first, Window)
    assert isinstance(second, Window)
    ((start, stop),) = first.speech or ()
    assert start == pytest.approx(4 * SAMPLE_RATE, abs=SAMPLE_RATE // 2)
    assert stop == 5 * SAMPLE_RATE
    ((start, stop),) = second.speech or ()
    assert start == pytest.approx(1 * SAMPLE_RATE, abs=SAMPLE_RATE // 2)
    assert stop == pytest.approx(3 * SAMPLE_RATE, abs=SAMPLE_RATE // 2)


@pytest.mark.parametrize(("plan", "n_windows"), [(VAD_STRIDE_PLAN, 3), (SPEECH_PLAN, 0)])
def test_silent_recording_has_no_windows_to_transcribe(plan: WindowPlan, n_windows: int) -> None:
    (recording,) = read(AudioSpan(audio_source("x", talk((7, 0.0)))), plan)
    assert isinstance(recording, Recording)
    assert (recording.n_windows, recording.n_skipped, recording.speech_s) == (n_windows, n_windows, 0.0)
    assert recording.skipped == ((0.0, 7.0),)


def test_nothing_is_skipped_without_detector() -> None:
    *windows, recording = read(AudioSpan(audio_source("x", talk((7, 0.0)))), PLAN)
    assert [w.speech for w in windows if isinstance(w, Window)] == [None] * 3
    assert isinstance(recording, Recording)
    assert (recording.speech_s, recording.skipped) == (None, ())


def test_recording_record_has_no_payload_and_no_credentials() -> None:
    source = audio_source("https://me:secret@h/a.wav?X-Amz-Signature=secret", wav(1))
    *_, recording = read(AudioSpan(source), WindowPlan(30, 5))
    assert isinstance(recording, Recording)
    assert recording.source.payload is None
    assert recording.source.uri == "https://h/a.wav"
    assert recording.source.audio_id == source.audio_id


def test_truncated_file_yields_its_windows_and_reports_the_problem() -> None:
    *windows, recording = read(AudioSpan(audio_source("x", wav(8)[: 4 * 32_000 + 44])), PLAN)
    assert len(windows) == 2
    assert isinstance(recording, Recording)
    assert (recording.duration_s, recording.truncated) == (4.0, True)
    assert recording.problem == "4.00 s of 8.00 s declared could be decoded"


def test_undecodable_file_raises() -> None:
    with pytest.raises(AudioError, match="not_audio"):
        again(AudioSpan(audio_source("x", b"<html>")))


SECTIONED_PLANS = [
    replace(plan, sections=Sections(120))
    for plan in (
        WindowPlan(30, 5, LoudnessDetector),
        WindowPlan(30, 5, LoudnessDetector, over_speech=False),
        WindowPlan(30, 5),
    )
]
FIVE_MINUTES = [
    [(1, 0.3), (0.5, 0.0)] * 200,
    [(300, 0.3)],
    [(115, 0.3), (0.7, 0.0), (30, 0.3), (100, 0.0), (54.3, 0.3)],
    [(300, 0.0)],
    [(121, 0.3)],
    [(239.9, 0.0), (0.2, 0.3)],
]


@pytest.mark.parametrize("stretches", FIVE_MINUTES)
@pytest.mark.parametrize("plan", SECTIONED_PLANS)
def test_section_has_the_same_windows_wherever_reading_starts(
    plan: WindowPlan, stretches: list[tuple[float, float]]
) -> None:
    span = AudioSpan(audio_source("x", talk(*stretches)))

    def windows(first: int, until_s: int | None = None) -> list[tuple[PlannedWindow, bytes]]:
        with open_audio(span.source) as file:
            found = list(WindowStream(file, span, plan, first).windows(until_s))
        return [(planned, b"" if window is None else window.samples.tobytes()) for planned, window in found]

    everything = windows(0)
    for first in (1, 2):
        start = first * 120 * SAMPLE_RATE
        assert windows(first) == [one for one in everything if one[0].position >= start]
        assert windows(0, first * 120) == [one for one in everything if one[0].position < start]


def test_sections_lose_no_speech() -> None:
    for stretches in FIVE_MINUTES:
        *windows, recording = read(AudioSpan(audio_source("x", talk(*stretches))), SECTIONED_PLANS[0])
        *plain, other = read(
            AudioSpan(audio_source("x", talk(*stretches))), WindowPlan(30, 5, LoudnessDetector)
        )
        stretches = [
            [stretch for w in some if isinstance(w, Window) for stretch in w.stretches]
            for some in (windows, plain)
        ]
        assert joined(sorted(stretches[0])) == joined(sorted(stretches[1]))
        assert isinstance(recording, Recording)
        assert isinstance(other, Recording)
        assert (recording.speech_s, recording.skipped) == (other.speech_s, other.skipped)
        starts = [w.stretches[0][0] for w in windows if isinstance(w, Window)]
        ends = [w.stretches[-1][1] for w in windows if isinstance(w, Window)]
        assert starts == sorted(set(starts))
        assert ends == sorted(set(ends))


@pytest.mark.parametrize("plan", SECTIONED_PLANS)
def test_second_pass_starts_with_the_section_of_its_first_window(plan: WindowPlan) -> None:
    source = audio_source("x", talk(*[(1, 0.3), (0.5, 0.0)] * 200))
    with open_audio(source) as file:
        everything = [planned for planned, _ in WindowStream(file, AudioSpan(source), plan).windows()]
    wanted = everything[-1]
    span = AudioSpan(source, windows=frozenset({wanted.index}))
    section = plan.first_section(span)
    assert section == wanted.stretches[0][0] // SAMPLE_RATE // 120
    with open_audio(source) as file:
        assert [planned for planned, _ in WindowStream(file, span, plan, section).windows()] == [wanted]
    both = replace(span, extra=((-1, 130 * SAMPLE_RATE),))
    assert plan.first_section(both) == 1


@pytest.mark.parametrize("level", [0.3, 0.0])
def test_the_check_is_called_at_each_block_also_of_silence(level: float) -> None:
    span = AudioSpan(audio_source("x", talk((300, level))))

    def windows(check: StopAfter) -> list[Window | None]:
        with open_audio(span.source) as file:
            stream = WindowStream(file, span, WindowPlan(30, 5, LoudnessDetector), check=check)
            return [window for _, window in stream.windows()]

    whole, brief = StopAfter(1000), StopAfter(4)
    assert any(windows(whole)) is bool(level)
    assert whole.n_made == 10
    with pytest.raises(OwnStopError):
        windows(brief)
    assert brief.n_made == 4
