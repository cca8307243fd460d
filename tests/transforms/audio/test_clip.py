from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from model.interface import SAMPLE_RATE, Samples
from transforms.audio.clip import Clip
from transforms.core.errors import AudioError
from transforms.core.types import AudioSource


def blocks(n_seconds: float, block: int, read: list[int] | None = None) -> Iterator[Samples]:
    samples = np.arange(round(n_seconds * SAMPLE_RATE), dtype=np.float32)
    for start in range(0, len(samples), block):
        if read is not None:
            read.append(start)
        yield samples[start : start + block]


@pytest.mark.parametrize("block", [999, 16_000, 1_000_000])
@pytest.mark.parametrize(("start_s", "end_s"), [(None, None), (1.0, None), (None, 2.5), (0.5, 1.25)])
def test_samples_of_the_range_do_not_depend_on_block_size(
    block: int, start_s: float | None, end_s: float | None
) -> None:
    clip = Clip(AudioSource("id", "a.wav", start_s=start_s, end_s=end_s))
    found = list(clip.blocks(blocks(3, block)))
    start, stop = round((start_s or 0) * SAMPLE_RATE), round((end_s or 3) * SAMPLE_RATE)
    np.testing.assert_array_equal(np.concatenate(found), np.arange(start, stop))
    assert all(len(part) for part in found)
    assert clip.n_samples == stop - start
    assert clip.problem is None


def test_no_block_is_read_after_the_end() -> None:
    read: list[int] = []
    list(Clip(AudioSource("id", "a.wav", end_s=1.0)).blocks(blocks(100, SAMPLE_RATE, read)))
    assert read == [0]


def test_file_that_ends_before_the_range_is_reported() -> None:
    clip = Clip(AudioSource("id", "a.wav", start_s=1, end_s=9))
    list(clip.blocks(blocks(3, 1000)))
    assert clip.problem == "the requested part ends at 9 s, the file at 3 s"
    clip = Clip(AudioSource("id", "a.wav", end_s=3.1))  # rounded up in the manifest
    list(clip.blocks(blocks(3, 1000)))
    assert clip.problem is None
    with pytest.raises(
        AudioError, match="decode: empty: the requested part begins at 4 s, the file ends at 3 s"
    ):
        list(Clip(AudioSource("id", "a.wav", start_s=4)).blocks(blocks(3, 1000)))
