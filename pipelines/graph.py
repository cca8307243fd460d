"""The graph: what `pipelines.transcribe` asks Beam to do, from the recordings listed to the files written.

    listed -> spread -> ( open -> read windows -> transcribe in batches )
           -> [vote on the language -> the same again for outvoted windows and weak boundaries]
           -> group by audio_id -> merge -> write

The parentheses are one fused stage: samples never pass a grouping, which would hold them all in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import apache_beam as beam
from apache_beam.pvalue import PCollection
from apache_beam.utils.shared import Shared

from model.interface import TranscriberSettings
from pipelines.backend import Backend
from pipelines.options import AUTO_PER_WINDOW, SPEECH, TranscribeOptions
from pipelines.output.run_folder import FAILURES as FAILURES_FOLDER
from pipelines.output.run_folder import TRANSCRIPTS, RunFolder
from pipelines.runners.dataflow import is_dataflow
from transforms.checkpoint.resume import Resuming
from transforms.dofns.assemble import Assemble
from transforms.dofns.open_work import OpenWork
from transforms.dofns.tags import FAILURES, ORIGINS, PARTS, SECOND_LOOK, SHARED, SPANS, WINDOWS
from transforms.dofns.transcribe import TranscribeSpans
from transforms.dofns.write import WriteRecordingFiles, WriteRows
from transforms.fetch.policy import FetchPolicy, Limits
from transforms.merging.second_pass import by_file, open_again, second_looks
from transforms.merging.settings import Assembly
from transforms.reading.range_split import by_range
from transforms.recognition.fallback import Fallback
from transforms.sources.work_items import Work, pack, unpack
from transforms.windows.plan import WindowPlan
from transforms.writing.rows import failure_row, transcript_row

ROWS = "rows"

Parts = dict[str, PCollection[Any]]
"""Collections by name: of (audio_id, value), or of failures."""

Hinted = TypeVar("Hinted", bound=beam.PTransform[Any, Any])


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
    """Adds to a pipeline all that a run does.

    Args:
        pipeline: one without transforms.
        work: recordings and what holds many, each once.
        options: of the run.
        language: the code to decode in, or None to find it out.
        languages: the codes that the model knows.
        backend: makes the model in a worker.
        share: several workers take the spans of a long recording; else one does.
    """
    assembly = Assembly(
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
        share_s=options.span_s() if share else None,
    )
    listed = pack(work)  # `Create` would ship it twice, and shuffle it once more
    opened = (
        pipeline
        | "Begin" >> beam.Impulse()
        | "List" >> beam.FlatMap(lambda _: unpack(listed))
        | "Spread" >> beam.Reshuffle()
        | "Open" >> _hinted(beam.ParDo(opener).with_outputs(ORIGINS, SHARED, FAILURES, main=SPANS), options)
    )
    said = _transcribed(opened, transcribe, share)
    failures = [opened[FAILURES], said[FAILURES]]
    parts = {PARTS: said[PARTS], WINDOWS: said[WINDOWS]}
    if assembly.looks_twice:
        again = _transcribe_again({**parts, ORIGINS: opened[ORIGINS]}, transcribe, assembly, options)
        parts[SECOND_LOOK] = again[WINDOWS]
        failures.append(again[FAILURES])
    merged = (
        parts
        | "Group by recording" >> beam.CoGroupByKey()
        | "Merge" >> beam.ParDo(Assemble(assembly)).with_outputs(FAILURES, main=ROWS)
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
        settings_of(options),
        backend.load,
        Shared(),
        plan,
        fallback_of(options),
        options.filters(),
        policy_of(options),
        options.span_s(),
        Resuming(RunFolder(options.output).log_folder, options.retry_failed),
    )
    return _hinted(transcribe, options)


def _hinted(transform: Hinted, options: TranscribeOptions) -> Hinted:
    """A step of the stage that runs the model, with what its workers must have.

    Those that open recordings have the same hints: with others, runners would make two stages of it, and what
    was opened would pass between them. To runners that do nothing about hints they are one more environment,
    with workers of its own, and Prism does not stand two (it mixes up the metrics of their workers).
    """
    told = {"accelerator": options.accelerator, "min_ram": options.min_ram}
    hints = {name: value for name, value in told.items() if value is not None}
    if hints and is_dataflow(options.runner):
        transform.with_resource_hints(**hints)
    return transform


def _transcribed(opened: Any, transcribe: TranscribeSpans, share: bool) -> Parts:  # noqa: ANN401  # Beam's
    """What was said in the spans.

    Those of long recordings are spread once more, and are therefore a stage of their own: payloads of others
    shall not pass a grouping. It is a grouping and no `Reshuffle`, of which Flink leaves out a second one: to
    its optimizer what was spread once, and not grouped since, still is.
    """
    said: Parts = opened[SPANS] | "Transcribe" >> transcribe
    if not share:
        return said
    spread = (
        opened[SHARED]
        | "Key by range" >> beam.Map(by_range)
        | "Spread spans" >> beam.GroupByKey()
        | "Spans" >> beam.FlatMapTuple(lambda _, spans: spans)
    )
    more = spread | "Transcribe spans" >> transcribe
    return {name: (said[name], more[name]) | f"Both {name}" >> beam.Flatten() for name in said}


def settings_of(options: TranscribeOptions) -> TranscriberSettings:
    """What a worker must know to load the model."""
    return TranscriberSettings(
        model=options.model,
        dtype=options.dtype,
        task=options.task,
        timestamps=options.return_timestamps,
        batch_size=options.batch_size,
        parallel_batches=options.parallel_batches,
        word_timestamps=options.word_timestamps,
        beam_size=options.beam_size,
        patience=options.patience,
        length_penalty=options.length_penalty,
        suppress_tokens=options.suppress_tokens,
        max_new_tokens=options.max_new_tokens,
        prompt=options.initial_prompt or "",
        hotwords=options.hotwords or "",
        quantization=options.quantization,
        mesh=options.mesh,
    )


def fallback_of(options: TranscribeOptions) -> Fallback:
    """Which windows are decoded again, and how."""
    return Fallback(
        options.temperature,
        options.compression_ratio_threshold,
        options.logprob_threshold,
        options.no_speech_threshold,
        options.seed,
    )


def policy_of(options: TranscribeOptions) -> FetchPolicy:
    """What may be fetched."""
    return FetchPolicy(
        allow_private_hosts=options.allow_private_hosts,
        trust_manifests=options.trust_manifests,
        limits=Limits(total_s=options.fetch_timeout_s),
    )


def _transcribe_again(
    parts: Parts, transcribe: TranscribeSpans, assembly: Assembly, options: TranscribeOptions
) -> Parts:
    """Decodes again the windows that were outvoted, and boundaries on which windows do not agree."""
    files = {name: part | f"Files of {name}" >> beam.Map(by_file) for name, part in parts.items()}
    spans = (
        files
        | "Group to vote" >> beam.CoGroupByKey()
        | "Vote on language" >> beam.FlatMap(second_looks, assembly)
        | "Group by place" >> beam.GroupByKey()
        | "Open again"
        >> _hinted(beam.FlatMap(open_again, transcribe.policy).with_outputs(FAILURES, main=SPANS), options)
    )
    said = spans[SPANS] | "Transcribe again" >> transcribe
    failures = (spans[FAILURES], said[FAILURES]) | "Failures again" >> beam.Flatten()
    return {WINDOWS: said[WINDOWS], FAILURES: failures}


def _write(
    transcripts: PCollection[Any], failures: Sequence[PCollection[Any]], options: TranscribeOptions
) -> None:
    folder = RunFolder(options.output)
    rows = transcripts | "Transcript row" >> beam.Map(transcript_row)
    _ = rows | "Write transcripts" >> WriteRows(
        folder.part_folder(TRANSCRIPTS), options.row_formats(), options.num_shards
    )
    if options.recording_formats():
        _ = rows | "Write recordings" >> WriteRecordingFiles(options.output, options.recording_formats())
    _ = (
        failures
        | "All failures" >> beam.Flatten()
        | "Failure row" >> beam.Map(failure_row)
        | "Write failures" >> WriteRows(folder.part_folder(FAILURES_FOLDER), ("jsonl",))
    )
