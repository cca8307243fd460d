"""What is special about Dataflow: what it cannot run, and templates, whose launcher ends before their job."""

from __future__ import annotations

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

from pipelines.options import OptionsError, TranscribeOptions
from transforms.core.redaction import redact
from transforms.core.uris import is_url

RUNNER = "DataflowRunner"
GRAPH_BYTES = 10_000_000
"""The largest job graph that it takes: https://cloud.google.com/dataflow/docs/request-quotas, "Jobs"."""

HANDED_OVER = (
    "The job was handed over, and this program does not see its end. Once it is done, the same command with "
    "--runner DirectRunner finds all in the output folder, and adds run.json, report.html and _SUCCESS."
)


def is_dataflow(runner: str) -> bool:
    """Whether Beam takes the name for Dataflow's, which it does in any case, and without `Runner` too."""
    return runner.lower() in (RUNNER.lower(), RUNNER.lower().removesuffix("runner"))


def makes_template(beam_options: PipelineOptions) -> bool:
    """Whether the job is only described, and begun by Dataflow once this program has ended."""
    return bool(beam_options.view_as(GoogleCloudOptions).template_location)


def check_dataflow(options: TranscribeOptions, beam_options: PipelineOptions) -> None:
    """Raises `OptionsError` for what Dataflow would refuse late, or do to no avail."""
    if not is_dataflow(options.runner):
        if makes_template(beam_options):
            raise OptionsError(f"--template_location goes with --runner {RUNNER}, not {options.runner}")
        return
    for flag, place in (("output", options.output), *(("input", place) for place in options.input)):
        if not is_url(place):
            raise OptionsError(
                f"--{flag} {redact(place)}: a place on this machine, which Dataflow's workers do not see; "
                "give one that they do, such as gs://BUCKET/FOLDER"
            )
    if makes_template(beam_options) and options.push_to_hub:
        raise OptionsError(
            "--push_to_hub uploads what a run has done, and a template's launcher ends before its job: "
            "give it with the command that finishes the run (docs/dataflow.md)"
        )
    services = beam_options.view_as(GoogleCloudOptions).dataflow_service_options or []
    if options.accelerator and any(one.startswith("worker_accelerator=") for one in services):
        raise OptionsError(
            "--accelerator gives GPUs to the steps that need them, and worker_accelerator in "
            "--dataflow_service_options to all workers: Dataflow takes one of them"
        )


def check_installed(runner: str) -> None:
    """Raises `OptionsError` where the packages are missing that Beam would ask for when the run has begun."""
    if not is_dataflow(runner):
        return
    try:
        import apache_beam.runners.dataflow.internal.apiclient  # noqa: F401  # it brings all of them
    except ImportError as error:
        raise OptionsError(
            f"--runner {runner} needs packages that are not here ({error}): install whisper-beam[dataflow]"
        ) from error
