"""One run: lists the input, claims the output folder, runs the Beam pipeline and reports.

Kept out of `pipelines.transcribe`, so that `--help` does not wait for these imports.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import perf_counter

import apache_beam as beam
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.runner import PipelineState

from model.config import CheckpointDefaults
from model.interface import ModelOptions
from model.option_fields import select_options
from pipelines.backend import WHISPER, Backend
from pipelines.command_line import check_beam_flags
from pipelines.graph import Destination, build
from pipelines.options import (
    OptionsError,
    TranscribeOptions,
    fitted_to_model,
    with_checkpoint_defaults,
)
from pipelines.output.finished_run import FinishedRun
from pipelines.output.run_files import is_run_file
from pipelines.output.run_folder import RunFolder, RunFolderError
from pipelines.output.run_identity import ModelIdentity, RunIdentity, identity_of
from pipelines.output.run_lock import exclusive_access
from pipelines.process.signals import stopping_cleanly
from pipelines.progress.progress_bar import RunProgress, show_progress
from pipelines.progress.progress_file import heartbeat
from pipelines.report.report_page import report_page
from pipelines.report.run_json import Report, make_report, summary
from pipelines.report.run_tally import tally_run
from pipelines.runners.dataflow import TEMPLATE_SUBMITTED, check_dataflow, check_installed, makes_template
from pipelines.runners.dry_run import GraphSize, format_plan
from pipelines.runners.find_runner import find_runner, in_this_process, name_job, supervised
from pipelines.runners.local_workers import watched_workers
from transforms.checkpoint.commit_log import release_all_writers
from transforms.core.log_redaction import hide_secrets
from transforms.core.metrics import NAMESPACE, NO_METRICS, CountingMetrics, Metrics
from transforms.core.progress import PROGRESS
from transforms.core.redaction import redact
from transforms.fetch.policy import FetchPolicy
from transforms.sources.folder_filter import FolderFilter
from transforms.sources.hf_datasets import dataset_work
from transforms.sources.listing import expand_all
from transforms.sources.output_folder import OutputFolder
from transforms.sources.passed_over import passed_over
from transforms.sources.work_items import Work, fingerprint, n_recordings

LIFTED_FAILURES = {"allow_private_hosts": "forbidden_host", "trust_manifests": "forbidden_uri"}
"""Options that permit something, and the kind of failure that each of them removes."""


class RunFailedError(RuntimeError):
    """Beam ended the run before it was complete."""


def transcribe(options: TranscribeOptions, beam_args: Sequence[str] = (), backend: Backend = WHISPER) -> int:
    """Executes the run, unless it is finished already, and returns its exit code.

    With `--dry_run` it prints a description of the run and starts nothing. For a Dataflow template it does
    not wait for the job, which Dataflow starts later.

    Args:
        options: options of the run.
        beam_args: arguments of Beam's `PipelineOptions`.
        backend: the model.

    Returns:
        0, or 2 when some recordings failed.

    Raises:
        ValueError: invalid options, no input, or an output folder that belongs to another run.
        RunFailedError: the runner gave up.
        RunnerError: the runner lacks a requirement on this machine, or its job server was lost.
        OSError: the output cannot be written.
        HubError: `--push_to_hub` without a token of the Hub.
        RunStopped: a signal ended the run.
    """
    started = perf_counter()
    hide_secrets()
    beam_options = _beam_options(beam_args, options)
    if options.dry_run:
        return _dry_run(options, beam_options, backend)
    check_installed(options.runner)
    pipeline = beam.Pipeline(runner=find_runner(options.runner, beam_options), options=beam_options)
    folder = RunFolder(options.output)
    options, model = _identify(options, backend, folder)
    _check_token(options)
    listed = CountingMetrics()
    work = list_work(options, listed)
    identity = identity_of(options, model, map(fingerprint, work))
    report = _finished_before(options, folder, identity)
    if report is not None:
        return _summarize_and_upload(report, folder, options.push_to_hub)
    overwrite = options.overwrite
    if options.partial:  # of a run that may be going on: only its log is read
        folder.check_begun(identity)
        folder, overwrite = folder.partial, True
    folder.check(identity, overwrite)
    with exclusive_access(folder):
        folder.claim(identity, overwrite)
        is_local = in_this_process(options.runner, beam_options)
        is_template = makes_template(beam_options)
        earlier = [] if options.remove_unlisted else folder.earlier_rows(identity)
        destination = Destination(folder if is_template else folder.next, earlier)
        _build(pipeline, work, options, model.languages, backend, destination, share=not is_local)
        if is_template:
            folder.mark_unfinished()  # its workers write into it
            pipeline.run()
            print(TEMPLATE_SUBMITTED, file=sys.stderr)
            return 0
        run_progress = RunProgress(n_recordings(work), in_process=is_local)
        with heartbeat(folder, run_progress), stopping_cleanly():
            counters = {**_run(pipeline, run_progress), **listed.counters}
            report = _publish(options, identity, counters, folder, started)
    return _summarize_and_upload(report, folder, options.push_to_hub)


def _finished_before(options: TranscribeOptions, folder: RunFolder, identity: RunIdentity) -> Report | None:
    """Returns the report of the same run if it is finished and these options leave nothing to do in it."""
    report = None if options.overwrite or options.partial else folder.finished_report(identity)
    if report is None or not _is_complete(report, options):
        return None
    hint = ". --retry_failed retries the failures" if report["counts"]["failures"] else ""
    print(f"This run is already finished; nothing is transcribed again{hint}.", file=sys.stderr)
    _remove_partial_files(folder)
    return report


def _identify(
    options: TranscribeOptions, backend: Backend, folder: RunFolder
) -> tuple[TranscribeOptions, ModelIdentity]:
    """Returns the options with what the checkpoint is configured for, and the identity of the model.

    Where the model is gone, it is that of the run in the folder. Rows are then written of what was
    transcribed before; where something is left to do, loading fails.
    """
    try:
        model = ModelIdentity(backend.weights(options.model), tuple(backend.languages(options.model)))
        defaults = backend.defaults(options.model)
    except ValueError as error:
        earlier = None if options.overwrite else folder.model_of(options.model)
        if earlier is None:
            raise
        model, defaults = earlier, CheckpointDefaults()
        print(f"{error}. Only what was transcribed before can be written.", file=sys.stderr)
    return _with_defaults(fitted_to_model(options, model.languages), defaults), model


def _with_defaults(options: TranscribeOptions, defaults: CheckpointDefaults) -> TranscribeOptions:
    """Returns the options with what the checkpoint is configured for, where none is given, and reports it."""
    ordinary = with_checkpoint_defaults(options, CheckpointDefaults())
    changed = with_checkpoint_defaults(options, defaults)
    for name in ("language", "task"):
        if (value := getattr(changed, name)) != getattr(ordinary, name):
            print(f"{options.model} is configured for --{name} {value}, which is followed.", file=sys.stderr)
    return changed


def _publish(
    options: TranscribeOptions,
    identity: RunIdentity,
    counters: Mapping[str, int],
    folder: RunFolder,
    started: float,
) -> Report:
    """Puts the rows in their place, with `report.html`, `run.json` and `_SUCCESS`; returns the report."""
    files = folder.next.parts()
    tally = tally_run(FinishedRun(folder.next.url, {"files": files}))
    report = make_report(options, identity, counters, files, tally, perf_counter() - started)
    folder.publish(identity, report, report_page(report, tally, redact(folder.url)))
    return report


def _check_token(options: TranscribeOptions) -> None:
    if options.push_to_hub:
        from pipelines.report.hub import check_token  # imports `datasets`, which is slow

        check_token()


def _dry_run(options: TranscribeOptions, beam_options: PipelineOptions, backend: Backend) -> int:
    """Prints a description of the run without its runner, which may need credentials or a download."""
    languages = backend.languages(options.model)
    options = _with_defaults(fitted_to_model(options, languages), backend.defaults(options.model))
    listed = CountingMetrics()
    work = list_work(options, listed)
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=beam_options)
    is_local = in_this_process(options.runner, beam_options)
    destination = Destination(RunFolder(options.output))
    _build(pipeline, work, options, languages, backend, destination, share=not is_local)
    graph = pipeline.to_runner_api()
    size = GraphSize(graph.ByteSize(), len(graph.components.transforms))
    memory = backend.memory(select_options(options, ModelOptions))
    print(format_plan(options, beam_options, work, size, passed_over(listed.counters), memory))
    return 0


def _build(
    pipeline: beam.Pipeline,
    work: Sequence[Work],
    options: TranscribeOptions,
    languages: Sequence[str],
    backend: Backend,
    destination: Destination,
    *,
    share: bool,
) -> None:
    language = languages[0] if len(languages) == 1 else options.language_code(languages)
    share = share and not options.partial  # whether a recording is finished is known for all of it
    build(pipeline, work, options, language, languages, backend, destination, share=share)


def _remove_partial_files(folder: RunFolder) -> None:
    """Removes what a process left that was killed while it wrote the last files of a finished run."""
    # Where the folder is read-only, or another run has it, they stay: nothing reads them.
    with suppress(OSError, RunFolderError), exclusive_access(folder):
        folder.remove_partial_files()


def _is_complete(report: Report, options: TranscribeOptions) -> bool:
    """Whether these options leave nothing to redo in a finished run."""
    counts = report["counts"]
    lifted = {
        kind
        for name, kind in LIFTED_FAILURES.items()
        if getattr(options, name) and not report["options"].get(name, False)
    }
    retried = counts["failures"] if options.retry_failed else counts.get("failures_retryable", 0)
    return not (lifted & counts["failures_by_kind"].keys() or retried)


def list_work(options: TranscribeOptions, metrics: Metrics = NO_METRICS) -> list[Work]:
    """Returns the work items that the options name: recordings, archives, manifests and shards of datasets.

    The list is short even for a large corpus: an item can stand for many recordings.

    Args:
        options: options of the run; what is in its output folder is no input.
        metrics: sink of the counts of files in folders that are passed over.
    """
    work: list[Work] = []
    policy = select_options(options, FetchPolicy)
    output = OutputFolder(options.output, is_run_file)
    if options.input:
        folders = FolderFilter(metrics, output)
        work += expand_all(options.input, options.audio_column, options.text_column, policy, folders)
    if options.dataset is not None:
        work += dataset_work(
            options.dataset, options.dataset_split, options.audio_column, options.text_column, policy, output
        )
    return work


def _beam_options(beam_args: Sequence[str], options: TranscribeOptions) -> PipelineOptions:
    beam_options = PipelineOptions(list(beam_args))
    try:
        known = beam_options.get_all_options()
        everything = beam_options.get_all_options(retain_unknown_options=True)
    except SystemExit as error:  # Beam's parser has printed the error and would exit with 2
        raise OptionsError(f"Beam cannot use {' '.join(beam_args)}; see above") from error
    check_beam_flags(beam_args, sorted(known), sorted(everything.keys() - known.keys()))
    check_dataflow(options, beam_options)
    name_job(beam_options, options.output)
    return beam_options


def _run(pipeline: beam.Pipeline, run_progress: RunProgress) -> dict[str, int]:
    """Runs the pipeline to its end and returns the sums of all steps' counters by name."""
    PROGRESS.reset()
    try:
        with show_progress(run_progress), watched_workers():
            result = pipeline.run()
            with supervised(result):
                state = result.wait_until_finish()
    finally:
        release_all_writers()  # Beam does not tear down every DoFn when it gives up
    if state != PipelineState.DONE:
        raise RunFailedError(f"Beam ended the run in state {state}; its log says why")
    counters: dict[str, int] = defaultdict(int)
    for counter in result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))["counters"]:
        # Not `counter.result`: on runners that report committed values only, it is None for a counter of 0.
        value = counter.attempted if counter.committed is None else counter.committed
        counters[counter.key.metric.name] += value
    run_progress.set_final_counts(counters)
    return dict(counters)


def _summarize_and_upload(report: Report, folder: RunFolder, dataset: str | None) -> int:
    """Prints the summary of a finished run, uploads it where asked, and returns the exit code."""
    print(summary(report, folder))
    exit_code = _print_outcome(report, folder)
    if dataset is None:
        return exit_code
    from pipelines.report.hub import HubError, push

    try:
        print(f"Uploaded to {push(folder, report, dataset)}", file=sys.stderr)
    except HubError as error:  # the run itself has not failed and stays finished
        print(error, file=sys.stderr)
        return 1
    return exit_code


def _print_outcome(report: Report, folder: RunFolder) -> int:
    """Prints how many recordings have a transcript; returns the exit code."""
    counts = report["counts"]
    if counts.get("unfinished"):
        finished = counts["recordings"] - counts["unfinished"]
        print(f"{finished} of {counts['recordings']} recordings are finished so far.", file=sys.stderr)
        return 2 if counts["failures"] else 0
    if not counts["failures"]:
        print(f"Done: all {counts['transcribed']} recordings were transcribed.", file=sys.stderr)
        return 0
    missing = counts["not_transcribed"]
    outcome = f"{missing} of {counts['recordings']} recordings have no transcript"
    if not missing:
        outcome = "parts of some recordings are missing"
    place = redact(folder.url_of("failures"))
    print(f"Done, but {outcome}: {counts['failures']} failures are listed in {place}.", file=sys.stderr)
    return 2
