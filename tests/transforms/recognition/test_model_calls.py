from __future__ import annotations

from collections.abc import Sequence

import pytest

from model.interface import Request, WindowResult
from tests.support.fake_transcribers import FAILING, BrokenTranscriber, FakeTranscriber, window
from transforms.core.types import Window
from transforms.recognition.model_calls import ModelError, call_model, check_transcriber, transcribe_each


class ShortTranscriber(FakeTranscriber):
    """Returns one result too few."""

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        return super().transcribe(requests)[:-1]


def no_check() -> None:
    pass


def requests(windows: Sequence[Window]) -> list[Request]:
    return [Request(window.samples, window.language) for window in windows]


def texts(results: Sequence[WindowResult | Exception]) -> list[str]:
    return [str(r) if isinstance(r, Exception) else r.segments[0].text.strip() for r in results]


def test_a_batch_without_failures_is_one_call() -> None:
    model = FakeTranscriber()
    assert texts(transcribe_each(model, requests([window(i) for i in range(5)]))) == ["0", "1", "2", "3", "4"]
    assert model.calls == [5]


@pytest.mark.parametrize("failing", [{0}, {7}, {3, 4}, {0, 2, 7}, set(range(8))])
def test_a_batch_is_halved_until_failing_windows_are_alone(failing: set[int]) -> None:
    windows = [window(i, FAILING if i in failing else None) for i in range(8)]
    expected = ["poisoned" if i in failing else str(i) for i in range(8)]
    assert texts(transcribe_each(FakeTranscriber(), requests(windows))) == expected


def test_too_few_results_are_an_error_of_the_window() -> None:
    (result,) = transcribe_each(ShortTranscriber(), requests([window(1)]))
    assert "0 results for 1 windows" in str(result)


def test_a_model_that_cannot_transcribe_silence_is_a_model_error() -> None:
    check_transcriber(FakeTranscriber())
    with pytest.raises(ModelError, match=r"MemoryError: out of memory; .* smaller --batch_size"):
        call_model(BrokenTranscriber(), no_check, requests([window(1)]))


def test_the_model_is_checked_only_when_all_windows_fail() -> None:
    model = FakeTranscriber()
    results = call_model(model, no_check, requests([window(1, FAILING), window(2)]))
    assert texts(results) == ["poisoned", "2"]
    assert model.calls == [2, 1, 1]
    assert texts(call_model(model, no_check, requests([window(1, FAILING)]))) == ["poisoned"]
    assert model.calls[3:] == [1, 1]  # the window, and silence


def test_no_call_is_made_when_the_check_raises() -> None:
    def check() -> None:
        raise InterruptedError("stop")

    model = FakeTranscriber()
    with pytest.raises(InterruptedError):
        call_model(model, check, requests([window(1)]))
    assert model.calls == []
