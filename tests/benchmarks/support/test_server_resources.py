from collections import Counter
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import soundfile as sf

from benchmarks.support.recordings import Recording
from benchmarks.support.server_resources import _mixed, make_long
from benchmarks.support.server_waits import percentile


def test_long_recording_repeats_a_clip_with_silence(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000)
    sf.write(tmp_path / "clip.wav", noise, 16_000)
    long = make_long(tmp_path / "clip.wav", hours=0.01, speech=0.25, path=tmp_path / "long.flac")
    samples, rate = sf.read(long.path)
    assert rate == 16_000
    assert long.duration_s == len(samples) / rate == 36.0
    assert np.count_nonzero(samples[:16_000]) > 15_900
    assert not np.any(samples[16_000:64_000])
    np.testing.assert_array_equal(samples[:64_000], samples[64_000:128_000])


def test_requests_are_mixed_in_the_same_way_each_time() -> None:
    clips = [Recording(Path(f"{n}.flac"), 10.0) for n in range(3)]
    kinds = [[cast(partial[int], job).func.__name__ for job in _mixed(clips, 1000)] for _ in range(2)]
    assert kinds[0] == kinds[1]
    counts = Counter(kinds[0])
    assert counts.total() == 1000
    assert 30 < counts["_broken"] < 70
    assert 30 < counts["_cancelled"] < 70


def test_percentile() -> None:
    values = [float(n) for n in range(100, 0, -1)]
    assert [percentile(values, fraction) for fraction in (0.0, 0.5, 0.95, 0.99, 1.0)] == [1, 50, 95, 99, 100]
    assert percentile([7.0], 0.99) == 7.0
