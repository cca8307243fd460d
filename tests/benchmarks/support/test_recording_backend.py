import pytest

from benchmarks.support.recording_backend import n_tokens, overlap_s
from model.interface import Segment, WindowResult


@pytest.mark.parametrize(
    ("intervals", "seconds"),
    [
        ([], 0.0),
        ([(1.0, 2.0), (4.0, 6.0)], 3.0),
        ([(1.0, 5.0), (2.0, 3.0), (4.0, 6.0)], 5.0),
        ([(-5.0, 1.0), (9.0, 20.0)], 2.0),
        ([(-5.0, -1.0), (11.0, 20.0)], 0.0),
    ],
)
def test_overlap_of_intervals(intervals: list[tuple[float, float]], seconds: float) -> None:
    assert overlap_s(intervals, 0.0, 10.0) == seconds


def test_tokens_of_a_window_include_timestamps_and_the_end() -> None:
    segments = (Segment(0, 1, " a", (1, 2, 3)), Segment(1, 2, " b", (4,)))
    assert n_tokens(WindowResult(segments, "en")) == 4 + 4 + 1
    assert n_tokens(WindowResult(segments, "en", timestamped=False)) == 4 + 1
