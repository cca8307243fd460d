from __future__ import annotations

import numpy as np
import pytest

from model.detector_input import BLOCK, CUTOFF_HZ, MAX_GAIN, TARGET_LEVEL, DetectorInput, Floats
from model.interface import SAMPLE_RATE, SPEECH_CHUNK

TIME = np.arange(6 * SAMPLE_RATE // SPEECH_CHUNK * SPEECH_CHUNK) / SAMPLE_RATE


def prepared(samples: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[Floats, Floats]:
    """Filtered samples, and the gain of each chunk, of a stream that is fed in blocks."""
    chunks, stream = samples.astype(np.float32).reshape(-1, SPEECH_CHUNK), DetectorInput()
    parts = [chunks[first : first + BLOCK] for first in range(0, len(chunks), BLOCK)]
    found = [stream(part, slice(0, len(part))) for part in parts]
    return np.concatenate([part.ravel() for part, _ in found]), np.concatenate([gain for _, gain in found])


def filtered_only(samples: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Floats:
    chunks, stream = samples.astype(np.float32).reshape(-1, SPEECH_CHUNK), DetectorInput()
    found = []
    for first in range(0, len(chunks), BLOCK):
        block = np.zeros((BLOCK, SPEECH_CHUNK), np.float32)
        part = chunks[first : first + BLOCK]
        block[: len(part)] = part
        found.append(stream._filtered(block, slice(0, len(part)))[: len(part)].ravel())
    return np.concatenate(found)


@pytest.mark.parametrize("frequency_hz", [20, 50, CUTOFF_HZ, 150, 300, 1000, 7000])
def test_the_filter_is_a_butterworth_high_pass_of_order_4(frequency_hz: float) -> None:
    filtered = filtered_only(np.sin(2 * np.pi * frequency_hz * TIME))
    settled = filtered[SAMPLE_RATE:]
    ratio = np.tan(np.pi * CUTOFF_HZ / SAMPLE_RATE) / np.tan(np.pi * frequency_hz / SAMPLE_RATE)
    expected = 1 / np.sqrt(1 + ratio**8)
    assert np.sqrt(2 * np.mean(settled**2)) == pytest.approx(expected, abs=1e-3)


def test_the_filter_is_causal_and_continues_over_blocks() -> None:
    impulse = np.zeros_like(TIME)
    place = BLOCK * SPEECH_CHUNK - 1
    impulse[place] = 1
    filtered = filtered_only(impulse)
    assert not filtered[:place].any()
    assert filtered[place] == pytest.approx(0.95, abs=0.01)
    later = filtered_only(np.roll(impulse, 300))
    np.testing.assert_allclose(later[place + 300 :], filtered[place:-300], rtol=0, atol=1e-6)


def test_an_offset_disappears_and_ordinary_audio_is_unchanged() -> None:
    speech = 0.004 * np.sin(2 * np.pi * 400 * TIME)
    with_offset, gains = prepared(speech + 0.4)
    rest = slice(SAMPLE_RATE // 2, None)
    np.testing.assert_allclose(with_offset[rest], filtered_only(speech)[rest], rtol=0, atol=1e-5)
    assert gains[-1] == pytest.approx(TARGET_LEVEL / (0.004 / np.sqrt(2)), rel=0.01)
    ordinary = 0.1 * np.sin(2 * np.pi * 400 * TIME)
    unchanged, gains = prepared(ordinary)
    np.testing.assert_array_equal(unchanged, ordinary.astype(np.float32))
    assert (gains == 1).all()


@pytest.mark.parametrize(
    ("level", "expected"), [(0.5, 1), (0.1, 1), (0.001, TARGET_LEVEL * 1000), (1e-5, MAX_GAIN), (0, MAX_GAIN)]
)
def test_quiet_recordings_are_amplified(level: float, expected: float) -> None:
    _, gains = prepared(level * np.sqrt(2) * np.sin(2 * np.pi * 400 * TIME))
    assert gains[-1] == pytest.approx(expected, rel=0.01)


def test_a_click_changes_the_gain_of_its_chunk_alone_and_loud_speech_that_of_5_seconds() -> None:
    quiet = 0.001 * np.sin(2 * np.pi * 400 * TIME)
    click = quiet.copy()
    click[50 * SPEECH_CHUNK + 200] = 1
    _, gains = prepared(quiet)
    _, clicked = prepared(click)
    assert np.flatnonzero(~np.isclose(clicked, gains, rtol=0.05)).tolist() == [50]
    assert (gains[:31] == 1).all()
    loud = quiet.copy()
    loud[10 * SPEECH_CHUNK : 20 * SPEECH_CHUNK] *= 500
    _, lowered = prepared(loud)
    assert (lowered[31:165] == 1).all()
    assert lowered[-1] == pytest.approx(gains[-1])


def test_rows_of_a_block_give_the_same_bits_as_a_whole_block() -> None:
    samples = np.random.default_rng(0).standard_normal(len(TIME))[: BLOCK * SPEECH_CHUNK].astype(np.float32)
    chunks, stream = samples.reshape(BLOCK, SPEECH_CHUNK), DetectorInput()
    whole, gains = DetectorInput()(chunks, slice(0, BLOCK))
    for row in range(BLOCK):
        filtered, gain = stream(chunks[row : row + 1], slice(row, row + 1))
        np.testing.assert_array_equal(filtered[0], whole[row])
        assert gain[0] == gains[row]
