from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st

from model.interface import SAMPLE_RATE, Samples
from tests.support.detectors import Loud
from transforms.checkpoint.spans import Unit
from transforms.core.errors import AudioError
from transforms.core.recording_parts import whole
from transforms.core.sections import Chapters
from transforms.core.types import AudioSpan, Intervals, Recording, RecordingPart, Window
from transforms.core.uris import audio_source
from transforms.fetch.open_audio import open_audio
from transforms.fetch.policy import CAREFUL
from transforms.reading.span_reader import UnitReading
from transforms.windows.cutters import PlannedWindow
from transforms.windows.plan import Reading, WindowPlan, cut_windows
from transforms.windows.sample_buffer import HeldSamples
from transforms.windows.speech_intervals import speech_intervals
from transforms.windows.speech_tracker import Listener
from transforms.windows.splices import end_to_end, in_recording, joined, length

PLAN = WindowPlan(3, 1)
SOURCE = audio_source("x")


SPEECH_PLAN = WindowPlan(3, 1, Loud)
GATED_GRID = WindowPlan(3, 1, Loud, over_speech=False)

Cut = tuple[PlannedWindow, Samples, Intervals | None]


def sound(*stretches: tuple[float, float]) -> Samples:
    """Noise, given as (seconds, amplitude) stretches; above 0.1 it is speech."""
    random = np.random.default_rng(0)
    pieces = [random.uniform(0.8, 1, round(seconds * SAMPLE_RATE)) * level for seconds, level in stretches]
    return np.concatenate([np.empty(0), *pieces]).astype(np.float32)


def cut(plan: WindowPlan, blocks: Iterable[Samples], span: AudioSpan | None = None) -> list[Cut]:
    return list(cut_windows(blocks, Listener(plan.detector), plan.cutters(span or AudioSpan(SOURCE))))


@st.composite
def recordings(draw: st.DrawFn) -> tuple[Samples, list[Samples]]:
    """A recording of up to a quarter of a minute, and the same in blocks of any sizes."""
    stretches = st.tuples(st.floats(0.01, 5), st.sampled_from([0.0, 0.05, 0.3]))
    recording = sound(*draw(st.lists(stretches, max_size=8)))[: 15 * SAMPLE_RATE]
    bounds = sorted(draw(st.lists(st.integers(0, len(recording)), max_size=10)))
    return recording, np.split(recording, bounds)


PLANS = st.sampled_from([PLAN, GATED_GRID, SPEECH_PLAN, WindowPlan(2, 0, Loud), WindowPlan(3, 2.9)])
SPANS = st.sampled_from(
    [AudioSpan(SOURCE), AudioSpan(SOURCE, windows=frozenset({0, 2}), extra=((-1, 20_000), (-3, 70_000)))]
)


@settings(deadline=None, max_examples=60)
@given(recordings(), PLANS, SPANS)
def test_windows_do_not_depend_on_the_blocks(
    case: tuple[Samples, list[Samples]], plan: WindowPlan, span: AudioSpan
) -> None:
    recording, blocks = case
    expected, actual = (cut(plan, cuts, span) for cuts in ([recording], blocks))
    assert {planned: speech for planned, _, speech in actual} == {
        planned: speech for planned, _, speech in expected
    }
    assert len(actual) == len(expected)
    for planned, samples, _ in actual:
        assert samples.tolist() == np.concatenate([recording[a:b] for a, b in planned.pieces]).tolist()
        assert 0 < samples.size <= plan.window_samples
        assert samples.dtype == np.float32
        assert samples.base is None


@settings(deadline=None, max_examples=40)
@given(recordings(), PLANS)
def test_a_second_look_reads_the_same_windows(case: tuple[Samples, list[Samples]], plan: WindowPlan) -> None:
    first = cut(plan, case[1])
    wanted = frozenset(planned.index for planned, _, _ in first[1::2])
    again = cut(plan, case[1], AudioSpan(SOURCE, windows=wanted))
    assert [planned for planned, _, _ in again] == [planned for planned, _, _ in first[1::2]]


@settings(deadline=None, max_examples=40)
@given(recordings())
def test_windows_over_speech_hold_the_speech_and_know_where_it_is(
    case: tuple[Samples, list[Samples]],
) -> None:
    recording, blocks = case
    detector = Loud()
    probabilities = np.concatenate([detector(recording), detector.finish()])
    spoken = speech_intervals(probabilities, len(recording))
    found = cut(SPEECH_PLAN, blocks)
    pieces = sorted(piece for planned, _, _ in found for piece in planned.pieces)
    assert joined(pieces) == joined(spoken)
    for planned, samples, speech in found:
        assert speech is not None
        assert joined(speech) == ((0, samples.size),)
        assert in_recording(planned.pieces, *speech[0])[0] == planned.pieces[0][0]


@settings(deadline=None, max_examples=40)
@given(recordings())
def test_the_grid_covers_every_sample(case: tuple[Samples, list[Samples]]) -> None:
    recording, blocks = case
    found = cut(PLAN, blocks)
    assert [planned.pieces[0][0] for planned, _, _ in found] == list(
        range(0, max(len(recording) - 16_000, min(len(recording), 1)), 32_000)
    )
    assert joined(planned.pieces[0] for planned, _, _ in found) == (
        ((0, len(recording)),) if len(recording) else ()
    )


@pytest.mark.parametrize(
    ("seconds", "extra", "starts"),
    [
        (0, 1, [0]), (30, 0, [0]), (30, 1, [0, 25]), (55, 0, [0, 25]), (55, 1, [0, 25, 50]),
        (80, 0, [0, 25, 50]),
    ],
)  # fmt: skip
def test_thirty_seconds_that_share_five(seconds: int, extra: int, starts: list[int]) -> None:
    blocks = [np.zeros(seconds * SAMPLE_RATE, np.float32), np.zeros(extra, np.float32)]
    windows = cut(WindowPlan(30, 5), blocks)
    assert [planned.pieces[0][0] / SAMPLE_RATE for planned, _, _ in windows] == starts


class Measured(HeldSamples):
    """Tells the most samples that were held between two blocks."""

    most = 0

    def keep(self, wanted: Intervals) -> None:
        super().keep(wanted)
        Measured.most = max(Measured.most, sum(len(samples) for _, samples in self._blocks))


@pytest.mark.parametrize("plan", [PLAN, GATED_GRID, SPEECH_PLAN])
@pytest.mark.parametrize(
    "minute", [[(60, 0.3)], [(60, 0.0)], [(0.5, 0.3), (59.5, 0.0)], [(1.6, 0.3), (0.9, 0.0)] * 24]
)
def test_what_is_held_does_not_grow_with_the_recording(
    monkeypatch: pytest.MonkeyPatch, plan: WindowPlan, minute: list[tuple[float, float]]
) -> None:
    monkeypatch.setattr("transforms.windows.plan.HeldSamples", Measured)
    Measured.most = 0
    samples = sound(*minute)
    blocks = np.split(samples, len(samples) // SAMPLE_RATE)
    listener = Listener(plan.detector)
    for _ in cut_windows(
        (block for _ in range(4) for block in blocks), listener, plan.cutters(AudioSpan(SOURCE))
    ):
        pass
    assert 0 < Measured.most <= 2 * plan.window_samples + 4 * SAMPLE_RATE
    assert listener._probabilities.nbytes < 2000


@pytest.mark.parametrize(("chunk_s", "stride_s"), [(30, 30), (30, 35), (30, -1), (0, 0)])
def test_a_hop_that_does_not_fit_is_an_error(chunk_s: float, stride_s: float) -> None:
    with pytest.raises(ValueError, match=f"windows of {chunk_s * SAMPLE_RATE} samples every"):
        WindowPlan(chunk_s, stride_s)


def read(span: AudioSpan, plan: WindowPlan) -> Iterator[Window | Recording]:
    """All windows that are transcribed, and the recording."""
    unit = UnitReading(Unit("key", span), plan, CAREFUL, 1800)
    parts = []
    for _, step in unit.steps():
        if isinstance(step, RecordingPart):
            parts.append(step)
        elif isinstance(step, tuple):
            yield step[1]
    yield whole(parts)


def again(span: AudioSpan) -> list[Window]:
    """The windows of a second look."""
    with open_audio(span.source) as file:
        return [window for _, window in Reading(file, span, PLAN).windows() if window is not None]


def wav(seconds: float, value: float = 0.25) -> bytes:
    file = io.BytesIO()
    sf.write(file, np.full(round(seconds * SAMPLE_RATE), value, np.float32), SAMPLE_RATE, format="WAV")
    return file.getvalue()


def test_read_windows_ends_with_the_recording(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(7))
    source = audio_source(str(path), reference="seven")
    *windows, recording = read(AudioSpan(source, "en"), PLAN)
    assert recording == Recording(source, duration_s=7.0, n_windows=3, declared_s=7.0)
    assert [(w.index, w.pieces, len(w.samples)) for w in windows if isinstance(w, Window)] == [
        (0, ((0, 48_000),), 48_000), (1, ((32_000, 80_000),), 48_000), (2, ((64_000, 112_000),), 48_000),
    ]  # fmt: skip
    assert {(w.audio_id, w.language) for w in windows if isinstance(w, Window)} == {(source.audio_id, "en")}


def test_read_windows_gives_the_windows_wanted_alone() -> None:
    source = audio_source("dataset://d/train/0/0", wav(7))
    windows = again(AudioSpan(source, windows=frozenset({0, 2, 9})))
    assert [window.index for window in windows] == [0, 2]


def test_windows_off_the_plan_are_cut_in_between_and_are_nobodys_own() -> None:
    source = audio_source("dataset://d/train/0/0", wav(7))
    span = AudioSpan(source, windows=frozenset({1}), extra=((-1, 16_000), (-2, 90_000)))
    assert [(w.index, w.pieces, w.n_own) for w in again(span)] == [
        (-1, ((16_000, 64_000),), 0), (1, ((32_000, 80_000),), 32_000), (-2, ((90_000, 112_000),), 0),
    ]  # fmt: skip


def test_own_samples_are_the_recording_each_once() -> None:
    *windows, _ = read(AudioSpan(audio_source("x", wav(7.3))), PLAN)
    assert [(w.pieces[0][0], w.n_own) for w in windows if isinstance(w, Window)] == [
        (0, 32_000), (32_000, 32_000), (64_000, 32_000), (96_000, 20_800),
    ]  # fmt: skip


def talk(*stretches: tuple[float, float]) -> bytes:
    file = io.BytesIO()
    sf.write(file, sound(*stretches), SAMPLE_RATE, format="WAV", subtype="FLOAT")
    return file.getvalue()


def test_windows_in_which_nobody_speaks_are_skipped_and_listed() -> None:
    payload = talk((2, 0.5), (8, 0.0), (1, 0.5), (9, 0.0))
    *windows, recording = read(AudioSpan(audio_source("x", payload)), GATED_GRID)
    assert [w.index for w in windows if isinstance(w, Window)] == [0, 4, 5]
    assert isinstance(recording, Recording)
    assert (recording.n_windows, recording.n_skipped) == (10, 7)
    assert recording.skipped == ((3.0, 8.0), (13.0, 20.0))
    assert recording.speech_s == pytest.approx(3.0, abs=1.5)  # with what is kept around it


def test_windows_over_speech_leave_silence_out_and_list_it() -> None:
    payload = talk((1, 0.5), (8, 0.0), (0.5, 0.5), (1.2, 0.0), (1, 0.5), (9, 0.0))
    *windows, recording = read(AudioSpan(audio_source("x", payload)), WindowPlan(5, 1, Loud))
    (window,) = windows
    assert isinstance(window, Window)
    assert [(round(a / 16_000, 1), round(b / 16_000, 1)) for a, b in window.pieces] == [
        (0.0, 1.4), (8.6, 9.9), (10.3, 12.1),
    ]  # fmt: skip
    assert window.samples.size == window.n_own == length(window.pieces)
    assert window.speech == end_to_end(window.pieces)
    assert isinstance(recording, Recording)
    assert (recording.n_windows, recording.n_skipped) == (1, 0)
    assert recording.speech_s == pytest.approx(window.samples.size / SAMPLE_RATE)
    (first, second) = recording.skipped  # and not the 0.4 s between two words
    assert first == (window.pieces[0][1] / SAMPLE_RATE, window.pieces[1][0] / SAMPLE_RATE)
    assert second == (window.pieces[2][1] / SAMPLE_RATE, 20.7)


def test_where_nobody_pauses_windows_over_speech_are_those_of_the_grid() -> None:
    source = audio_source("x", talk((7.3, 0.5)))
    over_speech = [w for w in read(AudioSpan(source), SPEECH_PLAN) if isinstance(w, Window)]
    grid = [w for w in read(AudioSpan(source), GATED_GRID) if isinstance(w, Window)]
    assert [(w.pieces, w.n_own) for w in over_speech] == [(w.pieces, w.n_own) for w in grid]
    assert len(grid) == 4


def test_a_window_knows_where_in_it_somebody_speaks() -> None:
    payload = talk((4, 0.0), (2, 0.5), (14, 0.0))
    plan = WindowPlan(5, 2, Loud, over_speech=False)
    first, second, *_ = read(AudioSpan(audio_source("x", payload)), plan)
    assert isinstance(first, Window)
    assert isinstance(second, Window)
    ((start, stop),) = first.speech or ()
    assert start == pytest.approx(4 * SAMPLE_RATE, abs=SAMPLE_RATE // 2)
    assert stop == 5 * SAMPLE_RATE
    ((start, stop),) = second.speech or ()
    assert start == pytest.approx(1 * SAMPLE_RATE, abs=SAMPLE_RATE // 2)
    assert stop == pytest.approx(3 * SAMPLE_RATE, abs=SAMPLE_RATE // 2)


@pytest.mark.parametrize(("plan", "n_windows"), [(GATED_GRID, 3), (SPEECH_PLAN, 0)])
def test_silence_alone_has_nothing_to_transcribe_but_is_a_recording(plan: WindowPlan, n_windows: int) -> None:
    (recording,) = read(AudioSpan(audio_source("x", talk((7, 0.0)))), plan)
    assert isinstance(recording, Recording)
    assert (recording.n_windows, recording.n_skipped, recording.speech_s) == (n_windows, n_windows, 0.0)
    assert recording.skipped == ((0.0, 7.0),)


def test_without_a_detector_nothing_is_skipped() -> None:
    *windows, recording = read(AudioSpan(audio_source("x", talk((7, 0.0)))), PLAN)
    assert [w.speech for w in windows if isinstance(w, Window)] == [None] * 3
    assert isinstance(recording, Recording)
    assert (recording.speech_s, recording.skipped) == (None, ())


def test_the_recording_goes_on_without_payload_and_credentials() -> None:
    source = audio_source("https://me:secret@h/a.wav?sig=secret", wav(1))
    *_, recording = read(AudioSpan(source), WindowPlan(30, 5))
    assert isinstance(recording, Recording)
    assert recording.source.payload is None
    assert recording.source.uri == "https://h/a.wav"
    assert recording.source.audio_id == source.audio_id


def test_a_cut_file_gives_its_windows_and_says_so() -> None:
    *windows, recording = read(AudioSpan(audio_source("x", wav(8)[: 4 * 32_000 + 44])), PLAN)
    assert len(windows) == 2
    assert isinstance(recording, Recording)
    assert (recording.duration_s, recording.truncated) == (4.0, True)
    assert recording.problem == "4.00 s of 8.00 s declared could be decoded"


def test_what_cannot_be_decoded_raises() -> None:
    with pytest.raises(AudioError, match="not_audio"):
        again(AudioSpan(audio_source("x", b"<html>")))


CHAPTERED = [
    replace(plan, chapters=Chapters(120))
    for plan in (WindowPlan(30, 5, Loud), WindowPlan(30, 5, Loud, over_speech=False), WindowPlan(30, 5))
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
@pytest.mark.parametrize("plan", CHAPTERED)
def test_a_chapter_has_the_same_windows_wherever_reading_begins(
    plan: WindowPlan, stretches: list[tuple[float, float]]
) -> None:
    span = AudioSpan(audio_source("x", talk(*stretches)))

    def windows(first: int, until_s: int | None = None) -> list[tuple[PlannedWindow, bytes]]:
        with open_audio(span.source) as file:
            found = list(Reading(file, span, plan, first).windows(until_s))
        return [(planned, b"" if window is None else window.samples.tobytes()) for planned, window in found]

    everything = windows(0)
    for first in (1, 2):
        start = first * 120 * SAMPLE_RATE
        assert windows(first) == [one for one in everything if one[0].place >= start]
        assert windows(0, first * 120) == [one for one in everything if one[0].place < start]


def test_all_speech_is_in_a_window_of_one_chapter_or_the_other() -> None:
    for stretches in FIVE_MINUTES:
        *windows, recording = read(AudioSpan(audio_source("x", talk(*stretches))), CHAPTERED[0])
        *plain, other = read(AudioSpan(audio_source("x", talk(*stretches))), WindowPlan(30, 5, Loud))
        pieces = [
            [piece for w in some if isinstance(w, Window) for piece in w.pieces] for some in (windows, plain)
        ]
        assert joined(sorted(pieces[0])) == joined(sorted(pieces[1]))
        assert isinstance(recording, Recording)
        assert isinstance(other, Recording)
        assert (recording.speech_s, recording.skipped) == (other.speech_s, other.skipped)
        starts = [w.pieces[0][0] for w in windows if isinstance(w, Window)]
        ends = [w.pieces[-1][1] for w in windows if isinstance(w, Window)]
        assert starts == sorted(set(starts))
        assert ends == sorted(set(ends))


@pytest.mark.parametrize("plan", CHAPTERED)
def test_a_second_look_begins_with_the_chapter_it_is_about(plan: WindowPlan) -> None:
    source = audio_source("x", talk(*[(1, 0.3), (0.5, 0.0)] * 200))
    with open_audio(source) as file:
        everything = [planned for planned, _ in Reading(file, AudioSpan(source), plan).windows()]
    wanted = everything[-1]
    span = AudioSpan(source, windows=frozenset({wanted.index}))
    chapter = plan.first_chapter(span)
    assert chapter == wanted.pieces[0][0] // SAMPLE_RATE // 120
    with open_audio(source) as file:
        assert [planned for planned, _ in Reading(file, span, plan, chapter).windows()] == [wanted]
    both = replace(span, extra=((-1, 130 * SAMPLE_RATE),))
    assert plan.first_chapter(both) == 1
