"""The Beam graph of `pipelines.transcribe`, from the listed recordings to the written files.

What lies between the listed recordings and their rows is `transforms.dofns.transcribe_work`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection
from apache_beam.utils.shared import Shared

from pipelines.backend import Backend
from pipelines.beam_transform import transcribe_work
from pipelines.options import TranscribeOptions
from pipelines.output.run_folder import FAILURES as FAILURES_FOLDER
from pipelines.output.run_folder import RunFolder
from pipelines.runners.dataflow import is_dataflow
from transforms.checkpoint.resume import ResumeSettings
from transforms.dofns.keyed_work import TRANSCRIPTS
from transforms.dofns.tags import FAILURES
from transforms.dofns.write import WriteRecordingFiles, WriteRows
from transforms.sources.work_items import Work, deserialize, serialize
from transforms.writing.rows import failure_row, transcript_row


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
    listed = serialize(work)  # `Create` would put it into the graph twice, and shuffle it once more
    results = (
        pipeline
        | "Begin" >> beam.Impulse()
        | "List" >> beam.FlatMap(lambda _: deserialize(listed))
        | "Spread" >> beam.Reshuffle()
        | "Recordings"
        >> transcribe_work(
            options,
            replace(options.merge_settings(languages), language=language),
            languages,
            backend,
            Shared(),
            span_s=options.span_s(),
            resume=ResumeSettings(RunFolder(options.output).log_folder, options.retry_failed),
            share=share,
            hints=_resource_hints(options),
        )
    )
    _write(results[TRANSCRIPTS], results[FAILURES], options)


def _resource_hints(options: TranscribeOptions) -> dict[str, str]:
    """Returns the resource hints of the stage that runs the model, on Dataflow.

    Runners that ignore hints treat them as another environment with its own workers, and Prism does not
    support two (it mixes up their workers' metrics).
    """
    wanted = {"accelerator": options.accelerator, "min_ram": options.min_ram}
    hints = {name: value for name, value in wanted.items() if value is not None}
    return hints if is_dataflow(options.runner) else {}


def _write(transcripts: PCollection[Any], failures: PCollection[Any], options: TranscribeOptions) -> None:
    folder = RunFolder(options.output)
    rows = transcripts | "Transcript row" >> beam.Map(transcript_row)
    folders = {name: folder.url_of(name) for name in options.row_formats()}
    _ = rows | "Write transcripts" >> WriteRows(folders, options.num_shards)
    if options.recording_formats():
        _ = rows | "Write recordings" >> WriteRecordingFiles(options.output, options.recording_formats())
    _ = (
        failures
        | "Failure row" >> beam.Map(failure_row)
        | "Write failures" >> WriteRows({"jsonl": folder.url_of(FAILURES_FOLDER)})
    )
