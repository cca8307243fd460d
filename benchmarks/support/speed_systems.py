"""Systems compared by `benchmarks.speed`; each decodes greedily, in English, in new processes."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.support.processes import Measured, isolated_command, run_measured
from benchmarks.support.recordings import Recording

OURS, BATCHED, SEQUENTIAL, HUGGINGFACE = "ours", "batched", "sequential", "huggingface"
BATCHED_PROCESSES, DEFAULTS = "batched_processes", "defaults"
SYSTEMS = (OURS, BATCHED, SEQUENTIAL, HUGGINGFACE, BATCHED_PROCESSES, DEFAULTS)
GREEDY = ("--beam_size", "1", "--temperature", "0", "--language", "en")


@dataclass(frozen=True)
class Run:
    """One run of a system over a recording.

    Attributes:
        measured: time and memory of its processes.
        transcribe_s: seconds from the end of loading the model to the last row.
        n_windows: decoded windows of at most 30 s.
        n_words: words of the transcript.
        outside_s: for whisper-beam, seconds in which the model was idle, before and after it was loaded; None
            for others.
    """

    measured: Measured
    transcribe_s: float
    n_windows: int
    n_words: int
    outside_s: float | None = None


@dataclass(frozen=True)
class System:
    """A system to be compared.

    Attributes:
        kind: one of `SYSTEMS`.
        name: display name with its options.
        run: transcribes a recording.
    """

    kind: str
    name: str
    run: Callable[[Recording], Run]


def ours(model: str, options: Sequence[str]) -> System:
    """Returns whisper-beam's whole pipeline with these options."""

    def run(recording: Recording) -> Run:
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder, "out")
            command = [sys.executable, "-m", "pipelines.transcribe", "--input", str(recording.path)]
            command += ["--output", str(output), "--model", model, *GREEDY, *options]
            measured = run_measured(command)
            rows = [
                json.loads(line)
                for part in sorted((output / "jsonl").glob("*.jsonl"))
                for line in part.read_text().splitlines()
            ]
            report = json.loads((output / "run.json").read_text())
        return Run(
            measured,
            report["wall_s"] - ready_s(report),
            n_decoded(report),
            count_words(rows),
            report["wall_s"] - ready_s(report) - report["stage_s"]["model"],
        )

    return System(OURS, " ".join(["whisper-beam", *options]), run)


def ready_s(report: Mapping[str, Any]) -> float:
    """Returns the seconds of loading and compiling in a run's `wall_s`, which are excluded as start-up."""
    return float(report["stage_s"]["load"] + report["stage_s"]["compile"])


def n_decoded(report: Mapping[str, Any]) -> int:
    """Returns the number of decoded windows in a `run.json`, further passes over them included."""
    counts = report["counts"]
    further = counts["remainders"] + counts["short_windows_repeated"] + sum(counts["pieces"].values())
    return int(counts["windows"] + further)


def count_words(rows: Sequence[Mapping[str, Any]]) -> int:
    """Returns the number of words in rows with a `text`."""
    return sum(len(row["text"].split()) for row in rows)


def faster_whisper(folder: Path, batch_size: int) -> System:
    """Returns faster-whisper in int8; sequential for a batch size of 0.

    Args:
        folder: folder of the model in CTranslate2's format.
        batch_size: windows per batch.
    """
    kind = BATCHED if batch_size else SEQUENTIAL
    command = [sys.executable, "-m", "benchmarks.rivals.faster_whisper_program", "--folder", str(folder)]
    command += ["--batch_size", str(batch_size)]
    batches = f", batches of {batch_size}" if batch_size else ""
    return System(
        kind,
        f"faster-whisper {kind} int8{batches}",
        lambda recording: parse_run(run_measured([*command, *map(str, recording.paths)])),
    )


def faster_whisper_defaults(folder: Path) -> System:
    """Returns faster-whisper in int8 as it comes: sequential, with beams of 5, fallback and previous text."""
    command = [sys.executable, "-m", "benchmarks.rivals.faster_whisper_program", "--folder", str(folder)]
    command.append("--defaults")
    return System(
        DEFAULTS,
        "faster-whisper int8 with its defaults",
        lambda recording: parse_run(run_measured([*command, *map(str, recording.paths)])),
    )


def faster_whisper_processes(folder: Path, batch_size: int, processes: int) -> System:
    """Returns batched faster-whisper in several processes that share the cores and the audio."""
    command = [sys.executable, "-m", "benchmarks.rivals.faster_whisper_program", "--folder", str(folder)]
    command += ["--batch_size", str(batch_size), "--processes", str(processes)]

    def run(recording: Recording) -> Run:
        with tempfile.TemporaryDirectory() as parts:
            paths = recording.split(processes, Path(parts))
            return parse_run(run_measured([*command, *map(str, paths)]))

    name = f"faster-whisper batched int8, batches of {batch_size}, {processes} processes"
    return System(BATCHED_PROCESSES, name, run)


def huggingface(python: Path, folder: Path, dtype: str, batch_size: int) -> System:
    """Hugging Face's chunked pipeline on torch.

    Args:
        python: of an environment that has them.
        folder: of the model, as transformers has it.
        dtype: of torch.
        batch_size: chunks at a time.
    """
    program = Path(__file__).parents[1] / "rivals" / "huggingface_program.py"
    command = [
        *isolated_command(python, program),
        str(folder),
        "--dtype",
        dtype,
        "--batch_size",
        str(batch_size),
    ]
    return System(
        HUGGINGFACE,
        f"Hugging Face chunked {dtype}, batches of {batch_size}",
        lambda recording: parse_run(run_measured([*command, *map(str, recording.paths)])),
    )


def parse_run(measured: Measured) -> Run:
    """Parses the output of a rival's program: `rows`, `n_windows`, `transcribe_s`."""
    printed = json.loads(measured.stdout.splitlines()[-1])
    return Run(measured, printed["transcribe_s"], printed["n_windows"], count_words(printed["rows"]))
