"""The Beam graph of `pipelines.transcribe`, from the listed recordings to the written files.

What lies between the listed recordings and their rows is `transforms.dofns.transcribe_work`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection
from apache_beam.utils.shared import Shared

from pipelines.backend import Backend
from pipelines.beam_transform import transcribe_work
from pipelines.options import TranscribeOptions
from pipelines.output.run_files import FAILURES as FAILURES_FOLDER
from pipelines.output.run_folder import RunFolder
from pipelines.runners.dataflow import is_dataflow
from transforms.checkpoint.resume import ResumeSettings
from transforms.dofns.earlier_rows import CountListed, CountUnfinished, KeepEarlierRows
from transforms.dofns.keyed_work import TRANSCRIPTS
from transforms.dofns.tags import FAILURES, LISTED, UNFINISHED
from transforms.dofns.write import WriteRecordingFiles, WriteRows
from transforms.sources.work_items import Work, deserialize, serialize
from transforms.writing.rows import Row, failure_row, transcript_row


@dataclass(frozen=True)
class Destination:
    """Where a run writes its files.

    Attributes:
        folder: the folder of rows, failures and files of recordings.
        earlier: files of rows, of which those are kept whose recordings are not listed any more (see
            `RunFolder.earlier_rows`).
    """

    folder: RunFolder
    earlier: Sequence[tuple[str, ...]] = ()


def build(
    pipeline: beam.Pipeline,
    work: Sequence[Work],
    options: TranscribeOptions,
    language: str | None,
    languages: Sequence[str],
    backend: Backend,
    destination: Destination | None = None,
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
        destination: where the files are written; None for the output folder.
        share: whether the spans of a long recording are distributed over workers.
    """
    destination = destination or Destination(RunFolder(options.output))
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
            resume=ResumeSettings(
                RunFolder(options.output).log_folder, options.retry_failed, committed_only=options.partial
            ),
            share=share,
            hints=_resource_hints(options),
        )
    )
    rows = results[TRANSCRIPTS] | "Transcript row" >> beam.Map(transcript_row)
    _ = results[LISTED] | "Listed" >> CountListed()
    if options.partial:
        _ = results[UNFINISHED] | "Unfinished" >> CountUnfinished()
    if destination.earlier:
        kept = results[LISTED] | "Keep" >> KeepEarlierRows(tuple(destination.earlier))
        rows = (rows, kept) | "All rows" >> beam.Flatten()
    _write(rows, results[FAILURES], options, destination.folder)


def _resource_hints(options: TranscribeOptions) -> dict[str, str]:
    """Returns the resource hints of the stage that runs the model, on Dataflow.

    Runners that ignore hints treat them as another environment with its own workers, and Prism does not
    support two (it mixes up their workers' metrics).
    """
    wanted = {"accelerator": options.accelerator, "min_ram": options.min_ram}
    hints = {name: value for name, value in wanted.items() if value is not None}
    return hints if is_dataflow(options.runner) else {}


def _write(
    rows: PCollection[Row], failures: PCollection[Any], options: TranscribeOptions, folder: RunFolder
) -> None:
    folders = {name: folder.url_of(name) for name in options.row_formats()}
    _ = rows | "Write transcripts" >> WriteRows(folders, options.num_shards)
    if options.recording_formats():
        _ = rows | "Write recordings" >> WriteRecordingFiles(folder.url, options.recording_formats())
    _ = (
        failures
        | "Failure row" >> beam.Map(failure_row)
        | "Write failures" >> WriteRows({"jsonl": folder.url_of(FAILURES_FOLDER)}, options.num_shards)
    )
