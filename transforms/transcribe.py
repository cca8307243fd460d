"""The fused stage: read, batch, transcribe. Samples never leave it; what leaves is text and failures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import PCollection, TaggedOutput
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.shared import Shared

from model.interface import SAMPLE_RATE, Transcriber, TranscriberSettings, WindowResult
from transforms.errors import AudioError, to_failure
from transforms.progress import PROGRESS, count, count_seconds
from transforms.read import FAILURES, RECORDINGS, WINDOWS, ReadWindows, failed
from transforms.remainder import Hearing, first_looks
from transforms.types import AudioSource, AudioSpan, Failure, Segment, Window, WindowTranscript


class ModelError(RuntimeError):
    """The model does not work at all; the run ends."""


LoadTranscriber = Callable[[TranscriberSettings], Transcriber]


@dataclass
class TranscribeSpans(beam.PTransform[PCollection[AudioSpan], dict[str, PCollection[Any]]]):
    """`AudioSpan`s into what was said in their windows, keyed by `audio_id`.

    The result is a dict: `windows` of (audio_id, WindowTranscript), `recordings` of (audio_id, Recording),
    of those spans that want all their windows, and `failures` of Failure.

    Args:
        shared: the handle of the model; the same for every use, so that a process loads one.
    """

    settings: TranscriberSettings
    load: LoadTranscriber
    shared: Shared
    chunk_length_s: float
    stride_length_s: float

    def expand(self, spans: PCollection[AudioSpan]) -> dict[str, PCollection[Any]]:
        """Read, batch, transcribe; Beam fuses the three, as nothing between them is a grouping."""
        n = self.settings.batch_size
        read = spans | "Read windows" >> beam.ParDo(
            ReadWindows(self.chunk_length_s, self.stride_length_s)
        ).with_outputs(RECORDINGS, FAILURES, main=WINDOWS)
        said = (
            read[WINDOWS]
            | "Batch" >> beam.BatchElements(min_batch_size=n, max_batch_size=n)  # one shape, compiled once
            | "Transcribe batch"
            >> beam.ParDo(TranscribeBatches(self.settings, self.load, self.shared)).with_outputs(
                FAILURES, main=WINDOWS
            )
        )
        failures = (read[FAILURES], said[FAILURES]) | beam.Flatten()
        return {WINDOWS: said[WINDOWS], RECORDINGS: read[RECORDINGS], FAILURES: failures}


class TranscribeBatches(beam.DoFn):
    """Batches of (source, window) into (audio_id, WindowTranscript); the bad windows are failures.

    Windows of which a remainder is to be decoded wait until they fill a batch, or for the end of the bundle.
    """

    def __init__(self, settings: TranscriberSettings, load: LoadTranscriber, shared: Shared) -> None:
        self._settings = settings
        self._load = load
        self._shared = shared
        self._transcriber: Transcriber | None = None
        self._waiting: list[Hearing] = []

    def start_bundle(self) -> None:
        """Forgets what a bundle that failed left behind."""
        self._waiting = []

    def process(
        self, batch: Sequence[tuple[AudioSource, Window]]
    ) -> Iterator[tuple[str, WindowTranscript] | TaggedOutput[str, Failure]]:
        """Loads the model at the first batch (a run in which nothing can be read needs none)."""
        yield from self._look(first_looks(batch))
        while len(self._waiting) >= self._settings.batch_size:
            yield from self._look(self._next_batch())

    def finish_bundle(self) -> Iterator[Any]:
        """Looks at the remainders that still wait."""
        while self._waiting:
            for output in self._look(self._next_batch()):
                if isinstance(output, TaggedOutput):
                    yield TaggedOutput(output.tag, GlobalWindows.windowed_value(output.value))
                else:
                    yield GlobalWindows.windowed_value(output)

    def _next_batch(self) -> list[Hearing]:
        n = self._settings.batch_size
        batch, self._waiting = self._waiting[:n], self._waiting[n:]
        return batch

    def _look(
        self, hearings: Sequence[Hearing]
    ) -> Iterator[tuple[str, WindowTranscript] | TaggedOutput[str, Failure]]:
        PROGRESS.check()
        if self._transcriber is None:
            self._transcriber = self._shared.acquire(self._timed_load)
        started = perf_counter()
        results = transcribe_each(self._transcriber, [hearing.next_window for hearing in hearings])
        if all(isinstance(result, Exception) for result in results):
            check_model(self._transcriber)
        count_seconds("model", perf_counter() - started)
        for hearing, result in zip(hearings, results, strict=True):
            if isinstance(result, Exception):
                yield failed(window_failure(hearing.source, hearing.next_window, result))
                hearing = hearing.given_up()
            else:
                hearing = hearing.heard(result)
            if hearing.start is not None:
                count("remainders")
                self._waiting.append(hearing)
            elif hearing.looks:
                count("windows")
                yield hearing.window.audio_id, to_window_transcript(hearing.window, hearing.looks)

    def _timed_load(self) -> Transcriber:
        started = perf_counter()
        transcriber = self._load(self._settings)
        count_seconds("load", perf_counter() - started)
        return transcriber


def transcribe_each(transcriber: Transcriber, windows: Sequence[Window]) -> list[WindowResult | Exception]:
    """What the model said of each window, or the exception that this window alone raises.

    A batch that fails is halved until what fails stands alone, so that the others are still transcribed.
    """
    try:
        results = transcriber.transcribe(
            [window.samples for window in windows], [window.language for window in windows]
        )
        if len(results) != len(windows):
            raise ValueError(f"the model gave {len(results)} results for {len(windows)} windows")
    except Exception as error:  # whatever one window makes the model raise must not cost the other windows
        if len(windows) == 1:
            return [error]
        half = len(windows) // 2
        return transcribe_each(transcriber, windows[:half]) + transcribe_each(transcriber, windows[half:])
    return list(results)


def check_model(transcriber: Transcriber) -> None:
    """Raises `ModelError` when not even silence can be transcribed: then it is not the windows' fault.

    Out of memory, or with damaged weights, every recording would be listed as a failure of its own.
    """
    try:
        transcriber.transcribe([np.zeros(SAMPLE_RATE, np.float32)], [None])
    except Exception as error:  # whatever it is, it is the run that fails, and not a recording
        raise ModelError(
            f"the model cannot transcribe silence: {type(error).__name__}: {error}; if memory ran out, "
            "try a smaller --batch_size"
        ) from error


def to_window_transcript(window: Window, looks: Sequence[tuple[int, WindowResult]]) -> WindowTranscript:
    """Samples of the window into seconds of the recording; no segment ends after its window.

    Args:
        window: as it was read.
        looks: at least one: the sample of the window that a look began at, and what it gave, in order.
    """
    n_samples = window.samples.size
    segments = tuple(
        Segment(
            start_s=_seconds(window, min(offset + segment.start, n_samples)),
            end_s=_seconds(window, min(offset + segment.stop, n_samples)),
            text=segment.text,
            avg_logprob=look.avg_logprob,
            no_speech_prob=look.no_speech_prob,
            compression_ratio=look.compression_ratio,
            temperature=look.temperature,
        )
        for offset, look in looks
        for segment in look.segments
    )
    _, result = looks[0]
    return WindowTranscript(
        audio_id=window.audio_id,
        index=window.index,
        start_s=_seconds(window, 0),
        end_s=_seconds(window, n_samples),
        segments=segments,
        language=result.language,
        language_probs=result.language_probs,
        no_speech_prob=result.no_speech_prob,
        timestamped=result.timestamped,
    )


def window_failure(source: AudioSource, window: Window, error: Exception) -> Failure:
    """The failure of one window, which names its seconds, as the rest of the recording is transcribed."""
    reason = (
        f"seconds {_seconds(window, 0):.2f} to {_seconds(window, window.samples.size):.2f} are missing "
        f"from the transcript: the model raised {type(error).__name__}: {error}"
    )
    return to_failure(source, AudioError("transcribe", "model_error", reason, retryable=False))


def _seconds(window: Window, sample: int) -> float:
    return (window.start + sample) / SAMPLE_RATE
