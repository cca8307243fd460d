from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st

from model.interface import SAMPLE_RATE, Samples
from transforms.errors import AudioError
from transforms.types import AudioSpan, Recording, Window
from transforms.uris import audio_source
from transforms.windows import cut_windows, read_windows


@st.composite
def cuts(draw: st.DrawFn) -> tuple[Samples, list[Samples], int, int]:
    """A recording of numbered samples, the same in blocks of any sizes, a window and a hop."""
    recording = np.arange(draw(st.integers(0, 200)), dtype=np.float32)
    bounds = sorted(draw(st.lists(st.integers(0, len(recording)), max_size=10)))
    window = draw(st.integers(1, 60))
    return recording, np.split(recording, bounds), window, draw(st.integers(1, window))


@settings(deadline=None)
@given(cuts())
def test_windows_are_the_plan_whatever_the_blocks(case: tuple[Samples, list[Samples], int, int]) -> None:
    recording, blocks, window, hop = case
    n_windows = math.ceil(max(0, len(recording) - window) / hop) + 1 if len(recording) else 0
    expected = [(k * hop, recording[k * hop : k * hop + window].tolist()) for k in range(n_windows)]
    actual = list(cut_windows(blocks, window, hop))
    assert [(start, samples.tolist()) for start, samples, _ in actual] == expected


@settings(deadline=None)
@given(cuts())
def test_own_samples_are_the_recording_each_once(case: tuple[Samples, list[Samples], int, int]) -> None:
    recording, blocks, window, hop = case
    own = [samples[:n_own] for _, samples, n_own in cut_windows(blocks, window, hop)]
    np.testing.assert_array_equal(np.concatenate([np.empty(0, np.float32), *own]), recording)


@settings(deadline=None)
@given(cuts())
def test_every_sample_is_covered_and_only_the_last_window_reaches_the_end(
    case: tuple[Samples, list[Samples], int, int],
) -> None:
    recording, blocks, window, hop = case
    windows = list(cut_windows(blocks, window, hop))
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
    windows = cut_windows(blocks, 30 * SAMPLE_RATE, 25 * SAMPLE_RATE)
    assert [start / SAMPLE_RATE for start, _, _ in windows] == starts


def test_one_window_and_one_block_are_held_at_a_time() -> None:
    drawn = 0

    def blocks() -> list[Samples]:
        nonlocal drawn
        drawn += 1
        return [np.zeros(10, np.float32)]

    for k, _ in enumerate(cut_windows((b for _ in range(100) for b in blocks()), 30, 25)):
        assert drawn * 10 <= k * 25 + 30 + 10


@pytest.mark.parametrize(("window", "hop"), [(30, 0), (30, -5), (30, 31), (0, 0)])
def test_a_hop_that_does_not_fit_is_an_error(window: int, hop: int) -> None:
    with pytest.raises(ValueError, match=f"windows of {window} samples every {hop}"):
        list(cut_windows([], window, hop))


def wav(seconds: float, value: float = 0.25) -> bytes:
    file = io.BytesIO()
    sf.write(file, np.full(round(seconds * SAMPLE_RATE), value, np.float32), SAMPLE_RATE, format="WAV")
    return file.getvalue()


def test_read_windows_ends_with_the_recording(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(7))
    source = audio_source(str(path), reference="seven")
    *windows, recording = read_windows(AudioSpan(source, "en"), 3, 1)
    assert recording == Recording(source, duration_s=7.0, n_windows=3)
    assert [(w.index, w.start, len(w.samples)) for w in windows if isinstance(w, Window)] == [
        (0, 0, 48_000), (1, 32_000, 48_000), (2, 64_000, 48_000),
    ]  # fmt: skip
    assert {(w.audio_id, w.language) for w in windows if isinstance(w, Window)} == {(source.audio_id, "en")}


def test_read_windows_gives_the_windows_wanted_alone() -> None:
    source = audio_source("dataset://d/train/0/0", wav(7))
    *windows, recording = read_windows(AudioSpan(source, windows=frozenset({0, 2, 9})), 3, 1)
    assert [w.index for w in windows if isinstance(w, Window)] == [0, 2]
    assert isinstance(recording, Recording)
    assert recording.n_windows == 3


def test_the_recording_goes_on_without_payload_and_credentials() -> None:
    source = audio_source("https://me:secret@h/a.wav?sig=secret", wav(1))
    *_, recording = read_windows(AudioSpan(source), 30, 5)
    assert isinstance(recording, Recording)
    assert recording.source.payload is None
    assert recording.source.uri == "https://h/a.wav"
    assert recording.source.audio_id == source.audio_id


def test_a_cut_file_gives_its_windows_and_says_so() -> None:
    *windows, recording = read_windows(AudioSpan(audio_source("x", wav(8)[: 4 * 32_000 + 44])), 3, 1)
    assert len(windows) == 2
    assert isinstance(recording, Recording)
    assert (recording.duration_s, recording.truncated) == (4.0, True)
    assert recording.problem == "4.00 s of 8.00 s declared could be decoded"


def test_what_cannot_be_decoded_raises() -> None:
    with pytest.raises(AudioError, match="not_audio"):
        list(read_windows(AudioSpan(audio_source("x", b"<html>")), 30, 5))
