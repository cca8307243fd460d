"""Transcribes recordings from Python, without Beam.

    from pipelines.inference import Inference

    inference = Inference("openai/whisper-base")
    result = inference("talk.mp3", return_timestamps="word", language="fr")
    print(result["text"])

    for segment in inference.stream("talk.mp3", language="fr"):
        print(segment["start"], segment["end"], segment["text"])

A recording has the same transcript here as in a run of the pipeline with the same options, to the bit.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np

from model.interface import SAMPLE_RATE, DecodingOptions, ModelOptions
from model.option_fields import select_options
from pipelines.audio_input import AudioInput, audio_input
from pipelines.backend import EMBEDDED_WHISPER, Backend
from pipelines.inference_options import changed_options, first_options, max_windows
from pipelines.inference_results import CancelledError as CancelledError
from pipelines.inference_results import Result as Result
from pipelines.inference_results import Segment as Segment
from pipelines.inference_results import TranscriptionError as TranscriptionError
from pipelines.inference_results import Word as Word
from pipelines.inference_results import to_result as to_result
from pipelines.inference_results import to_segment
from pipelines.option_checks import OptionsError as OptionsError
from pipelines.options import RecordingOptions, fitted_to_model, with_checkpoint_defaults
from transforms.core.cancellation import StopRequestedError
from transforms.core.metrics import NO_METRICS, Metrics
from transforms.core.progress import Progress
from transforms.core.run_context import RunContext
from transforms.fetch.policy import FetchPolicy
from transforms.recognition.fallback import FallbackPolicy
from transforms.recognition.loaded_model import LoadedModel
from transforms.recognition.recording import RecordingTranscriber, TranscribedRecording
from transforms.writing.rows import Row, segment_row

Item = TypeVar("Item")
Mapped = TypeVar("Mapped")
Returned = TypeVar("Returned")

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Call:
    """One recording to be transcribed, with all its options.

    Attributes:
        audio: the recording.
        options: its options.
        max_windows: maximum number of its windows in a batch; None for a whole batch.
        metrics: the sink of counters.
        on_progress: called with the seconds of audio that have been read so far.
        cancelled: once set, the transcription ends with `CancelledError`.
    """

    audio: AudioInput
    options: RecordingOptions
    max_windows: int | None = None
    metrics: Metrics = NO_METRICS
    on_progress: Callable[[float], None] | None = None
    cancelled: threading.Event | None = None


class Inference:
    """A loaded model that transcribes recordings. Threads may share one: their windows share batches.

    Args:
        model: name or folder of a Whisper model.
        backend: loads the model.
        reserve_s: seconds that one of the model's concurrent calls is kept free for the next short recording,
            after one; for servers.
        options: options of the pipeline (docs/options.md) that apply to one recording, by name. Those of
            decoding are the defaults of the calls. `dtype` may be a type, such as `jax.numpy.bfloat16`.

    Attributes:
        options: the options of the model, and the defaults of the calls: language and task are those that the
            checkpoint is configured for, where none is given.
        languages: codes of the languages that the model knows.
        batch_size: windows in a batch of the model.
        token_ids: returns the ids of the tokens of a text.

    Raises:
        OptionsError: an option that does not exist, or a value that cannot be used.
        CheckpointError: the model cannot be found or read.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = RecordingOptions.model,
        *,
        backend: Backend = EMBEDDED_WHISPER,
        reserve_s: float = 0.0,
        **options: Any,  # noqa: ANN401  # fields of RecordingOptions
    ) -> None:
        first = first_options(model, options)
        self.languages = tuple(backend.languages(first.model))
        fitted = fitted_to_model(first, self.languages)
        self.options = with_checkpoint_defaults(fitted, backend.defaults(first.model))
        self._detector = backend.detector
        transcriber = backend.load(select_options(self.options, ModelOptions))
        self._model = LoadedModel(transcriber, reserve_s)
        self.batch_size, self.token_ids = transcriber.batch_size, transcriber.token_ids

    def __call__(
        self,
        audio: object,
        *,
        sampling_rate: int | None = None,
        on_progress: Callable[[float], None] | None = None,
        cancelled: threading.Event | None = None,
        **options: Any,  # noqa: ANN401  # fields of RecordingOptions
    ) -> Result:
        """Transcribes a recording.

        Args:
            audio: a path, a URL, the bytes of a file, a file opened with 'rb', or an array
                (`pipelines.audio_input`).
            sampling_rate: samples per second of an array.
            on_progress: called with the seconds of audio that have been read so far, on this thread. What it
                raises ends the call.
            cancelled: once set, the call ends with `CancelledError`.
            options: options that differ from those given to `Inference`: `language`, `task`,
                `return_timestamps` (True, False or "word"), `chunk_length_s`, `stride_length_s`,
                `temperature`, ... `batch_size` is the maximum number of windows of this recording in a batch.
                Options of the model itself are given to `Inference`.

        Raises:
            OptionsError: an option that does not exist, or a value that cannot be used.
            AudioInputError: `audio` is no audio.
            TranscriptionError: the recording cannot be read, or has no transcript for another reason.
            CancelledError: `cancelled` was set.
            ModelError: the model does not work at all.
        """
        segments = self.stream(
            audio, sampling_rate=sampling_rate, on_progress=on_progress, cancelled=cancelled, **options
        )
        while True:
            try:
                next(segments)
            except StopIteration as stop:
                result: Result = stop.value
                return result

    def stream(
        self,
        audio: object,
        *,
        sampling_rate: int | None = None,
        on_progress: Callable[[float], None] | None = None,
        cancelled: threading.Event | None = None,
        **options: Any,  # noqa: ANN401  # fields of RecordingOptions
    ) -> Generator[Segment, None, Result]:
        """Yields the segments of a recording as they become final; returns the result.

        With a language, or `language="auto-per-window"`, they come while the recording is read. Otherwise the
        language is a vote of all windows, and the segments come at the end. Closing the generator cancels.

        Args and errors: see `__call__`. Options and the kind of `audio` are checked at once; other errors are
        raised by the generator.
        """
        given = audio_input(audio, sampling_rate)
        try:
            return self._streamed(self.call(given, on_progress, cancelled, **options))
        except BaseException:
            given.close()
            raise

    def call(
        self,
        audio: AudioInput,
        on_progress: Callable[[float], None] | None = None,
        cancelled: threading.Event | None = None,
        metrics: Metrics = NO_METRICS,
        **options: Any,  # noqa: ANN401  # fields of RecordingOptions
    ) -> Call:
        """Returns a call of `run`, with checked options; see `__call__`.

        Raises:
            OptionsError: see `__call__`.
        """
        n_windows = max_windows(options.pop("batch_size", None))
        changed = fitted_to_model(changed_options(self.options, options), self.languages)
        return Call(
            audio=audio,
            options=changed,
            max_windows=n_windows,
            metrics=metrics,
            on_progress=on_progress,
            cancelled=cancelled,
        )

    def run(self, call: Call) -> Generator[Row, None, TranscribedRecording]:
        """Yields the segments of a call as rows, as they become final; returns what was transcribed.

        Closing the generator cancels. What it returns has a transcript.

        Raises:
            TranscriptionError, CancelledError, ModelError: see `__call__`.
        """
        options = call.options
        source = replace(
            call.audio.source,
            channel=options.channel(),
            stream=options.stream(),
            clip_timestamps=options.clips(),
        )
        numbers = itertools.count()
        try:
            recording = yield from _mapped(
                self._transcriber(call).stream(source), lambda segment: segment_row(next(numbers), segment)
            )
        except _CallbackError as stop:
            raise stop.error from None
        if recording.transcript is None:
            raise TranscriptionError(recording.failures)
        for failure in recording.failures:
            _LOGGER.warning("%s: %s: %s", failure.uri, failure.kind, failure.message)
        return recording

    def warm_up(self, *, prompts: bool = True) -> None:
        """Compiles the programs of calls, or loads those that were compiled before, and tries them.

        With timestamps, or without, as `return_timestamps` was given to `Inference`.

        Args:
            prompts: also those of calls with prompts or hotwords, or where the options of `Inference` have
                `condition_on_previous_text`.
        """
        prompts |= self.options.condition_on_previous_text
        timestamps = (self.options.return_timestamps,)
        self._model.transcriber.warm_up(prompts=prompts, timestamps=timestamps)
        with suppress(TranscriptionError):  # of options that do not fit this recording, such as `channel`
            self(np.zeros(SAMPLE_RATE, np.float32), sampling_rate=SAMPLE_RATE)

    def close(self) -> None:
        """Ends the threads of the model once their batches are done. Then nothing can be transcribed."""
        self._model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _streamed(self, call: Call) -> Generator[Segment, None, Result]:
        has_words = call.options.word_timestamps
        with closing(call.audio):
            rows = self.run(call)
            recording = yield from _mapped(rows, lambda row: to_segment(row, has_words=has_words))
        return to_result(recording, has_words=has_words)

    def _transcriber(self, call: Call) -> RecordingTranscriber:
        options = call.options
        context = RunContext(call.metrics, _CallProgress(call.on_progress), lambda: _check(call.cancelled))
        return RecordingTranscriber(
            new_client=lambda: self._model.client(context, call.max_windows),
            plan=options.window_plan(self._detector),
            merge=options.merge_settings(self.languages),
            decoding=select_options(options, DecodingOptions),
            fallback=select_options(options, FallbackPolicy),
            filters=options.filters(),
            fetch=select_options(options, FetchPolicy),
            context=context,
            opener=call.audio.opener,
        )


def _mapped(
    items: Generator[Item, None, Returned], change: Callable[[Item], Mapped]
) -> Generator[Mapped, None, Returned]:
    """Yields what a function makes of each item of a generator; returns what that returns, and closes it."""
    with closing(items):
        while True:
            try:
                item = next(items)
            except StopIteration as stop:
                returned: Returned = stop.value
                return returned
            yield change(item)


def _check(cancelled: threading.Event | None) -> None:
    if cancelled is not None and cancelled.is_set():
        raise CancelledError("the transcription was cancelled")


class _CallbackError(StopRequestedError):
    """A callback raised an exception, which is no failure of the recording."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class _CallProgress(Progress):
    """The progress of one call, which is reported to the caller."""

    def __init__(self, report: Callable[[float], None] | None) -> None:
        super().__init__()
        self._report = report

    def add(self, *, recordings: int = 0, failures: int = 0, audio_s: float = 0.0, resumed: int = 0) -> None:
        """See `Progress`."""
        super().add(recordings=recordings, failures=failures, audio_s=audio_s, resumed=resumed)
        if self._report is None or not audio_s:
            return
        try:
            self._report(self.tally().audio_s)
        except Exception as error:  # of any type; `run` raises it
            raise _CallbackError(error) from error
