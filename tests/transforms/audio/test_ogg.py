from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
import pytest

from transforms.audio.ogg import OggClock, ogg_end


def page(flags: int, granule: int) -> bytes:
    return b"OggS\x00" + bytes([flags]) + granule.to_bytes(8, "little") + bytes(53)


def test_end_is_the_position_of_the_last_page() -> None:
    assert ogg_end(io.BytesIO(page(0, 5) * 5000 + page(4, 7_000))) == 7_000
    assert ogg_end(io.BytesIO(page(0, 5) * 5000)) is None
    assert ogg_end(io.BytesIO(page(4, 5) + b"OggS\x00")) is None
    assert ogg_end(io.BytesIO(b"")) is None


def test_file_truncated_in_its_last_page_has_no_end() -> None:
    complete = b"OggS\x00\x04" + bytes(20) + b"\x02" + bytes([255, 10]) + bytes(265)
    assert ogg_end(io.BytesIO(complete)) == 0
    assert [ogg_end(io.BytesIO(complete[:n])) for n in (len(complete) - 1, 28, 20)] == [None] * 3


def frame(start: int | None, rate: int = 100) -> av.AudioFrame:
    made = av.AudioFrame.from_ndarray(np.zeros((1, 50), np.float32), format="fltp", layout="mono")
    made.sample_rate, made.pts, made.time_base = rate, start, Fraction(1, 100)
    return made


@pytest.mark.parametrize(
    ("frames", "end", "lost_s"),
    [
        ([frame(0), frame(50), frame(100)], 150, 0),
        ([frame(7_000), frame(7_050)], 7_100, 0),  # a live stream, joined late
        ([frame(0), frame(150), frame(200), frame(350)], 400, 2.0),
        ([frame(0), frame(50)], 300, 2.0),
        ([frame(0), frame(50), frame(0), frame(50)], 100, 0),  # two files concatenated
        ([frame(0), frame(50, 200), frame(200, 200)], 900, 0),  # with another rate
        ([frame(0), frame(None)], 900, 0),
        ([], 900, 0),
    ],
)
def test_timestamps_show_missing_samples(frames: list[av.AudioFrame], end: int, lost_s: float) -> None:
    clock = OggClock()
    found_s = sum(clock.feed(each) for each in frames) + clock.end(end, Fraction(1, 100))
    assert found_s == pytest.approx(lost_s)
