from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from benchmarks.support.recordings import CLIPS, JOINED, LJ, make_recording


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name, rate, level in (("long/lj001", 16_000, 0.1), ("crowd/b", 8_000, 0.3), ("crowd/a", 16_000, 0.2)):
        path = tmp_path / f"{name}.flac"
        path.parent.mkdir(exist_ok=True)
        sf.write(path, np.full(rate, level), rate)
    return tmp_path


def test_clips_are_joined_in_order_of_their_names(data: Path, tmp_path: Path) -> None:
    joined = make_recording(JOINED, data, tmp_path)
    samples, rate = sf.read(joined.path)
    assert (joined.duration_s, rate, len(samples)) == (3.0, 16_000, 48_000)
    np.testing.assert_allclose(samples[8_000::16_000], [0.1, 0.2, 0.3], atol=1e-3)


def test_clips_are_files_of_their_own(data: Path, tmp_path: Path) -> None:
    clips = make_recording(CLIPS, data, tmp_path)
    assert clips.duration_s == 2.0
    assert [path.name for path in clips.paths] == ["a.flac", "b.flac"]
    assert make_recording(LJ, data, tmp_path).paths == [tmp_path / "lj.flac"]


def test_recording_is_split_into_equal_parts(data: Path, tmp_path: Path) -> None:
    stretches = make_recording(LJ, data, tmp_path).split(3, tmp_path)
    assert [sf.info(piece).frames for piece in stretches] == [5334, 5333, 5333]
