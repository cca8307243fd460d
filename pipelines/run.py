"""One run: list, claim the output folder, run the graph, report. All that `--help` need not wait for."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from time import perf_counter

import apache_beam as beam
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.runner import PipelineState

from pipelines.backend import WHISPER, Backend
from pipelines.command_line import check_beam_flags
from pipelines.graph import build, policy_of
from pipelines.options import OptionsError, TranscribeOptions, check_model_fits
from pipelines.output.finished_run import FinishedRun
from pipelines.output.run_folder import RunFolder, identity_of
from pipelines.output.run_lock import only_run
from pipelines.process.signals import stopping_cleanly
from pipelines.progress.progress_bar import Watch, shown_progress
from pipelines.progress.progress_file import heartbeat
from pipelines.report.report_page import report_page
from pipelines.report.run_json import Report, make_report, summary
from pipelines.report.run_tally import tally_run
from pipelines.runners.dataflow import HANDED_OVER, check_dataflow, check_installed, makes_template
from pipelines.runners.dry_run import GraphSize, told_plan
from pipelines.runners.find_runner import find_runner, following, in_this_process, name_job
from pipelines.runners.local_workers import watched_workers
from transforms.checkpoint.commit_log import leave_all
from transforms.core.log_redaction import hide_secrets
from transforms.core.metrics import NAMESPACE
from transforms.core.progress import PROGRESS
from transforms.core.redaction import redact
from transforms.sources.hf_datasets import dataset_work
from transforms.sources.listing import expand_all
from transforms.sources.work_items import Work, fingerprint, n_recordings

LIFTS = {"allow_private_hosts": "forbidden_host", "trust_manifests": "forbidden_uri"}
"""Options, and the kind of failure that there is without each."""


class RunFailedError(RuntimeError):
    """Beam ended the run before its end."""


def transcribe(options: TranscribeOptions, beam_args: Sequence[str] = (), backend: Backend = WHISPER) -> int:
    """Does the run, or finds it done; gives its exit code: 0, or 2 when some recordings failed.

    With `--dry_run` it only tells of it. A template's job is begun after it, by Dataflow, and not waited for.

    Args:
        options: of the run.
        beam_args: what goes to Beam's `PipelineOptions`.
        backend: the model.

    Raises:
        ValueError: options that cannot be used, no input, an output folder that is not this run's.
        RunFailedError: the runner gave up.
        RunnerError: the runner lacks something on this machine, or was lost.
        OSError: the output cannot be written.
        HubError: nobody is logged in who could upload it.
        RunStopped: a signal ended it.
    """
    started = perf_counter()
    hide_secrets()
    beam_options = _beam_options(beam_args)
    check_dataflow(options, beam_options)
    name_job(beam_options, options.output)
    if options.dry_run:
        return _dry_run(options, beam_options, backend)
    check_installed(options.runner)
    pipeline = beam.Pipeline(runner=find_runner(options.runner, beam_options), options=beam_options)
    languages = backend.languages(options.model)
    check_model_fits(options, languages)
    if options.push_to_hub:
        from pipelines.report.hub import check_token  # brings `datasets`, which other runs need not wait for

        check_token()
    work = list_work(options)
    folder = RunFolder(options.output)
    identity = identity_of(options, map(fingerprint, work))
    report = None if options.overwrite else folder.finished_report(identity)
    if report is not None and _is_over(report, options):
        again = "; with --retry_failed, what failed is" if report["counts"]["failures"] else ""
        print(f"This run was finished before; nothing is done again{again}.", file=sys.stderr)
        return _close(report, folder, options.push_to_hub)
    folder.check(identity, options.overwrite)
    with only_run(folder):
        folder.claim(identity, options.overwrite)
        is_local = in_this_process(options.runner, beam_options)
        _build(pipeline, work, options, languages, backend, share=not is_local)
        if makes_template(beam_options):
            pipeline.run()
            print(HANDED_OVER, file=sys.stderr)
            return 0
        watch = Watch(n_recordings(work), seen=is_local)
        with heartbeat(folder, watch), stopping_cleanly():
            counters = _run(pipeline, watch)
            files = folder.parts()
            tally = tally_run(FinishedRun(folder.url, {"files": files}))
            report = make_report(options, identity, counters, files, tally, perf_counter() - started)
            folder.write_page(report_page(report, tally, redact(folder.url)))
            folder.finish(report)
    return _close(report, folder, options.push_to_hub)


def _dry_run(options: TranscribeOptions, beam_options: PipelineOptions, backend: Backend) -> int:
    """Says what a run would be. Its runner is not asked, which may want credentials, or fetch something."""
    languages = backend.languages(options.model)
    check_model_fits(options, languages)
    work = list_work(options)
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=beam_options)
    is_local = in_this_process(options.runner, beam_options)
    _build(pipeline, work, options, languages, backend, share=not is_local)
    graph = pipeline.to_runner_api()
    size = GraphSize(graph.ByteSize(), len(graph.components.transforms))
    print(told_plan(options, beam_options, work, size))
    return 0


def _build(
    pipeline: beam.Pipeline,
    work: Sequence[Work],
    options: TranscribeOptions,
    languages: Sequence[str],
    backend: Backend,
    *,
    share: bool,
) -> None:
    language = languages[0] if len(languages) == 1 else options.language_code()
    build(pipeline, work, options, language, languages, backend, share=share)


def _is_over(report: Report, options: TranscribeOptions) -> bool:
    """Whether a finished run has nothing that is to be done again."""
    counts = report["counts"]
    lifted = {
        kind
        for name, kind in LIFTS.items()
        if getattr(options, name) and not report["options"].get(name, False)
    }
    return not (lifted & counts["failures_by_kind"].keys() or (options.retry_failed and counts["failures"]))


def list_work(options: TranscribeOptions) -> list[Work]:
    """The recordings that the options name, and what holds or names many: little, however many they are."""
    work: list[Work] = []
    policy = policy_of(options)
    if options.input:
        work += expand_all(options.input, options.audio_column, options.text_column, policy)
    if options.dataset is not None:
        work += dataset_work(
            options.dataset, options.dataset_split, options.audio_column, options.text_column, policy
        )
    return work


def _beam_options(beam_args: Sequence[str]) -> PipelineOptions:
    beam_options = PipelineOptions(list(beam_args))
    try:
        known = beam_options.get_all_options()
        everything = beam_options.get_all_options(retain_unknown_options=True)
    except SystemExit as error:  # Beam's parser has printed what is wrong, and would exit with 2
        raise OptionsError(f"Beam cannot use {' '.join(beam_args)}; see above") from error
    check_beam_flags(beam_args, sorted(known), sorted(everything.keys() - known.keys()))
    return beam_options


def _run(pipeline: beam.Pipeline, watch: Watch) -> dict[str, int]:
    """Runs to the end and gives the counters of all steps, by name."""
    PROGRESS.reset()
    try:
        with shown_progress(watch), watched_workers():
            result = pipeline.run()
            with following(result):
                state = result.wait_until_finish()
    finally:
        leave_all()  # Beam does not end all that it has begun when it gives up
    if state != PipelineState.DONE:
        raise RunFailedError(f"Beam ended the run in state {state}; its log says why")
    counters: dict[str, int] = defaultdict(int)
    for counter in result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))["counters"]:
        # Not its `result`: that is None for one that is 0, on runners that tell of what was committed alone.
        told = counter.attempted if counter.committed is None else counter.committed
        counters[counter.key.metric.name] += told
    watch.settle(counters)
    return dict(counters)


def _close(report: Report, folder: RunFolder, dataset: str | None) -> int:
    """Says what a finished run came to and uploads it; gives the exit code."""
    print(summary(report, folder))
    exit_code = _told_outcome(report, folder)
    if dataset is None:
        return exit_code
    from pipelines.report.hub import HubError, push

    try:
        print(f"Uploaded to {push(folder, report, dataset)}", file=sys.stderr)
    except HubError as error:  # the run has not failed, and stays finished
        print(error, file=sys.stderr)
        return 1
    return exit_code


def _told_outcome(report: Report, folder: RunFolder) -> int:
    counts = report["counts"]
    if not counts["failures"]:
        print(f"Done: all {counts['transcribed']} recordings were transcribed.", file=sys.stderr)
        return 0
    missing = counts["not_transcribed"]
    told = f"{missing} of {counts['recordings']} recordings have no transcript"
    if not missing:
        told = "parts of some recordings are missing"
    where = redact(folder.part_folder("failures"))
    print(f"Done, but {told}: {counts['failures']} failures are listed in {where}.", file=sys.stderr)
    return 2
