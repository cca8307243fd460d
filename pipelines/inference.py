"""Transcribes recordings from Python, without Beam.

    from pipelines.inference import Inference

    inference = Inference("openai/whisper-base")
    result = inference("talk.mp3", return_timestamps="word", language="fr")
    print(result["text"])

    for segment in inference.stream("talk.mp3"):
        print(segment["start"], segment["end"], segment["text"])

A recording has the same transcript here as in a run of the pipeline with the same options, to the bit.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, NotRequired, Self, TypedDict

import numpy as np

from model.interface import AUTO, DecodingOptions, ModelOptions
from model.option_fields import option_fields, select_options
from pipelines.audio_input import AudioInput, audio_input
from pipelines.backend import EMBEDDED_WHISPER, Backend
from pipelines.option_checks import OptionsError, nearest
from pipelines.options import RecordingOptions, check_model_fits
from transforms.core.cancellation import StopRequestedError
from transforms.core.metrics import NO_METRICS, Metrics
from transforms.core.progress import Progress
from transforms.core.run_context import RunContext
from transforms.core.types import Failure
from transforms.fetch.policy import FetchPolicy
from transforms.recognition.fallback import FallbackPolicy
from transforms.recognition.loaded_model import LoadedModel
from transforms.recognition.recording import RecordingTranscriber, TranscribedRecording
from transforms.writing.rows import Row, failure_row, segment_row, transcript_row

WORD = "word"
_LOGGER = logging.getLogger(__name__)


class Word(TypedDict):
    """A word of a segment; times in seconds of the recording. `word` includes its leading space."""

    start: float
    end: float
    word: str
    probability: float


class Segment(TypedDict):
    """A stretch of the recording with its text; times in seconds of the recording."""

    id: int
    start: float
    end: float
    text: str
    words: NotRequired[list[Word]]


class Result(TypedDict):
    """The transcript of a recording.

    Keys:
        text: the whole text.
        language: code of its language; None if there is no speech and no language was given.
        duration: seconds of audio that could be decoded.
        segments: the segments, in order; with their words if these were requested.
        problem: what of the audio is missing or damaged; None if nothing is.
        failures: parts of the recording that are missing from the text, as rows of `failures/`.
        row: the row of the pipeline, with all scores (docs/output.md).
    """

    text: str
    language: str | None
    duration: float
    segments: list[Segment]
    problem: str | None
    failures: list[Row]
    row: Row


class TranscriptionError(RuntimeError):
    """A recording has no transcript.

    Attributes:
        stage: `fetch`, `decode`, `transcribe` or `merge`.
        kind: short name of the kind of error: `not_found`, `empty`, `not_audio`, `corrupt`, ...
        retryable: whether another attempt, with nothing changed, might succeed.
        failures: all failures of the recording; the first one is the reason.
    """

    def __init__(self, failures: tuple[Failure, ...]) -> None:
        self.failures = failures
        first = failures[0] if failures else None
        self.stage = first.stage if first else "transcribe"
        self.kind = first.kind if first else "unexpected"
        self.retryable = bool(first and first.retryable)
        shown = f"{first.uri}: {first.kind}: {first.message}" if first else "the recording has no transcript"
        super().__init__(shown)


class CancelledError(StopRequestedError):
    """The caller cancelled a transcription."""


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

    Raises:
        OptionsError: an option that does not exist, or a value that cannot be used.
        CheckpointError: the model cannot be found or read.
    """

    def __init__(
        self,
        model: str = RecordingOptions.model,
        *,
        backend: Backend = EMBEDDED_WHISPER,
        reserve_s: float = 0.0,
        **options: Any,  # noqa: ANN401  # fields of RecordingOptions
    ) -> None:
        self.options = RecordingOptions(model=model, **_checked_names(options))
        self._detector = backend.detector
        self.languages = tuple(backend.languages(self.options.model))
        """Codes of the languages that the model knows."""
        check_model_fits(self.options, self.languages)
        transcriber = backend.load(select_options(self.options, ModelOptions))
        self._model = LoadedModel(transcriber, reserve_s)
        self.token_ids = transcriber.token_ids
        """Returns the ids of the tokens of a text."""
        self.batch_size = transcriber.batch_size
        """Windows per batch."""

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
            on_progress: called with the seconds of audio that have been read so far.
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
        given = self.call(audio_input(audio, sampling_rate), on_progress, cancelled, **options)
        segments = self.run(given)
        while True:
            try:
                next(segments)
            except StopIteration as stop:
                return to_result(stop.value, has_words=given.options.word_timestamps)

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

        Args and errors: see `__call__`; options are checked at once, other errors are raised later.
        """
        given = self.call(audio_input(audio, sampling_rate), on_progress, cancelled, **options)
        return self._streamed(given)

    def call(
        self,
        audio: AudioInput,
        on_progress: Callable[[float], None] | None = None,
        cancelled: threading.Event | None = None,
        metrics: Metrics = NO_METRICS,
        **options: Any,  # noqa: ANN401  # fields of RecordingOptions
    ) -> Call:
        """Returns a call of `run`, with checked options; see `__call__`."""
        max_windows = options.pop("batch_size", None)
        options = _checked_names(options)
        fixed = [one.name for one in option_fields(ModelOptions) if one.name in options]
        if fixed:
            raise OptionsError(
                f"{fixed[0]}: is an option of the model, which is loaded: give it to Inference(...)"
            )
        if max_windows is not None and not (isinstance(max_windows, int) and max_windows >= 1):
            raise OptionsError(f"batch_size {max_windows}: give a whole number of at least 1")
        changed = replace(self.options, **options)
        if changed.splits_channels():
            raise OptionsError(
                "channels 'split': a call transcribes one recording; call it for each channel, with "
                "channels='0', channels='1', ..."
            )
        check_model_fits(changed, self.languages)
        return Call(
            audio=audio,
            options=changed,
            max_windows=max_windows,
            metrics=metrics,
            on_progress=on_progress,
            cancelled=cancelled,
        )

    def run(self, call: Call) -> Generator[Row, None, TranscribedRecording]:
        """Yields the segments of a call as rows, as they become final; returns what was transcribed.

        Raises:
            TranscriptionError, CancelledError, ModelError: see `__call__`.
        """
        options = call.options
        context = RunContext(call.metrics, _CallProgress(call.on_progress), lambda: _check(call.cancelled))
        transcriber = RecordingTranscriber(
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
        segments = transcriber.stream(replace(call.audio.source, channel=options.channel()))
        for number in itertools.count():
            try:
                segment = next(segments)
            except StopIteration as stop:
                result: TranscribedRecording = stop.value
                break
            yield segment_row(number, segment)
        if result.transcript is None:
            raise TranscriptionError(result.failures)
        for failure in result.failures:
            _LOGGER.warning("%s: %s: %s", failure.uri, failure.kind, failure.message)
        return result

    def warm_up(self, *, prompts: bool = True) -> None:
        """Compiles the programs of all requests, or loads those that were compiled before.

        Args:
            prompts: also those of requests with prompts.
        """
        self._model.transcriber.warm_up(prompts=prompts)

    def close(self) -> None:
        """Ends the threads of the model; calls that are running finish."""
        self._model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _streamed(self, call: Call) -> Generator[Segment, None, Result]:
        has_words = call.options.word_timestamps
        segments = self.run(call)
        while True:
            try:
                row = next(segments)
            except StopIteration as stop:
                return to_result(stop.value, has_words=has_words)
            yield _segment(row, has_words=has_words)


def to_result(recording: TranscribedRecording, *, has_words: bool) -> Result:
    """Returns the result of a recording that has a transcript."""
    if recording.transcript is None:
        raise TranscriptionError(recording.failures)
    row = transcript_row(recording.transcript)
    return Result(
        text=row["text"],
        language=row["language"],
        duration=row["duration_s"],
        segments=[_segment(segment, has_words=has_words) for segment in row["segments"]],
        problem=row["problem"],
        failures=[failure_row(failure) for failure in recording.failures],
        row=row,
    )


def _segment(row: Row, *, has_words: bool) -> Segment:
    segment = Segment(id=row["id"], start=row["start"], end=row["end"], text=row["text"])
    if has_words:
        segment["words"] = row["words"]
    return segment


def _checked_names(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns options under the names of `RecordingOptions`, with values that its fields can have."""
    options = dict(options)
    if options.get("return_timestamps") == WORD:
        options |= {"return_timestamps": True, "word_timestamps": True}
    if options.get("language", "") is None:
        options["language"] = AUTO
    if not isinstance(options.get("dtype", ""), str):
        options["dtype"] = np.dtype(options["dtype"]).name
    if isinstance(options.get("channels"), int):
        options["channels"] = str(options["channels"])
    known = [one.name for one in option_fields(RecordingOptions)]
    for name in options:
        if name not in known:
            raise OptionsError(f"{name}: no such option{nearest(name, known)}")
    return options


def _check(cancelled: threading.Event | None) -> None:
    if cancelled is not None and cancelled.is_set():
        raise CancelledError("the transcription was cancelled")


class _CallProgress(Progress):
    """The progress of one call, which is reported to the caller."""

    def __init__(self, report: Callable[[float], None] | None) -> None:
        super().__init__()
        self._report = report

    def add(self, *, recordings: int = 0, failures: int = 0, audio_s: float = 0.0, resumed: int = 0) -> None:
        """See `Progress`."""
        super().add(recordings=recordings, failures=failures, audio_s=audio_s, resumed=resumed)
        if self._report is not None and audio_s:
            self._report(self.tally().audio_s)
