"""Report of a run: the content of `run.json`, and the summary printed at its end."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from typing import Any

from pipelines.options import TranscribeOptions
from pipelines.output.finished_run import FinishedRun
from pipelines.output.run_files import FAILURES, PAGE_FILE
from pipelines.output.run_folder import RunFolder
from pipelines.output.run_identity import RunIdentity, public_options
from pipelines.progress.progress_bar import format_duration
from pipelines.report.run_tally import RunTally
from transforms.core.metrics import STAGES
from transforms.core.redaction import redact
from transforms.sources.passed_over import format_places, passed_over

PACKAGES = ("whisper-beam", "apache-beam", "jax", "jaxlib", "flax", "pyarrow", "soundfile", "av", "soxr")
MAX_SHOWN = 40  # the summary of a run of at most so many recordings shows their text
_SHOWN = ("uri", "language", "text")  # columns needed for that
MAX_LABEL = 48  # characters of a recording's name on the screen

Report = dict[str, Any]


def make_report(
    options: TranscribeOptions,
    identity: RunIdentity,
    counters: Mapping[str, int],
    files: Sequence[str],
    tally: RunTally,
    wall_s: float,
) -> Report:
    """Returns the content of `run.json`.

    Args:
        options: options of the run.
        identity: identity of the run.
        counters: Beam's counters by name (`transforms.core.metrics`).
        files: files of rows, relative to the run's folder.
        tally: sums of the rows in them.
        wall_s: seconds from the first step of the run to its last.
    """
    audio_s = counters.get("audio_ms", 0) / 1000
    # A recording listed twice was transcribed twice, for one row.
    new_s = min(counters.get("new_ms", 0) / 1000, audio_s)
    return {
        "identity": identity.digest,
        "options": public_options(options),
        "versions": {"python": sys.version.split()[0], **dict(_versions())},
        "arithmetic": _by_name(counters, "arithmetic_"),
        "counts": {
            **_recordings(counters),
            "passed_over": passed_over(counters),
            "failures": tally.failures.total(),
            "failures_by_kind": dict(sorted(tally.failures.items())),
            "failures_retryable": tally.retryable,
            "windows": counters.get("windows", 0),
            "short_windows_repeated": counters.get("short_windows_repeated", 0),
            "windows_skipped": counters.get("windows_skipped", 0),
            "windows_redone": counters.get("windows_redone", 0),
            "boundaries_redone": counters.get("boundaries_redone", 0),
            "remainders": counters.get("remainders", 0),
            "remainders_dropped": counters.get("remainders_dropped", 0),
            "pieces": _by_name(counters, "pieces_"),
            "holes_filled": counters.get("holes_filled", 0),
            "windows_without_text": counters.get("windows_without_text", 0),
            "windows_fallback": counters.get("windows_fallback", 0),
            "fallback_by_reason": _by_name(counters, "failed_"),
            "segments_filtered": _by_name(counters, "filtered_"),
        },
        "audio_hours": round(audio_s / 3600, 6),
        "speech_hours": round(counters.get("speech_ms", 0) / 3_600_000, 6),
        "skipped_hours": round(counters.get("skipped_ms", 0) / 3_600_000, 6),
        "untranscribed_s": {name: round(s, 3) for name, s in sorted(tally.untranscribed_s.items())},
        "wall_s": round(wall_s, 3),
        "times_real_time": round(new_s / wall_s, 3),
        "stage_s": {stage: round(counters.get(f"{stage}_us", 0) / 1e6, 3) for stage in STAGES},
        "hours_by_language": tally.hours_by_language(),
        "files": list(files),
        "recording_files": dict.fromkeys(options.recording_formats(), tally.rows),
    }


def _recordings(counters: Mapping[str, int]) -> dict[str, int]:
    """Returns the numbers of recordings, each counted once; those with `--partial` may be unfinished."""
    duplicates = counters.get("duplicates", 0)  # lines or rows that name the same file
    listed, transcribed = counters.get("listed", 0) - duplicates, counters.get("transcribed", 0)
    unfinished = counters.get("unfinished", 0)
    return {
        "recordings": listed,
        "transcribed": transcribed,
        "not_transcribed": listed - transcribed - unfinished,
        "unfinished": unfinished,
        "kept": counters.get("kept", 0),
        "earlier_files_damaged": counters.get("earlier_files_damaged", 0),
        "duplicates": duplicates,
        "done_before": min(counters.get("resumed", 0), listed),
    }


def _by_name(counters: Mapping[str, int], prefix: str) -> dict[str, int]:
    """Returns the counters above zero whose names start with the prefix, by the rest of their names."""
    return {
        name.removeprefix(prefix): counters[name]
        for name in sorted(counters)
        if name.startswith(prefix) and counters[name]
    }


def summary(report: Report, folder: RunFolder) -> str:
    """Returns the summary printed at the end of a run; for a small run, with its text."""
    counts = report["counts"]
    lines = list(_texts(FinishedRun(folder.url, report))) if counts["transcribed"] <= MAX_SHOWN else []
    seconds = ", ".join(f"{stage} {spent:.1f}" for stage, spent in report["stage_s"].items())
    lines += [
        f"{counts['transcribed']} of {counts['recordings']} recordings transcribed, "
        f"{report['audio_hours']:.2f} hours of audio in {format_duration(report['wall_s'])}: "
        f"{report['times_real_time']:.1f} times real time",
        f"seconds spent: {seconds}",
    ]
    if report.get("arithmetic"):  # missing in reports of earlier versions
        lines.append(f"computed with: {'; '.join(report['arithmetic'])}")
    if counts["done_before"]:
        lines.append(f"of these, done by an earlier run: {counts['done_before']}; the speed excludes them")
    if report["skipped_hours"]:
        lines.append(f"skipped as non-speech: {report['skipped_hours']:.2f} hours")
    if report.get("untranscribed_s"):
        reasons = ", ".join(f"{name} {seconds:.1f}" for name, seconds in report["untranscribed_s"].items())
        lines.append(f"seconds without text, or with text deleted: {reasons}; see untranscribed in the rows")
    if counts.get("kept"):
        lines.append(
            f"kept: {counts['kept']} rows of recordings that are not among the inputs any more "
            "(--remove_unlisted leaves them out)"
        )
    if counts.get("earlier_files_damaged"):
        lines.append(
            f"damaged files of the run before: {counts['earlier_files_damaged']}; rows in them may be "
            "missing if their recordings are not among the inputs any more: name those again"
        )
    if counts.get("unfinished"):
        lines.append(f"not finished yet, and left out: {counts['unfinished']} recordings")
    lines += format_places(counts.get("passed_over", {}))  # missing in reports of earlier versions
    if counts["failures"]:
        kinds = ", ".join(f"{n} {kind}" for kind, n in report["counts"]["failures_by_kind"].items())
        lines.append(f"failures: {kinds}; see {redact(folder.url_of(FAILURES))}")
    folders = sorted({name.split("/")[0] for name in report["files"]} - {FAILURES})
    lines += [f"transcripts: {redact(folder.url_of(name))}" for name in folders]
    for name, n_files in report.get("recording_files", {}).items():
        lines.append(f"{n_files} {name} files: {redact(folder.url_of(name))}")
    lines.append(f"report: {redact(folder.url_of(PAGE_FILE))}")
    return "\n".join(lines)


def _texts(run: FinishedRun) -> Iterator[str]:
    width = min(shutil.get_terminal_size().columns, 120)
    for row in chain.from_iterable(run.transcripts(name, _SHOWN) for name in run.transcript_files()):
        label = row["uri"].rsplit("/", 1)[-1][-MAX_LABEL:]
        yield f"{label} [{row['language']}]"
        yield textwrap.fill(
            row["text"].strip() or "(no words)", width, initial_indent="  ", subsequent_indent="  "
        )
    yield ""


def _versions() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:  # running from a checkout that is not installed
            continue
