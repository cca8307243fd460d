from __future__ import annotations

from dataclasses import replace
from time import process_time

import numpy as np
import pytest

from tests.support.merging_records import window
from transforms.core.types import Segment, Untranscribed, WindowTranscript
from transforms.merging.merge import Merged, merge_windows
from transforms.merging.untranscribed import failed_seconds, merged_untranscribed

DURATION_S = 60.0


def segment(start_s: float, end_s: float, text: str = " words") -> Segment:
    return Segment(start_s, end_s, text, -0.1, 0.0, 1.0, 0.0)


def lossy(index: int, *lost: Untranscribed, segments: tuple[Segment, ...] = ()) -> WindowTranscript:
    return replace(window(index, "en"), segments=segments, untranscribed=lost)


def merged(*windows: WindowTranscript, failed: tuple[WindowTranscript, ...] = ()) -> list[Untranscribed]:
    merge = merge_windows(windows, DURATION_S)
    return list(merged_untranscribed(windows, failed, merge, DURATION_S))


def test_what_windows_lost_is_in_order_of_time_and_within_the_recording() -> None:
    first = Untranscribed(1.0, 2.0, "rate", " la la la")
    silent = Untranscribed(3.0, 9.0, "no_speech")
    behind = Untranscribed(58.0, 61.0, "remainder")
    after = Untranscribed(61.0, 61.0, "length", " thanks")
    found = merged(lossy(2, after, behind), lossy(0, silent, first))
    assert found == [
        first, silent, replace(behind, end_s=60.0), replace(after, start_s=60.0, end_s=60.0),
    ]  # fmt: skip


def test_a_text_is_left_out_where_another_window_has_text() -> None:
    deleted = Untranscribed(26.0, 29.0, "rate", " la la la")
    right = window(1, "en")
    assert merged(lossy(0, deleted), right) == [deleted]
    over = replace(right, segments=(segment(26.5, 33.0),))
    assert merged(lossy(0, deleted), over) == []
    assert merged(lossy(0, deleted), replace(over, segments=(segment(28.5, 33.0),))) == [deleted]
    assert merged(lossy(0, deleted, segments=(segment(26.0, 29.0),))) == [deleted]  # its own text


def test_seconds_without_text_are_shortened_to_those_without_text_of_another_window() -> None:
    tail = Untranscribed(20.0, 30.0, "remainder")
    right = replace(window(1, "en"), segments=(segment(26.0, 29.8),))
    assert merged(lossy(0, tail), right) == [Untranscribed(20.0, 26.0, "remainder")]
    assert merged(lossy(0, replace(tail, start_s=25.8)), right) == []


def test_of_a_window_that_failed_only_its_own_seconds_are_lost() -> None:
    whole = lossy(1, Untranscribed(25.0, 55.0, "failed"))
    left, right = window(0, "en"), lossy(2)
    assert merged(left, right, failed=(whole,)) == [Untranscribed(30.0, 50.0, "failed")]
    assert merged(left, window(1, "en"), right, failed=(whole,)) == []  # it was listed twice
    assert merged(failed=(whole, whole)) == [Untranscribed(25.0, 55.0, "failed")]
    last = lossy(2, Untranscribed(50.0, 60.0, "failed"))
    assert merged(failed=(last, whole)) == [
        Untranscribed(25.0, 55.0, "failed"),
        Untranscribed(55.0, 60.0, "failed"),
    ]


def test_speech_without_text_in_what_a_window_that_failed_shares_with_another_is_lost() -> None:
    """The other window does not look for text there: it is in a later one."""
    failed = lossy(1, Untranscribed(25.0, 55.0, "failed"))
    for speech, text_s, start_s in ((26.0, 24.0, 26.0), (26.0, 29.8, 29.8), (31.0, 24.0, 30.0)):
        left = lossy(0, segments=(segment(0.0, text_s),))
        left = replace(left, speech=((0.0, text_s), (speech, 30.0))[: 1 + (speech < 30.0)])
        assert merged(left, lossy(2), failed=(failed,)) == [Untranscribed(start_s, 50.0, "failed")]


def test_a_very_long_recording_takes_no_more_time_for_each_window() -> None:
    n_windows = 24_000  # 167 hours; each with each would be 576 million comparisons
    lost = [
        replace(
            lossy(number, Untranscribed(start_s, start_s + 20.0, "no_text")),
            start_s=start_s,
            end_s=start_s + 30.0,
        )
        for number, start_s in enumerate(25.0 * np.arange(n_windows))
    ]
    segments = tuple(segment(one.start_s + 2.0, one.start_s + 7.0) for one in lost)
    merge = Merged(segments, (), tuple(range(1, n_windows + 1)))  # each is of another window
    started = process_time()
    found = merged_untranscribed(lost[::2], lost[1::2], merge, 25.0 * n_windows)
    assert process_time() - started < 8
    assert len(found) == 2 * len(lost[::2]) + len(lost[1::2])


def test_a_sentence_names_the_seconds_at_which_the_model_failed() -> None:
    assert failed_seconds([Untranscribed(1.0, 2.0, "rate", " la")], 0.0) is None
    failed = [Untranscribed(10.0 * at, 10.0 * at + 2.5, "failed") for at in range(5)]
    sentence = failed_seconds(failed[:1], 100.0)
    assert sentence == "the model failed on 2.50 s, which have no text: seconds 100.00 to 102.50"
    sentence = failed_seconds(failed, 0.0)
    assert sentence is not None
    assert "failed on 12.50 s" in sentence
    assert sentence.endswith("10.00 to 12.50, 20.00 to 22.50, and 2 more stretches")
    assert str(failed_seconds(failed[:4], 0.0)).endswith(", and 1 more stretch")


@pytest.mark.parametrize("text", ["", " la"])
def test_an_entry_is_listed_once(text: str) -> None:
    entry = Untranscribed(26.0, 29.0, "remainder", text)
    assert merged(lossy(0, entry), lossy(1, entry)) == [entry]
