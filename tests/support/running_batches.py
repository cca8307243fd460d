"""Windows that begin one after the other in a running batch, for tests."""

from __future__ import annotations

from collections.abc import Sequence

from model.interface import Request, WindowResult
from model.running_batch import RunningBatch


def decoded_in_turns(
    batch: RunningBatch, requests: Sequence[Request], *, n_steps: int = 3
) -> list[WindowResult]:
    """Decodes windows in a batch to which one is added every few steps, so that each is at another token."""
    answers: dict[int, WindowResult | Exception] = {}
    waiting = list(requests)
    while waiting or batch.requests:
        if waiting and batch.n_free:
            batch.add([waiting.pop(0)])
        answers.update((id(one), answer) for one, answer in batch.advance(max_steps=n_steps))
    return [_result(answers[id(one)]) for one in requests]


def decoded_alone(batch: RunningBatch, request: Request) -> WindowResult:
    """Decodes a window while all other rows are free."""
    assert batch.requests == []
    (result,) = decoded_in_turns(batch, [request])
    return result


def _result(answer: WindowResult | Exception) -> WindowResult:
    assert isinstance(answer, WindowResult), answer
    return answer
