"""The Beam graph of `pipelines.transcribe`, from the listed recordings to the written files.

    listed -> spread -> ( open -> read windows -> transcribe in batches )
           -> [vote on the language -> the same again for outvoted windows and weak boundaries]
           -> group by audio_id -> merge -> write

The steps in parentheses are one fused stage: samples never pass through a grouping, which would buffer them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import apache_beam as beam
from apache_beam.pvalue import PCollection
from apache_beam.utils.shared import Shared

from model.interface import AUTO_PER_WINDOW, DecodingOptions, ModelOptions
from model.option_fields import select_options
from pipelines.backend import Backend
from pipelines.option_groups import SPEECH
from pipelines.options import TranscribeOptions
from pipelines.output.run_folder import FAILURES as FAILURES_FOLDER
from pipelines.output.run_folder import RunFolder
from pipelines.runners.dataflow import is_dataflow
from transforms.checkpoint.resume import ResumeSettings
from transforms.dofns.assemble import Assemble
from transforms.dofns.open_work import OpenWork
from transforms.dofns.second_pass import by_file, plan_second_passes, reopen_origin
from transforms.dofns.tags import FAILURES, ORIGINS, PARTS, SECOND_PASS, SHARED, SPANS, WINDOWS
from transforms.dofns.transcribe import TranscribeSpans
from transforms.dofns.write import WriteRecordingFiles, WriteRows
from transforms.fetch.policy import FetchPolicy
from transforms.merging.settings import MergeSettings
from transforms.reading.range_split import key_by_range
from transforms.recognition.fallback import FallbackPolicy
from transforms.sources.work_items import Work, deserialize, serialize
from transforms.windows.plan import WindowPlan
from transforms.writing.rows import failure_row, transcript_row

ROWS = "rows"

NamedCollections = dict[str, PCollection[Any]]
"""PCollections by name, with elements (audio_id, value) or failures."""

HintedTransform = TypeVar("HintedTransform", bound=beam.PTransform[Any, Any])


def build(
    pipeline: beam.Pipeline,
    work: Sequence[Work],
    options: TranscribeOptions,
    language: str | None,
    languages: Sequence[str],
    backend: Backend,
    *,
    share: bool = False,
) -> None:
    """Adds all steps of a run to a pipeline.

    Args:
        pipeline: a pipeline without transforms.
        work: work items, each once: recordings, archives, manifests and shards of datasets.
        options: options of the run.
        language: code of the language to decode in; None to detect it.
        languages: codes of the model's languages.
        backend: loads the model in a worker.
        share: whether the spans of a long recording are distributed over workers.
    """
    settings = MergeSettings(
        language,
        per_window=options.language == AUTO_PER_WINDOW,
        redecode_below=options.redecode_boundaries,
        window_s=options.chunk_length_s,
        task=options.task,
        model=options.model,
    )
    transcribe = _transcribe(options, backend)
    opener = OpenWork(
        language,
        languages,
        options.channel(),
        split=options.splits_channels(),
        policy=transcribe.policy,
        max_range_s=options.span_s() if share else None,
    )
    open_work = beam.ParDo(opener).with_outputs(ORIGINS, SHARED, FAILURES, main=SPANS)
    listed = serialize(work)  # `Create` would put it into the graph twice, and shuffle it once more
    opened = (
        pipeline
        | "Begin" >> beam.Impulse()
        | "List" >> beam.FlatMap(lambda _: deserialize(listed))
        | "Spread" >> beam.Reshuffle()
        | "Open" >> _with_resource_hints(open_work, options)
    )
    transcribed = _transcribed(opened, transcribe, share)
    failures = [opened[FAILURES], transcribed[FAILURES]]
    collections = {PARTS: transcribed[PARTS], WINDOWS: transcribed[WINDOWS]}
    if settings.needs_second_pass:
        again = _transcribe_again({**collections, ORIGINS: opened[ORIGINS]}, transcribe, settings, options)
        collections[SECOND_PASS] = again[WINDOWS]
        failures.append(again[FAILURES])
    merged = (
        collections
        | "Group by recording" >> beam.CoGroupByKey()
        | "Merge" >> beam.ParDo(Assemble(settings)).with_outputs(FAILURES, main=ROWS)
    )
    _write(merged[ROWS], [*failures, merged[FAILURES]], options)


def _transcribe(options: TranscribeOptions, backend: Backend) -> TranscribeSpans:
    plan = WindowPlan(
        options.chunk_length_s,
        options.stride_length_s,
        backend.detector if options.vad else None,
        over_speech=options.windows == SPEECH,
    )
    transcribe = TranscribeSpans(
        select_options(options, ModelOptions),
        backend.load,
        Shared(),
        plan,
        decoding=select_options(options, DecodingOptions),
        fallback=select_options(options, FallbackPolicy),
        filters=options.filters(),
        policy=select_options(options, FetchPolicy),
        span_s=options.span_s(),
        resume=ResumeSettings(RunFolder(options.output).log_folder, options.retry_failed),
    )
    return _with_resource_hints(transcribe, options)


def _with_resource_hints(transform: HintedTransform, options: TranscribeOptions) -> HintedTransform:
    """Sets the resource hints of a step of the stage that runs the model, on Dataflow.

    Steps that open recordings have the same hints: with different ones, runners would split the stage, and
    opened recordings would be transferred between the two. Runners that ignore hints treat them as another
    environment with its own workers, and Prism does not support two (it mixes up their workers' metrics).
    """
    wanted = {"accelerator": options.accelerator, "min_ram": options.min_ram}
    hints = {name: value for name, value in wanted.items() if value is not None}
    if hints and is_dataflow(options.runner):
        transform.with_resource_hints(**hints)
    return transform


def _transcribed(opened: Any, transcribe: TranscribeSpans, share: bool) -> NamedCollections:  # noqa: ANN401  # Beam's
    """Transcribes the spans.

    Spans of long recordings are redistributed and form a stage of their own, so that the payloads of other
    recordings do not pass through a grouping. The redistribution is a `GroupByKey` and not a `Reshuffle`:
    Flink's optimizer drops a second `Reshuffle`, as it takes the collection for still distributed.
    """
    transcribed: NamedCollections = opened[SPANS] | "Transcribe" >> transcribe
    if not share:
        return transcribed
    spread = (
        opened[SHARED]
        | "Key by range" >> beam.Map(key_by_range)
        | "Spread spans" >> beam.GroupByKey()
        | "Spans" >> beam.FlatMapTuple(lambda _, spans: spans)
    )
    more = spread | "Transcribe spans" >> transcribe
    return {name: (transcribed[name], more[name]) | f"Both {name}" >> beam.Flatten() for name in transcribed}


def _transcribe_again(
    collections: NamedCollections,
    transcribe: TranscribeSpans,
    settings: MergeSettings,
    options: TranscribeOptions,
) -> NamedCollections:
    """Second pass: decodes outvoted windows again, and boundaries at which windows disagree."""
    files = {name: values | f"Files of {name}" >> beam.Map(by_file) for name, values in collections.items()}
    spans = (
        files
        | "Group to vote" >> beam.CoGroupByKey()
        | "Vote on language" >> beam.FlatMap(plan_second_passes, settings)
        | "Group by place" >> beam.GroupByKey()
        | "Open again"
        >> _with_resource_hints(
            beam.FlatMap(reopen_origin, transcribe.policy).with_outputs(FAILURES, main=SPANS), options
        )
    )
    transcribed = spans[SPANS] | "Transcribe again" >> transcribe
    failures = (spans[FAILURES], transcribed[FAILURES]) | "Failures again" >> beam.Flatten()
    return {WINDOWS: transcribed[WINDOWS], FAILURES: failures}


def _write(
    transcripts: PCollection[Any], failures: Sequence[PCollection[Any]], options: TranscribeOptions
) -> None:
    folder = RunFolder(options.output)
    rows = transcripts | "Transcript row" >> beam.Map(transcript_row)
    folders = {name: folder.url_of(name) for name in options.row_formats()}
    _ = rows | "Write transcripts" >> WriteRows(folders, options.num_shards)
    if options.recording_formats():
        _ = rows | "Write recordings" >> WriteRecordingFiles(options.output, options.recording_formats())
    _ = (
        failures
        | "All failures" >> beam.Flatten()
        | "Failure row" >> beam.Map(failure_row)
        | "Write failures" >> WriteRows({"jsonl": folder.url_of(FAILURES_FOLDER)})
    )
