import numpy as np
import pytest

from benchmarks.support.whole_batches import WholeBatch
from model.interface import Request
from tests.support.fake_transcribers import FAILING, FakeTranscriber, window


def requests(*firsts: float) -> list[Request]:
    return [Request(window(0, first).samples) for first in firsts]


def test_windows_are_decoded_in_one_call_and_leave_their_rows() -> None:
    model = FakeTranscriber()
    batch, given = WholeBatch(model.transcribe, 3), requests(0.001, 0.002)
    batch.add(given)
    assert (batch.n_free, batch.requests) == (1, given)
    with pytest.raises(ValueError, match="2 windows were given for 1 free rows"):
        batch.add(requests(0.003, 0.004))
    answers = batch.advance(n_free=1, max_steps=1)
    assert [id(request) for request, _ in answers] == [id(request) for request in given]
    assert [result.segments[0].text for _, result in answers] == [" 1", " 2"]  # type: ignore[union-attr]
    assert (batch.n_free, batch.requests, batch.advance(), model.calls) == (3, [], [], [2])


def test_an_exception_is_raised_and_the_windows_stay() -> None:
    batch, given = WholeBatch(FakeTranscriber().transcribe, 2), requests(0.001, FAILING)
    batch.add(given)
    with pytest.raises(ValueError, match="poisoned"):
        batch.advance()
    assert batch.requests == given


def test_a_missing_result_is_an_error() -> None:
    batch = WholeBatch(lambda given: FakeTranscriber().transcribe(given)[:-1], 2)
    batch.add(requests(0.001, 0.002))
    with pytest.raises(ValueError, match="zip"):
        batch.advance()
    assert np.array_equal(batch.requests[0].samples, window(0, 0.001).samples)
