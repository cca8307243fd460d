"""Transcribers without a model: each decodes a window as its first sample, in thousandths."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from threading import Event, get_ident

import numpy as np

from benchmarks.support.whole_batches import WholeBatch
from model.interface import SAMPLE_RATE, Request, Segment, WindowResult, Word
from transforms.core.types import AudioSource, Window

FAILING = 0.5
"""First sample of a window that makes the model raise."""

SOURCE = AudioSource("id", "u")


class FakeTranscriber:
    """Decodes a window as its first sample, in thousandths; raises on a batch with a `FAILING` window.

    Attributes:
        calls: the number of windows of each call.
        gate: calls wait until it is set, as it is from the start.
        started: is set by the first call.
    """

    max_concurrent_calls = 1
    arithmetic = ""
    compile_s = 0.0

    def __init__(self, batch_size: int = 8) -> None:
        self.batch_size = batch_size
        self.calls: list[int] = []
        self.gate, self.started = Event(), Event()
        self.gate.set()

    def batch_group(self, request: Request) -> None:
        """All requests may share a batch."""

    def token_ids(self, text: str) -> list[int]:
        """One token for each byte."""
        return list(text.encode())

    def warm_up(self, *, prompts: bool = True, timestamps: Sequence[bool] = (True, False)) -> None:
        """There is nothing to compile."""

    def new_batch(self, group: Hashable, n_rows: int | None = None) -> WholeBatch:
        return WholeBatch(self.transcribe, n_rows or self.batch_size)

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        self.calls.append(len(requests))
        self.started.set()
        assert self.gate.wait(30)
        if any(abs(request.samples[0]) == np.float32(FAILING) for request in requests):
            raise ValueError("poisoned")
        return [self.decode(request) for request in requests]

    def decode(self, request: Request) -> WindowResult:
        text = f" {round(request.samples[0] * 1000)}"
        return WindowResult((Segment(0, request.samples.size, text),), request.language or "en")


class BrokenTranscriber(FakeTranscriber):
    """Raises whatever it gets."""

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        raise MemoryError("out of memory")


class StoppingTranscriber(FakeTranscriber):
    """Stops after the first second of a window, and writes how many samples the window had."""

    def decode(self, request: Request) -> WindowResult:
        return WindowResult((Segment(0, SAMPLE_RATE, f" {request.samples.size}"),), "en")


class TimingTranscriber(FakeTranscriber):
    """Stops after the first second of a window; its words, if requested, are far from the segment's times."""

    def __init__(self, word_times: tuple[int, int]) -> None:
        super().__init__()
        self.word_times = word_times
        self.sizes: list[int] = []  # samples of each window

    def decode(self, request: Request) -> WindowResult:
        self.sizes.append(request.samples.size)
        text = f" one two three four five six {request.samples.size}"
        words = (Word(*self.word_times, text, 0.9),) if request.word_timestamps else ()
        segments = [Segment(0, SAMPLE_RATE, text, words=words)]
        if request.samples.size > 3 * SAMPLE_RATE:  # too many words for a tenth of a second
            segments.insert(0, Segment(0, SAMPLE_RATE // 10, f" a b c d e f{text}", words=words))
        return WindowResult(tuple(segments), "en")


class UnsureTranscriber(FakeTranscriber):
    """Unsure of windows that begin below zero, up to temperature 0.4; writes the temperature."""

    def __init__(self, batch_size: int = 8) -> None:
        super().__init__(batch_size)
        self.temperatures: list[list[float]] = []  # of the windows of each call

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        self.temperatures.append([request.temperature for request in requests])
        return super().transcribe(requests)

    def decode(self, request: Request) -> WindowResult:
        is_unsure = request.samples[0] < 0 and request.temperature < 0.4
        return WindowResult(
            (Segment(0, request.samples.size, f" at {request.temperature:g}"),),
            "en",
            avg_logprob=-2.0 if is_unsure else -0.2,
            temperature=request.temperature,
        )


def window(index: int, first: float | None = None, language: str | None = None) -> Window:
    """A second of the recording `id<index>`, 25 s after the window before."""
    samples = np.full(SAMPLE_RATE, index / 1000 if first is None else first, np.float32)
    start = 25 * SAMPLE_RATE * index
    return Window(f"id{index}", index, ((start, start + SAMPLE_RATE),), samples, samples.size, language)


def loud_window(seconds: float, failing_at_s: float | None = None) -> Window:
    """Noise with a pause in each second, so that there is a noise level to compare loudness with."""
    samples = (np.random.default_rng(0).standard_normal(int(seconds * SAMPLE_RATE)) * 0.1).astype(np.float32)
    samples[::2000] = 0.0
    for start in range(0, len(samples), SAMPLE_RATE):
        samples[start + 8_000 : start + 12_000] *= 0.001
    if failing_at_s is not None:
        samples[int(failing_at_s * SAMPLE_RATE)] = FAILING
    return Window("id", 0, ((0, samples.size),), samples, samples.size)


class ConcurrentTranscriber(FakeTranscriber):
    """Does not return before calls on two threads have started."""

    max_concurrent_calls = 2
    arithmetic = ""

    def __init__(self) -> None:
        super().__init__(batch_size=2)
        self.together, self.threads = Event(), set[int]()

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        self.threads.add(get_ident())
        if len(self.threads) == 2:
            self.together.set()
        assert self.together.wait(30)
        return super().transcribe(requests)
