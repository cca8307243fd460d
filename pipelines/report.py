"""What a run came to: `run.json`, and the summary that closes it on the screen."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pyarrow.parquet as pq

from pipelines.options import TranscribeOptions
from pipelines.run_folder import FAILURES, TRANSCRIPTS, RunFolder, RunIdentity, public_options
from transforms.errors import redact
from transforms.progress import STAGES

PACKAGES = ("whisper-beam", "apache-beam", "jax", "jaxlib", "flax", "pyarrow", "soundfile", "av", "soxr")
MAX_SHOWN = 40  # recordings of a small run, whose text is shown
MAX_LABEL = 48  # characters of a recording's name on the screen

Report = dict[str, Any]


def make_report(
    options: TranscribeOptions,
    identity: RunIdentity,
    counters: Mapping[str, int],
    folder: RunFolder,
    wall_s: float,
) -> Report:
    """The content of `run.json`.

    Args:
        options: of the run.
        identity: of the run.
        counters: Beam's, by name (`transforms.progress`).
        folder: with its parts written.
        wall_s: seconds from the first step of the run to its last.
    """
    duplicates = counters.get("duplicates", 0)  # rows of a dataset that name one file
    listed, transcribed = counters.get("listed", 0) - duplicates, counters.get("transcribed", 0)
    audio_s = counters.get("audio_ms", 0) / 1000
    failures = list(_jsonl_rows(folder, FAILURES))
    return {
        "identity": identity.digest,
        "options": public_options(options),
        "versions": {"python": sys.version.split()[0], **dict(_versions())},
        "counts": {
            "recordings": listed,
            "transcribed": transcribed,
            "not_transcribed": listed - transcribed,
            "duplicates": duplicates,
            "failures": len(failures),
            "failures_by_kind": dict(sorted(Counter(row["kind"] for row in failures).items())),
            "windows": counters.get("windows", 0),
            "windows_skipped": counters.get("windows_skipped", 0),
            "windows_redone": counters.get("windows_redone", 0),
            "boundaries_redone": counters.get("boundaries_redone", 0),
            "remainders": counters.get("remainders", 0),
            "remainders_dropped": counters.get("remainders_dropped", 0),
            "windows_without_text": counters.get("windows_without_text", 0),
            "windows_fallback": counters.get("windows_fallback", 0),
            "fallback_by_reason": _by_name(counters, "failed_"),
            "segments_filtered": _by_name(counters, "filtered_"),
        },
        "audio_hours": round(audio_s / 3600, 6),
        "speech_hours": round(counters.get("speech_ms", 0) / 3_600_000, 6),
        "skipped_hours": round(counters.get("skipped_ms", 0) / 3_600_000, 6),
        "wall_s": round(wall_s, 3),
        "times_real_time": round(audio_s / wall_s, 3),
        "stage_s": {stage: round(counters.get(f"{stage}_us", 0) / 1e6, 3) for stage in STAGES},
        "files": folder.parts(),
    }


def _by_name(counters: Mapping[str, int], prefix: str) -> dict[str, int]:
    """The counters above zero whose names begin so, by the rest of their names."""
    return {
        name.removeprefix(prefix): counters[name]
        for name in sorted(counters)
        if name.startswith(prefix) and counters[name]
    }


def summary(report: Report, folder: RunFolder) -> str:
    """What to show on the screen when a run is over; of a small run, its text too."""
    counts = report["counts"]
    lines = list(_texts(folder)) if counts["transcribed"] <= MAX_SHOWN else []
    seconds = ", ".join(f"{stage} {spent:.1f}" for stage, spent in report["stage_s"].items())
    lines += [
        f"{counts['transcribed']} of {counts['recordings']} recordings transcribed, "
        f"{report['audio_hours']:.2f} hours of audio in {_clock(report['wall_s'])}: "
        f"{report['times_real_time']:.1f} times real time",
        f"seconds spent: {seconds}",
    ]
    if report["skipped_hours"]:
        lines.append(f"skipped, as nobody speaks there: {report['skipped_hours']:.2f} hours")
    if counts["failures"]:
        kinds = ", ".join(f"{n} {kind}" for kind, n in report["counts"]["failures_by_kind"].items())
        lines.append(f"failures: {kinds}; see {redact(folder.part_folder(FAILURES))}")
    lines.append(f"transcripts: {redact(folder.part_folder(TRANSCRIPTS))}")
    return "\n".join(lines)


def _texts(folder: RunFolder) -> Iterator[str]:
    width = min(shutil.get_terminal_size().columns, 120)
    for row in _transcripts(folder):
        label = row["uri"].rsplit("/", 1)[-1][-MAX_LABEL:]
        yield f"{label} [{row['language']}]"
        yield textwrap.fill(
            row["text"].strip() or "(no words)", width, initial_indent="  ", subsequent_indent="  "
        )
    yield ""


def _transcripts(folder: RunFolder) -> Iterator[Mapping[str, Any]]:
    """Columns of the transcripts that the screen shows, from whichever format was written."""
    columns = ["uri", "language", "text"]
    tables = [name for name in folder.parts() if name.endswith(".parquet")]
    if not tables:
        yield from _jsonl_rows(folder, TRANSCRIPTS)
    for name in tables:
        with folder.open(name) as file:
            # In this thread alone: an Arrow thread that lets go of a Python file while Python ends aborts it.
            table = pq.ParquetFile(file, pre_buffer=False).read(columns=columns, use_threads=False)
            yield from table.to_pylist()


def _jsonl_rows(folder: RunFolder, part_folder: str) -> Iterator[dict[str, Any]]:
    for name in folder.parts():
        if name.startswith(f"{part_folder}/") and name.endswith(".jsonl"):
            with folder.open(name) as file:
                yield from map(json.loads, file)


def _versions() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:  # run from a checkout that was not installed
            continue


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
