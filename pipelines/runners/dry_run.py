"""Output of `--dry_run`: size of the input and of the job graph, and what would be staged for workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions, WorkerOptions

from pipelines.options import OptionsError, TranscribeOptions
from pipelines.runners.dataflow import GRAPH_BYTES, is_dataflow
from transforms.core.redaction import redact
from transforms.sources.passed_over import format_places
from transforms.sources.work_items import Work, n_recordings


@dataclass(frozen=True)
class GraphSize:
    """Size of a job graph as submitted to a runner.

    Attributes:
        n_bytes: size of its protocol buffer.
        n_transforms: number of transforms, composite ones included.
    """

    n_bytes: int
    n_transforms: int


def format_plan(
    options: TranscribeOptions,
    beam_options: PipelineOptions,
    work: Sequence[Work],
    graph: GraphSize,
    left_out: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
    memory: Sequence[str] = (),
) -> str:
    """Returns the text that `--dry_run` prints.

    Args:
        options: options of the run.
        beam_options: options of Beam.
        work: work items that were listed.
        graph: size of the job graph that was built.
        left_out: numbers of files that were passed over, see `passed_over`.
        memory: lines on the memory that the model takes.

    Raises:
        OptionsError: a file to be staged does not exist.
    """
    n_known = n_recordings(work)
    lines = [
        f"runner      {options.runner}",
        f"output      {redact(options.output)}",
        f"listed      {len(work)} work items, "
        + ("unknown number of recordings" if n_known is None else f"{n_known} recordings"),
        *format_places(left_out),
        f"graph       {graph.n_bytes} bytes, {graph.n_transforms} transforms",
        f"workers     {_format_workers(beam_options)}",
        *_format_hints(options),
        *memory,
        *_warnings(options, beam_options, graph),
        "Nothing was run and nothing was written.",
    ]
    return "\n".join(lines)


def _format_workers(beam_options: PipelineOptions) -> str:
    image = beam_options.view_as(WorkerOptions).sdk_container_image
    parts = [f"image {image}"] if image else []
    parts += [f"installs {name}" for name in _staged(beam_options)]
    return ", ".join(parts) or "the runner's own, nothing is staged"


def _format_hints(options: TranscribeOptions) -> list[str]:
    hints = " ".join(filter(None, (options.accelerator, options.min_ram)))
    return [f"model on    workers with {hints}"] if hints and is_dataflow(options.runner) else []


def _staged(beam_options: PipelineOptions) -> list[str]:
    """Returns the files that Beam sends to workers; for `--setup_file`, the sdist that it builds."""
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
    warnings = []
    if graph.n_bytes > GRAPH_BYTES:
        warnings.append(
            f"WARNING: Dataflow accepts graphs of up to {GRAPH_BYTES} bytes. List the recordings in a "
            "manifest in a bucket, or put them into archives or a Parquet dataset, which take little space "
            "in the graph, or transcribe them in several runs."
        )
    if not beam_options.view_as(WorkerOptions).sdk_container_image and not _staged(beam_options):
        warnings.append(
            "WARNING: Dataflow's own image does not contain whisper-beam: give --sdk_container_image "
            "(docs/dataflow.md), or --setup_file ./setup.py."
        )
    return warnings
