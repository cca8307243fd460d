"""Checks for Dataflow: options that it cannot run, and templates, whose launcher ends before their job."""

from __future__ import annotations

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

from pipelines.options import OptionsError, TranscribeOptions
from transforms.core.redaction import redact
from transforms.core.uris import is_url

RUNNER = "DataflowRunner"
GRAPH_BYTES = 10_000_000
"""Size limit of a job graph: https://cloud.google.com/dataflow/docs/request-quotas, "Jobs"."""

TEMPLATE_SUBMITTED = (
    "The job was submitted, and this program does not wait for its end. Once it is done, run the same "
    "command with --runner DirectRunner: it transcribes nothing again and adds run.json, report.html and "
    "_SUCCESS."
)


def is_dataflow(runner: str) -> bool:
    """Whether Beam resolves the name to Dataflow: in upper or lower case, with or without `Runner`."""
    return runner.lower() in (RUNNER.lower(), RUNNER.lower().removesuffix("runner"))


def makes_template(beam_options: PipelineOptions) -> bool:
    """Whether this program writes a template, whose job Dataflow starts later."""
    return bool(beam_options.view_as(GoogleCloudOptions).template_location)


def check_dataflow(options: TranscribeOptions, beam_options: PipelineOptions) -> None:
    """Raises `OptionsError` for options that Dataflow would reject late or ignore."""
    if not is_dataflow(options.runner):
        if makes_template(beam_options):
            raise OptionsError(f"--template_location needs --runner {RUNNER}, not {options.runner}")
        return
    for flag, place in (("output", options.output), *(("input", place) for place in options.input)):
        if not is_url(place):
            raise OptionsError(
                f"--{flag} {redact(place)}: a path on this machine, which Dataflow's workers cannot read; "
                "give one that they can, such as gs://BUCKET/FOLDER"
            )
    if makes_template(beam_options) and options.push_to_hub:
        raise OptionsError(
            "--push_to_hub uploads the output of a finished run, and a template's launcher ends before its "
            "job: give it with the command that finishes the run (docs/dataflow.md)"
        )
    services = beam_options.view_as(GoogleCloudOptions).dataflow_service_options or []
    if options.accelerator and any(one.startswith("worker_accelerator=") for one in services):
        raise OptionsError(
            "--accelerator requests GPUs for the steps that need them, and worker_accelerator in "
            "--dataflow_service_options for all workers: Dataflow accepts only one of the two"
        )


def check_installed(runner: str) -> None:
    """Raises `OptionsError` where packages are missing that Beam would import after the run has started."""
    if not is_dataflow(runner):
        return
    try:
        import apache_beam.runners.dataflow.internal.apiclient  # noqa: F401  # imports all of them
    except ImportError as error:
        raise OptionsError(
            f"--runner {runner} needs packages that are missing ({error}): install whisper-beam[dataflow]"
        ) from error
