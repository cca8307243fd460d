from __future__ import annotations

import io
from collections.abc import Iterator

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.interface import SAMPLE_RATE, Samples
from tests.support.encoding import encoded, speechlike
from transforms.audio import blocks
from transforms.audio.blocks import PlacedFrame, RateRun, block_bounds, blocks_of
from transforms.audio.decoder import AudioDecoder

RATE = 4_000
RUN = RateRun(0, RATE, 0)


def placed_frames(samples: Samples, size: int, run: RateRun = RUN, first: int = 0) -> Iterator[PlacedFrame]:
    """Frames of at most `size` samples, [channels, n], from a position on."""
    for position in range(first, samples.shape[1], size):
        values = np.ascontiguousarray(samples[:, position : position + size])
        layout = "mono" if len(samples) == 1 else "stereo"
        frame = av.AudioFrame.from_ndarray(values, format="fltp", layout=layout)
        yield PlacedFrame(run, len(samples), position, frame)


def ramp(seconds: float, channels: int = 1) -> Samples:
    """Samples that differ from each other: [channels, n]."""
    return np.arange(channels * round(seconds * RATE), dtype=np.float32).reshape(channels, -1)


@given(st.integers(500, 50_000), st.sampled_from([0, 30, 60]))
def test_bounds_do_not_depend_on_frames_or_start(size: int, start_s: int) -> None:
    samples = ramp(70)
    found = list(
        blocks_of(placed_frames(samples, size, first=start_s * RATE // size * size), lambda: start_s)
    )
    assert [block.position for block in found] == [s * RATE for s in (0, 30, 60) if s >= start_s]
    np.testing.assert_array_equal(
        np.concatenate([block.values for block in found], axis=1), samples[:, start_s * RATE :]
    )


def test_blocks_have_a_single_number_of_channels_and_a_single_run() -> None:
    later = RateRun(1, RATE, 5 * SAMPLE_RATE)
    frames = [
        *placed_frames(ramp(2), 1_000),
        *placed_frames(ramp(5, channels=2), 1_000, first=2 * RATE),
        *placed_frames(ramp(1), 1_000, later),
    ]
    found = [(block.run, block.position, block.values.shape) for block in blocks_of(frames)]
    assert found == [
        (RUN, 0, (1, 2 * RATE)),
        (RUN, 2 * RATE, (2, 3 * RATE)),
        (later, 0, (1, RATE)),
    ]


def test_later_runs_are_returned_from_their_start() -> None:
    later = RateRun(1, RATE, 40 * SAMPLE_RATE)
    frames = [*placed_frames(ramp(40), 1_000), *placed_frames(ramp(10), 1_000, later)]
    assert [(block.run.number, block.position) for block in blocks_of(frames, lambda: 30)] == [
        (0, 30 * RATE),
        (1, 0),
    ]


def test_no_block_is_larger_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert block_bounds(SAMPLE_RATE, 1) == [30 * SAMPLE_RATE]
    monkeypatch.setattr(blocks, "MAX_BLOCK_VALUES", 100_000)
    bounds = block_bounds(RATE, 2)
    assert bounds[-1] == 30 * RATE
    assert max(np.diff([0, *bounds])) * 2 <= 100_000


def test_many_channels_make_shorter_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "MAX_BLOCK_VALUES", 8 * SAMPLE_RATE)
    data = encoded(np.stack([speechlike(10)] * 8, axis=1))
    sizes = [len(block) for block in AudioDecoder(io.BytesIO(data)).blocks()]
    assert sum(sizes) == 10 * SAMPLE_RATE
    assert max(sizes) < 1.5 * SAMPLE_RATE


def test_positions_of_a_run_as_times_and_samples_of_the_recording() -> None:
    run = RateRun(1, 8_000, 3 * SAMPLE_RATE)
    assert run.time_s(4_000) == 3.5
    assert run.n_samples(4_000) == 3.5 * SAMPLE_RATE
