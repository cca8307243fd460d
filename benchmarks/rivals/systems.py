"""Functions that transcribe the same files with each of the compared systems."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rivals.ctranslate2_folder import ctranslate2_folder
from benchmarks.rivals.faster_whisper_program import Row as Row
from benchmarks.rivals.faster_whisper_program import transcribe
from model.checkpoint import find_checkpoint


@dataclass(frozen=True)
class Transcripts:
    """Transcripts of a system.

    Attributes:
        rows: one per recording, with its path as `uri`, `text` and `language`; those of whisper-beam have all
            columns.
        n_windows: number of decoded windows of at most 30 s.
    """

    rows: list[Row]
    n_windows: int

    @property
    def texts(self) -> dict[str, str]:
        """Texts by path."""
        return {row["uri"]: row["text"] for row in self.rows}


def run_ours(model: str, paths: Iterable[Path], options: Sequence[str]) -> Transcripts:
    """Runs whisper-beam's whole pipeline in its own process, with these options."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder, "clips.txt")
        manifest.write_text("".join(f"{path}\n" for path in paths))
        command = [sys.executable, "-m", "pipelines.transcribe", "--input", str(manifest), "--model", model]
        command += ["--output", f"{folder}/out", "--format", "jsonl", *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        rows = [
            json.loads(line)
            for part in sorted(Path(folder, "out", "jsonl").glob("*.jsonl"))
            for line in part.read_text().splitlines()
        ]
        counts = json.loads(Path(folder, "out", "run.json").read_text())["counts"]
    return Transcripts(rows, counts["windows"])


def run_faster_whisper(
    model: str, paths: Iterable[Path], compute_type: str, *, batched: bool, **options: object
) -> Transcripts:
    """Runs faster-whisper in this process, with its defaults except for `options`, file by file."""
    from faster_whisper import WhisperModel

    with ctranslate2_folder(find_checkpoint(model)) as folder:
        whisper = WhisperModel(str(folder), device="cpu", compute_type=compute_type)
    return Transcripts(*transcribe(whisper, map(str, paths), batched=batched, **options))
