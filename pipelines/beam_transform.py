"""The transform with which a Beam pipeline of one's own transcribes recordings.

    rows, failures = uris | Transcribe(model="openai/whisper-base", language="en")

`pipelines.graph` builds the pipeline of `whisper-beam transcribe` from the same steps (`transcribe_work`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple, get_args
from weakref import WeakKeyDictionary

import apache_beam as beam
from apache_beam.pvalue import PCollection
from apache_beam.transforms.trigger import DefaultTrigger
from apache_beam.transforms.window import GlobalWindows
from apache_beam.typehints import Any as AnyHint
from apache_beam.typehints import Dict, Tuple
from apache_beam.typehints.trivial_inference import key_value_types
from apache_beam.utils.shared import Shared

from model.config import CheckpointDefaults
from model.interface import DecodingOptions, ModelOptions
from model.languages import LANGUAGES
from model.model_names import is_known_by_name
from model.option_fields import select_options
from pipelines.backend import WHISPER, Backend
from pipelines.option_checks import nearest
from pipelines.options import (
    OptionsError,
    RecordingOptions,
    fitted_to_model,
    with_checkpoint_defaults,
)
from pipelines.runners import local_workers  # noqa: F401  # its workers do not outlive an interrupted program
from transforms.checkpoint.resume import ResumeSettings
from transforms.core.sections import SPAN_S
from transforms.dofns.keyed_work import TRANSCRIPTS, merge_keys, name_work
from transforms.dofns.open_work import OpenWork
from transforms.dofns.tags import FAILURES
from transforms.dofns.transcribe import TranscribeSpans
from transforms.dofns.transcribe_work import TranscribeWork
from transforms.fetch.policy import FetchPolicy
from transforms.merging.settings import MergeSettings
from transforms.recognition.fallback import FallbackPolicy
from transforms.recognition.loaded_model import LoadTranscriber
from transforms.sources.work_items import Work
from transforms.writing.rows import Row, failure_row, transcript_row

WORK = "work"
_ROW = Dict[str, AnyHint]


class Transcribed(NamedTuple):
    """The results of `Transcribe`.

    Attributes:
        rows: a dict for each recording, with the columns of `transforms.writing.rows.SCHEMA`.
        failures: a dict for each recording, or part of one, that could not be transcribed: the fields of
            `transforms.core.types.Failure`.
    """

    rows: PCollection[Any]
    failures: PCollection[Any]


class Transcribe(beam.PTransform[PCollection[Any], Transcribed]):
    """Transcribes recordings: URIs, `AudioSource`s, or pairs of a key and one of these.

    Each distinct recording is decoded once and becomes one row. With keys, the results are pairs of a key and
    a row or failure, for each distinct key of the recording. Archives become a row for each recording in
    them. Other work items (`transforms.sources.listing.expand`) are accepted, too.

    The collection must be bounded and in the global window. There is no commit log: what Beam repeats, is
    decoded again.
    """

    def __init__(self, *, backend: Backend = WHISPER, **options: Any) -> None:  # noqa: ANN401  # of each field
        """Checks the options.

        Args:
            backend: the model.
            **options: the fields of `pipelines.options.RecordingOptions`, such as `model` and `language`.

        Raises:
            OptionsError: an option that does not exist, or an invalid value.
        """
        super().__init__()
        known = {one.name for one in fields(RecordingOptions)}
        for name in options:
            if name not in known:
                raise OptionsError(f"{name}: no such option of Transcribe{nearest(name, sorted(known))}")
        self._options, self._backend = RecordingOptions(**options), backend

    def expand(self, uris: PCollection[Any]) -> Transcribed:
        """Adds the steps.

        Raises:
            OptionsError: the model does not exist, or lacks the language or the task.
            ValueError: the collection is unbounded or windowed.
        """
        _check_windowing(uris)
        languages = _languages(self._options.model, self._backend)
        options = self._options_of_model(fitted_to_model(self._options, languages))
        keyed, row = _types_of(uris.element_type)
        distinct = (
            uris
            | "Name" >> beam.Map(name_work)
            | "Group by name" >> beam.GroupByKey()  # it also spreads the recordings over the workers
            | "Once" >> beam.FlatMap(merge_keys).with_outputs(FAILURES, main=WORK)
        )
        work = distinct[WORK] if keyed else distinct[WORK] | "Without keys" >> beam.Values()
        results = work | "Recordings" >> transcribe_work(
            options,
            options.merge_settings(languages),
            languages,
            self._backend,
            _model_handle(uris.pipeline, options, self._backend.load),
            keyed=keyed,
        )
        failures = (distinct[FAILURES], results[FAILURES]) | "All failures" >> beam.Flatten()
        return Transcribed(
            results[TRANSCRIPTS] | "Row" >> beam.Map(_to_row, transcript_row).with_output_types(row),
            failures | "Failure row" >> beam.Map(_to_row, failure_row).with_output_types(row),
        )

    def _options_of_model(self, options: RecordingOptions) -> RecordingOptions:
        """Returns options with what the checkpoint is configured for, where none is given."""
        model = options.model
        is_known = _is_known_by_name(model, self._backend)
        defaults = CheckpointDefaults() if is_known else self._backend.defaults(model)
        return with_checkpoint_defaults(options, defaults)


def transcribe_work(
    options: RecordingOptions,
    merge: MergeSettings,
    languages: Sequence[str],
    backend: Backend,
    model: Shared,
    *,
    span_s: int = SPAN_S,
    resume: ResumeSettings | None = None,
    share: bool = False,
    keyed: bool = False,
    hints: Mapping[str, str] | None = None,
) -> TranscribeWork:
    """Returns the transform of work items, as the options describe it.

    Args:
        options: options of the recordings.
        merge: how the windows of a recording are merged; its language is the one to decode in.
        languages: codes of the model's languages.
        backend: loads the model in a worker.
        model: handle of the model in a worker.
        span_s: see `TranscribeSpans`.
        resume: see `TranscribeSpans`.
        share: see `TranscribeWork`.
        keyed: see `TranscribeWork`.
        hints: see `TranscribeWork`.
    """
    policy = select_options(options, FetchPolicy)
    opener = OpenWork(
        merge.language,
        languages,
        options.channel(),
        split=options.splits_channels(),
        stream=options.stream(),
        all_streams=options.takes_all_streams(),
        clips=options.clips(),
        policy=policy,
        max_range_s=span_s if share else None,
        list_ids=resume is not None,
    )
    transcribe = TranscribeSpans(
        select_options(options, ModelOptions),
        backend.load,
        model,
        options.window_plan(backend.detector),
        decoding=select_options(options, DecodingOptions),
        fallback=select_options(options, FallbackPolicy),
        filters=options.filters(),
        policy=policy,
        span_s=span_s,
        resume=resume,
    )
    return TranscribeWork(opener, transcribe, merge, share=share, keyed=keyed, hints=hints or {})


_HANDLES: WeakKeyDictionary[beam.Pipeline, dict[tuple[ModelOptions, LoadTranscriber], Shared]]
_HANDLES = WeakKeyDictionary()


def _model_handle(pipeline: beam.Pipeline, options: RecordingOptions, load: LoadTranscriber) -> Shared:
    """Returns the handle of a model: all transforms of a pipeline load the same model once in a worker."""
    handles = _HANDLES.setdefault(pipeline, {})
    return handles.setdefault((select_options(options, ModelOptions), load), Shared())


def _check_windowing(uris: PCollection[Any]) -> None:
    """Raises `ValueError` for a collection whose groups would not be complete."""
    if not uris.is_bounded:
        raise ValueError(
            "Transcribe needs a bounded collection; in a streaming pipeline, call "
            "pipelines.inference.Inference in a DoFn"
        )
    window, trigger = uris.windowing.windowfn, uris.windowing.triggerfn
    if not (isinstance(window, GlobalWindows) and isinstance(trigger, DefaultTrigger)):
        raise ValueError(
            f"Transcribe needs the global window and its default trigger, not {type(window).__name__} and "
            f"{type(trigger).__name__}: put beam.WindowInto(beam.window.GlobalWindows()) before it, and make "
            "the window a part of the key where it is needed later"
        )


def _types_of(element_type: Any) -> tuple[bool, Any]:  # noqa: ANN401  # a type hint of Beam
    """Returns whether elements may have keys, and the type of the results, from the type of the elements.

    Where it is known that there are no keys, results need not be grouped once more.
    """
    if isinstance(element_type, type) and issubclass(element_type, (str, os.PathLike, *get_args(Work))):
        return False, _ROW
    if isinstance(element_type, Tuple[AnyHint, AnyHint].__class__):
        return True, Tuple[key_value_types(element_type)[0], _ROW]
    return True, AnyHint


def _to_row(result: Any, row_of: Callable[[Any], Row]) -> Any:  # noqa: ANN401  # with or without a key
    """Returns a result, or a (key, result), with the result as a row."""
    return (result[0], row_of(result[1])) if isinstance(result, tuple) else row_of(result)


def _is_known_by_name(model: str, backend: Backend) -> bool:
    """Whether a model is one of OpenAI's or distil-whisper's on the Hub.

    The machine that builds the pipeline need not have their files. They are configured for no language.
    """
    return backend == WHISPER and is_known_by_name(model)


def _languages(model: str, backend: Backend) -> Sequence[str]:
    """Returns the codes of the model's languages.

    Raises:
        OptionsError: there is no such model.
    """
    if _is_known_by_name(model, backend):
        return _languages_by_name(model)
    try:
        return backend.languages(model)
    except ValueError as error:
        raise OptionsError(f"model: {error}") from error


def _languages_by_name(model: str) -> tuple[str, ...]:
    if model.endswith(".en"):
        return ("en",)
    return tuple(code for code in LANGUAGES if code != "yue" or "large-v3" in model)
