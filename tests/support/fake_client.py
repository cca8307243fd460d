"""A client of a model for tests of the recognizer, and what came of its windows."""

from __future__ import annotations

from collections.abc import Sequence

from model.interface import Request, WindowResult
from tests.support.fake_transcribers import FakeTranscriber
from transforms.recognition.recognizer import FinishedWindow, Recognizer


class FakeClient:
    """Decodes all requests that it has at each `completed`, and returns them in any order.

    Args:
        transcriber: decodes.
        reverse: returns the last request first.
        needs_wait: returns nothing while the caller does not wait.
    """

    def __init__(
        self, transcriber: FakeTranscriber, *, reverse: bool = False, needs_wait: bool = False
    ) -> None:
        self.transcriber = transcriber
        self.reverse, self.needs_wait = reverse, needs_wait
        self.requests: list[Request] = []
        self.submitted: list[tuple[float, int]] = []  # temperature and priority of each
        self.n_cancelled = 0

    def submit(self, request: Request, priority: int = 0) -> None:
        self.requests.append(request)
        self.submitted.append((request.temperature, priority))

    def completed(self, *, wait: bool) -> list[tuple[Request, WindowResult | Exception]]:
        if not self.requests or (self.needs_wait and not wait):
            return []
        requests, self.requests = self.requests, []
        answers = [(request, self._answer(request)) for request in requests]
        return answers[::-1] if self.reverse else answers

    def cancel(self) -> None:
        self.n_cancelled += 1
        self.requests = []

    def _answer(self, request: Request) -> WindowResult | Exception:
        try:
            (result,) = self.transcriber.transcribe([request])
        except ValueError as error:
            return error
        return result


def finished(recognizer: Recognizer, *, wait: bool = True) -> list[FinishedWindow]:
    return [one for windows in recognizer.completed(wait=wait) for one in windows]


def texts(windows: Sequence[FinishedWindow]) -> dict[str, list[str]]:
    return {one.key: [segment.text for segment in one.transcript.segments] for one in windows}
