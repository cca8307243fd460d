from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from model.detector_input import (
    BLOCK,
    CUTOFF_HZ,
    LOOKAHEAD_CHUNKS,
    MAX_GAIN,
    TARGET_LEVEL,
    DetectorInput,
    Floats,
)
from model.interface import SAMPLE_RATE, SPEECH_CHUNK

TIME = np.arange(6 * SAMPLE_RATE // SPEECH_CHUNK * SPEECH_CHUNK) / SAMPLE_RATE


def blocks_of(samples: NDArray[np.float64]) -> list[Floats]:
    chunks = samples.astype(np.float32).reshape(-1, SPEECH_CHUNK)
    return [chunks[first : first + BLOCK] for first in range(0, len(chunks), BLOCK)]


def prepared(samples: NDArray[np.float64]) -> tuple[Floats, Floats]:
    """The samples that the detector gets, and the gain of each chunk."""
    stream = DetectorInput()
    found = [*map(stream, blocks_of(samples)), stream.finish()]
    return np.concatenate([part.ravel() for part, _ in found]), np.concatenate([gain for _, gain in found])


def high_passed(samples: NDArray[np.float64]) -> Floats:
    """The output of the filter."""
    stream = DetectorInput()
    for block in blocks_of(samples):
        stream._add(block)
    return stream._filtered.ravel()


@pytest.mark.parametrize("frequency_hz", [20, 50, CUTOFF_HZ, 150, 300, 1000, 7000])
def test_the_filter_is_a_butterworth_high_pass_of_order_4(frequency_hz: float) -> None:
    filtered = high_passed(np.sin(2 * np.pi * frequency_hz * TIME))
    settled = filtered[SAMPLE_RATE:]
    ratio = np.tan(np.pi * CUTOFF_HZ / SAMPLE_RATE) / np.tan(np.pi * frequency_hz / SAMPLE_RATE)
    expected = 1 / np.sqrt(1 + ratio**8)
    assert np.sqrt(2 * np.mean(settled**2)) == pytest.approx(expected, abs=1e-3)


def test_the_filter_is_causal_and_continues_over_blocks() -> None:
    impulse = np.zeros_like(TIME)
    place = BLOCK * SPEECH_CHUNK - 1
    impulse[place] = 1
    filtered = high_passed(impulse)
    assert not filtered[:place].any()
    assert filtered[place] == pytest.approx(0.95, abs=0.01)
    later = high_passed(np.roll(impulse, 300))
    np.testing.assert_allclose(later[place + 300 :], filtered[place:-300], rtol=0, atol=1e-6)


def test_an_offset_and_hum_disappear_and_ordinary_speech_is_as_it_was() -> None:
    speech = 0.01 * np.sin(2 * np.pi * 400 * TIME)
    for more in (0.4, 0.03 * np.sin(2 * np.pi * 50 * TIME)):
        found, gains = prepared(speech + more)
        expected = high_passed(speech + more)
        np.testing.assert_array_equal(found[SAMPLE_RATE:], expected[SAMPLE_RATE:])
        assert np.abs(found - speech)[SAMPLE_RATE:].max() < 0.01
    assert (gains == 1).all()
    quieter_hum = speech + 0.002 * np.sin(2 * np.pi * 50 * TIME)
    np.testing.assert_array_equal(prepared(quieter_hum)[0], quieter_hum.astype(np.float32))


@pytest.mark.parametrize(
    ("level", "expected"),
    [(0.5, 1), (0.1, 1), (0.006, 1), (0.001, TARGET_LEVEL * 1000), (1e-5, MAX_GAIN), (0, MAX_GAIN)],
)
def test_quiet_recordings_are_amplified_from_their_start(level: float, expected: float) -> None:
    _, gains = prepared(level * np.sqrt(2) * np.sin(2 * np.pi * 400 * TIME))
    assert len(gains) == len(TIME) // SPEECH_CHUNK
    assert gains == pytest.approx(np.full(len(gains), expected), rel=0.01)


def test_silence_before_and_behind_ordinary_speech_is_not_amplified() -> None:
    speech = 0.1 * np.sin(2 * np.pi * 400 * TIME) * ((TIME > 1.5) & (TIME < 3))
    _, gains = prepared(speech + 1e-4 * np.sin(2 * np.pi * 300 * TIME))
    assert (gains == 1).all()
    _, gains = prepared(np.roll(speech, SAMPLE_RATE) + 1e-4 * np.sin(2 * np.pi * 300 * TIME))
    assert gains[0] > 10  # it is longer than what is seen ahead
    assert (gains[SAMPLE_RATE // SPEECH_CHUNK + 1 :] == 1).all()


def test_a_click_changes_the_gain_of_its_chunk_alone_and_loud_speech_that_of_7_seconds() -> None:
    quiet = 0.001 * np.sin(2 * np.pi * 400 * TIME)
    click = quiet.copy()
    click[50 * SPEECH_CHUNK + 200] = 1
    _, gains = prepared(quiet)
    _, clicked = prepared(click)
    assert np.flatnonzero(~np.isclose(clicked, gains, rtol=0.05)).tolist() == [50]
    loud = quiet.copy()
    loud[100 * SPEECH_CHUNK : 110 * SPEECH_CHUNK] *= 500
    _, lowered = prepared(loud)
    assert np.flatnonzero(lowered == 1).tolist() == list(range(104 - LOOKAHEAD_CHUNKS, len(gains)))


@pytest.mark.parametrize("n", [1, 5, 63, 64, 65, 150])
def test_chunks_do_not_depend_on_how_the_stream_is_divided(n: int) -> None:
    rng = np.random.default_rng(0)
    level = 10 ** -(1 + 3 * rng.random(len(TIME) // SPEECH_CHUNK))
    samples = rng.standard_normal(len(TIME)) * np.repeat(level, SPEECH_CHUNK) + 0.01
    whole, gains = prepared(samples)
    chunks, stream = samples.astype(np.float32).reshape(-1, SPEECH_CHUNK), DetectorInput()
    found = [stream(chunks[first : first + n]) for first in range(0, len(chunks), n)] + [stream.finish()]
    np.testing.assert_array_equal(np.concatenate([part.ravel() for part, _ in found]), whole)
    np.testing.assert_array_equal(np.concatenate([gain for _, gain in found]), gains)
