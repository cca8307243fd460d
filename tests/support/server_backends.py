"""Transcribers of tones for tests of the server: with words, and with calls that a test holds back."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import soundfile

from model.interface import SAMPLE_RATE, ModelOptions, Request, Segment, WindowResult, Word
from pipelines.backend import Backend
from tests.support.tone_backend import ENGLISH, FRENCH, ToneDetector, ToneTranscriber, languages_of, tone

HELD_S = 60.0
"""A call is held back no longer."""


class WordTranscriber(ToneTranscriber):
    """Transcribes tones; a segment is one word, if words are requested. Scores depend on all of a request."""

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        results = super().transcribe(requests)
        return [_scored(*pair) for pair in zip(requests, results, strict=True)]


class Gate:
    """Holds the calls of a transcriber back.

    Attributes:
        waiting: released once for each call that has begun to wait.
    """

    def __init__(self) -> None:
        self.waiting = threading.Semaphore(0)
        self._changed = threading.Condition()
        self._is_open, self._n_passes = False, 0

    def open(self) -> None:
        """Lets all calls pass from now on."""
        with self._changed:
            self._is_open = True
            self._changed.notify_all()

    def close(self) -> None:
        """Opens the gate, at the end of a test."""
        self.open()

    def let_pass(self, n: int = 1) -> None:
        """Lets some calls pass."""
        with self._changed:
            self._n_passes += n
            self._changed.notify_all()

    def wait(self) -> None:
        self.waiting.release()
        with self._changed:
            assert self._changed.wait_for(lambda: self._is_open or self._n_passes, HELD_S)
            self._n_passes = max(self._n_passes - 1, 0)


class HeldTranscriber(WordTranscriber):
    """A `WordTranscriber` whose calls wait for a gate, one at a time."""

    max_concurrent_calls = 1
    arithmetic = ""

    def __init__(self, batch_size: int, gate: Gate) -> None:
        super().__init__(batch_size)
        self._gate = gate

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        self._gate.wait()
        return super().transcribe(requests)


def held_backend(gate: Gate) -> Backend:
    """A backend whose transcriber waits for a gate."""

    def load(options: ModelOptions) -> HeldTranscriber:
        return HeldTranscriber(options.batch_size, gate)

    return Backend(load, languages_of, ToneDetector)


class CountingTranscriber(ToneTranscriber):
    """Transcribes each window as one word, and keeps nothing of it."""

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        return [
            WindowResult((Segment(0, request.samples.size, " window"),), request.language or "en")
            for request in requests
        ]


def load_counting(options: ModelOptions) -> CountingTranscriber:
    return CountingTranscriber(options.batch_size)


COUNTING = Backend(load_counting, languages_of, ToneDetector)


def load_words(options: ModelOptions) -> WordTranscriber:
    return WordTranscriber(options.batch_size)


WORDS = Backend(load_words, languages_of, ToneDetector)


def talk(seconds: int, first: int = 0, *, french: bool = False) -> bytes:
    """A WAV file with the tones of seconds from `first` on."""
    amplitude = FRENCH if french else ENGLISH
    samples = np.concatenate([tone(second, amplitude) for second in range(first, first + seconds)])
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format="WAV")
    return file.getvalue()


def text_of(seconds: int, first: int = 0, *, language: str = "en") -> str:
    """The text of a `talk`."""
    return " ".join(f"{language}{second}" for second in range(first, first + seconds))


def _scored(request: Request, result: WindowResult) -> WindowResult:
    segments = result.segments
    if request.word_timestamps:
        segments = tuple(_with_word(segment) for segment in segments)
    return replace(
        result,
        segments=segments,
        avg_logprob=-0.2 - len(f"{request.prompt} {request.hotwords}") / 1000,
        no_speech_prob=float(np.abs(request.samples).mean()) / 4,
        temperature=request.temperature,
    )


def _with_word(segment: Segment) -> Segment:
    word = Word(segment.start, segment.stop - SAMPLE_RATE // 4, segment.text, 0.9)
    return replace(segment, words=(word,))
