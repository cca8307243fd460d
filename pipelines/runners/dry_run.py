"""What `--dry_run` tells of a run: how much was listed, how large its graph is, what workers would get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions, WorkerOptions

from pipelines.options import OptionsError, TranscribeOptions
from pipelines.runners.dataflow import GRAPH_BYTES, is_dataflow
from transforms.core.redaction import redact
from transforms.sources.work_items import Work, n_recordings


@dataclass(frozen=True)
class GraphSize:
    """The size of a job as runners get it.

    Attributes:
        n_bytes: of its protocol buffer.
        n_transforms: composite ones included.
    """

    n_bytes: int
    n_transforms: int


def told_plan(
    options: TranscribeOptions, beam_options: PipelineOptions, work: Sequence[Work], graph: GraphSize
) -> str:
    """The lines that `--dry_run` prints.

    Args:
        options: of the run.
        beam_options: what goes to Beam.
        work: what was listed.
        graph: of the job that was built.

    Raises:
        OptionsError: a file that would be staged is not there.
    """
    n_known = n_recordings(work)
    lines = [
        f"runner      {options.runner}",
        f"output      {redact(options.output)}",
        f"listed      {len(work)} work items, "
        + ("of a number of recordings that workers find out" if n_known is None else f"{n_known} recordings"),
        f"graph       {graph.n_bytes} bytes, {graph.n_transforms} transforms",
        f"workers     {_told_workers(beam_options)}",
        *_told_hints(options),
        *_warnings(options, beam_options, graph),
        "Nothing was run and nothing was written.",
    ]
    return "\n".join(lines)


def _told_workers(beam_options: PipelineOptions) -> str:
    image = beam_options.view_as(WorkerOptions).sdk_container_image
    told = [f"image {image}"] if image else []
    told += [f"installs {name}" for name in _staged(beam_options)]
    return ", ".join(told) or "as the runner has them, nothing is staged"


def _told_hints(options: TranscribeOptions) -> list[str]:
    hints = " ".join(filter(None, (options.accelerator, options.min_ram)))
    return [f"model on    workers with {hints}"] if hints and is_dataflow(options.runner) else []


def _staged(beam_options: PipelineOptions) -> list[str]:
    """The files that Beam sends to workers: of `--setup_file`, the sdist that it builds."""
    setup = beam_options.view_as(SetupOptions)
    named = {"setup_file": [setup.setup_file], "requirements_file": [setup.requirements_file]}
    named["extra_package"] = setup.extra_packages or []
    for flag, paths in named.items():
        for path in filter(None, paths):
            if "://" not in path and not Path(path).is_file():
                raise OptionsError(f"--{flag} {path}: there is no such file")
    return [
        f"the sdist of {path}" if flag == "setup_file" else path
        for flag, paths in named.items()
        for path in paths
        if path
    ]


def _warnings(options: TranscribeOptions, beam_options: PipelineOptions, graph: GraphSize) -> list[str]:
    if not is_dataflow(options.runner):
        return []
    told = []
    if graph.n_bytes > GRAPH_BYTES:
        told.append(
            f"WARNING: Dataflow takes graphs of up to {GRAPH_BYTES} bytes. Name recordings in a manifest in "
            "a bucket, or put them into archives or a Parquet dataset, of which the graph holds little, or "
            "transcribe them in several runs."
        )
    if not beam_options.view_as(WorkerOptions).sdk_container_image and not _staged(beam_options):
        told.append(
            "WARNING: Dataflow's own image has no whisper-beam: give --sdk_container_image "
            "(docs/dataflow.md), or --setup_file ./setup.py."
        )
    return told
