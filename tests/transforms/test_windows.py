from __future__ import annotations

import io
import itertools
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st

from model.interface import SAMPLE_RATE, SPEECH_CHUNK, Samples
from transforms.errors import AudioError
from transforms.types import AudioSpan, Recording, Window
from transforms.uris import audio_source
from transforms.windows import WindowPlan, cut_windows, read_windows

PLAN = WindowPlan(3, 1)


@st.composite
def cuts(draw: st.DrawFn) -> tuple[Samples, list[Samples], int, int]:
    """A recording of numbered samples, the same in blocks of any sizes, a window and a hop."""
    recording = np.arange(draw(st.integers(0, 200)), dtype=np.float32)
    bounds = sorted(draw(st.lists(st.integers(0, len(recording)), max_size=10)))
    window = draw(st.integers(1, 60))
    return recording, np.split(recording, bounds), window, draw(st.integers(1, window))


def cut(blocks: Iterable[Samples], window: int, hop: int) -> Iterator[tuple[int, Samples, bool]]:
    """The plan's windows, up to the one that reaches the end."""
    for start, samples, ends in cut_windows(blocks, window, itertools.count(0, hop)):
        yield start, samples, ends
        if ends:
            return


@settings(deadline=None)
@given(cuts())
def test_windows_are_the_plan_whatever_the_blocks(case: tuple[Samples, list[Samples], int, int]) -> None:
    recording, blocks, window, hop = case
    n_windows = math.ceil(max(0, len(recording) - window) / hop) + 1 if len(recording) else 0
    expected = [(k * hop, recording[k * hop : k * hop + window].tolist()) for k in range(n_windows)]
    actual = list(cut(blocks, window, hop))
    assert [(start, samples.tolist()) for start, samples, _ in actual] == expected


@settings(deadline=None)
@given(cuts(), st.lists(st.integers(0, 250), unique=True, max_size=8))
def test_windows_may_start_anywhere(case: tuple[Samples, list[Samples], int, int], starts: list[int]) -> None:
    recording, blocks, window, _ = case
    actual = list(cut_windows(blocks, window, sorted(starts)))
    inside = [start for start in sorted(starts) if start < len(recording)]
    assert [(start, samples.tolist()) for start, samples, _ in actual] == [
        (start, recording[start : start + window].tolist()) for start in inside
    ]
    assert [ends for _, _, ends in actual] == [start + window >= len(recording) for start in inside]


@settings(deadline=None)
@given(cuts())
def test_every_sample_is_covered_and_only_the_last_window_reaches_the_end(
    case: tuple[Samples, list[Samples], int, int],
) -> None:
    recording, blocks, window, hop = case
    windows = list(cut(blocks, window, hop))
    covered = {round(float(value)) for _, samples, _ in windows for value in samples}
    assert covered == set(range(len(recording)))
    reaching = [start + len(samples) == len(recording) for start, samples, _ in windows]
    assert reaching == [False] * (len(windows) - 1) + [True] * bool(windows)
    for _, samples, _ in windows:
        assert samples.dtype == np.float32
        assert samples.flags.c_contiguous
        assert samples.base is None


@pytest.mark.parametrize(
    ("seconds", "extra", "starts"),
    [
        (0, 1, [0]), (30, 0, [0]), (30, 1, [0, 25]), (55, 0, [0, 25]), (55, 1, [0, 25, 50]),
        (80, 0, [0, 25, 50]),
    ],
)  # fmt: skip
def test_thirty_seconds_that_share_five(seconds: int, extra: int, starts: list[int]) -> None:
    blocks = [np.zeros(seconds * SAMPLE_RATE, np.float32), np.zeros(extra, np.float32)]
    windows = cut(blocks, 30 * SAMPLE_RATE, 25 * SAMPLE_RATE)
    assert [start / SAMPLE_RATE for start, _, _ in windows] == starts


def test_one_window_and_one_block_are_held_at_a_time() -> None:
    drawn = 0

    def blocks() -> list[Samples]:
        nonlocal drawn
        drawn += 1
        return [np.zeros(10, np.float32)]

    for k, _ in enumerate(cut((b for _ in range(100) for b in blocks()), 30, 25)):
        assert drawn * 10 <= k * 25 + 30 + 10


@pytest.mark.parametrize(("chunk_s", "stride_s"), [(30, 30), (30, 35), (30, -1), (0, 0)])
def test_a_hop_that_does_not_fit_is_an_error(chunk_s: float, stride_s: float) -> None:
    with pytest.raises(ValueError, match=f"windows of {chunk_s * SAMPLE_RATE} samples every"):
        WindowPlan(chunk_s, stride_s)


def wav(seconds: float, value: float = 0.25) -> bytes:
    file = io.BytesIO()
    sf.write(file, np.full(round(seconds * SAMPLE_RATE), value, np.float32), SAMPLE_RATE, format="WAV")
    return file.getvalue()


def test_read_windows_ends_with_the_recording(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(7))
    source = audio_source(str(path), reference="seven")
    *windows, recording = read_windows(AudioSpan(source, "en"), PLAN)
    assert recording == Recording(source, duration_s=7.0, n_windows=3)
    assert [(w.index, w.start, len(w.samples)) for w in windows if isinstance(w, Window)] == [
        (0, 0, 48_000), (1, 32_000, 48_000), (2, 64_000, 48_000),
    ]  # fmt: skip
    assert {(w.audio_id, w.language) for w in windows if isinstance(w, Window)} == {(source.audio_id, "en")}


def test_read_windows_gives_the_windows_wanted_alone() -> None:
    source = audio_source("dataset://d/train/0/0", wav(7))
    *windows, recording = read_windows(AudioSpan(source, windows=frozenset({0, 2, 9})), PLAN)
    assert [w.index for w in windows if isinstance(w, Window)] == [0, 2]
    assert isinstance(recording, Recording)
    assert recording.n_windows == 2


def test_windows_off_the_plan_are_cut_in_between_and_are_nobodys_own() -> None:
    source = audio_source("dataset://d/train/0/0", wav(7))
    span = AudioSpan(source, windows=frozenset({1}), extra=((-1, 16_000), (-2, 90_000)))
    *windows, _ = read_windows(span, PLAN)
    assert [(w.index, w.start, len(w.samples), w.n_own) for w in windows if isinstance(w, Window)] == [
        (-1, 16_000, 48_000, 0), (1, 32_000, 48_000, 32_000), (-2, 90_000, 22_000, 0),
    ]  # fmt: skip


def test_own_samples_are_the_recording_each_once() -> None:
    *windows, _ = read_windows(AudioSpan(audio_source("x", wav(7.3))), PLAN)
    assert [(w.start, w.n_own) for w in windows if isinstance(w, Window)] == [
        (0, 32_000), (32_000, 32_000), (64_000, 32_000), (96_000, 20_800),
    ]  # fmt: skip


class Loud:
    """A detector that takes loud chunks for speech."""

    def __init__(self) -> None:
        self.rest: Samples = np.empty(0, np.float32)

    def __call__(self, samples: Samples) -> Samples:
        heard = np.concatenate([self.rest, samples])
        n = len(heard) // SPEECH_CHUNK
        self.rest = heard[n * SPEECH_CHUNK :]
        chunks = heard[: n * SPEECH_CHUNK].reshape(n, SPEECH_CHUNK)
        return np.asarray(np.abs(chunks).max(axis=1, initial=0) > 0.1, np.float32)

    def finish(self) -> Samples:
        return np.zeros(int(len(self.rest) > 0), np.float32)


def talk(*stretches: tuple[float, float]) -> bytes:
    file = io.BytesIO()
    pieces = [np.full(round(seconds * SAMPLE_RATE), value, np.float32) for seconds, value in stretches]
    sf.write(file, np.concatenate(pieces), SAMPLE_RATE, format="WAV", subtype="FLOAT")
    return file.getvalue()


def test_windows_in_which_nobody_speaks_are_skipped_and_listed() -> None:
    payload = talk((2, 0.5), (8, 0.0), (1, 0.5), (9, 0.0))
    *windows, recording = read_windows(AudioSpan(audio_source("x", payload)), WindowPlan(3, 1, Loud))
    assert [w.index for w in windows if isinstance(w, Window)] == [0, 4, 5]
    assert isinstance(recording, Recording)
    assert (recording.n_windows, recording.n_skipped) == (10, 7)
    assert recording.skipped == ((3.0, 8.0), (13.0, 20.0))
    assert recording.speech_s == pytest.approx(3.0, abs=1.5)  # with what is kept around it


def test_a_window_knows_where_in_it_somebody_speaks() -> None:
    payload = talk((4, 0.0), (2, 0.5), (14, 0.0))
    first, second, *_ = read_windows(AudioSpan(audio_source("x", payload)), WindowPlan(5, 2, Loud))
    assert isinstance(first, Window)
    assert isinstance(second, Window)
    ((start, stop),) = first.speech or ()
    assert start == pytest.approx(4 * SAMPLE_RATE, abs=SAMPLE_RATE // 2)
    assert stop == 5 * SAMPLE_RATE
    ((start, stop),) = second.speech or ()
    assert start == pytest.approx(1 * SAMPLE_RATE, abs=SAMPLE_RATE // 2)
    assert stop == pytest.approx(3 * SAMPLE_RATE, abs=SAMPLE_RATE // 2)


def test_silence_alone_has_no_windows_but_is_a_recording() -> None:
    (recording,) = read_windows(AudioSpan(audio_source("x", talk((7, 0.0)))), WindowPlan(3, 1, Loud))
    assert isinstance(recording, Recording)
    assert (recording.n_windows, recording.n_skipped, recording.speech_s) == (3, 3, 0.0)
    assert recording.skipped == ((0.0, 7.0),)


def test_without_a_detector_nothing_is_skipped() -> None:
    *windows, recording = read_windows(AudioSpan(audio_source("x", talk((7, 0.0)))), PLAN)
    assert [w.speech for w in windows if isinstance(w, Window)] == [None] * 3
    assert isinstance(recording, Recording)
    assert (recording.speech_s, recording.skipped) == (None, ())


def test_the_recording_goes_on_without_payload_and_credentials() -> None:
    source = audio_source("https://me:secret@h/a.wav?sig=secret", wav(1))
    *_, recording = read_windows(AudioSpan(source), WindowPlan(30, 5))
    assert isinstance(recording, Recording)
    assert recording.source.payload is None
    assert recording.source.uri == "https://h/a.wav"
    assert recording.source.audio_id == source.audio_id


def test_a_cut_file_gives_its_windows_and_says_so() -> None:
    *windows, recording = read_windows(AudioSpan(audio_source("x", wav(8)[: 4 * 32_000 + 44])), PLAN)
    assert len(windows) == 2
    assert isinstance(recording, Recording)
    assert (recording.duration_s, recording.truncated) == (4.0, True)
    assert recording.problem == "4.00 s of 8.00 s declared could be decoded"


def test_what_cannot_be_decoded_raises() -> None:
    with pytest.raises(AudioError, match="not_audio"):
        list(read_windows(AudioSpan(audio_source("x", b"<html>")), PLAN))
