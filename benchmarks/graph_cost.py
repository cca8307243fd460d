"""Cost of the pipeline without the model, by number of recordings of a quarter of a second.

    python -m benchmarks.graph_cost --recordings 1000 10000 100000
    python -m benchmarks.graph_cost --source parquet --recordings 10000
    python -m benchmarks.graph_cost --recordings 10000 --num_shards 8

The real pipeline lists, reads, cuts windows, makes batches, commits, groups, merges, writes and reports; only
the model does no work (`benchmarks.support.null_model`). Each run is a separate process, whose peak memory is
reported. "Before" is the time until the first call of the model, "after" the time from its last call. Unknown
options are passed to the pipeline.

The corpus is a folder of links to a few files (`files`), a manifest that lists them (`manifest`), or Parquet
files with their bytes (`parquet`). "Grouped" are the bytes that pass through groupings in Beam's in-process
runner, which other runners shuffle.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tempfile
import wave
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest.mock import patch

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.runners.portability.fn_api_runner import execution

from benchmarks.support.null_model import CALLED, NULL_BACKEND
from benchmarks.support.processes import peak_mb, run_measured
from benchmarks.support.timing import markdown_head, markdown_row
from pipelines.command_line import parse
from pipelines.graph import build
from pipelines.options import TranscribeOptions
from pipelines.run import list_work, transcribe

SECONDS, RATE = 0.25, 16_000  # Hz, so that nothing is resampled
IN_FOLDER = 10_000  # files, well below ext4's limit of 65,000 links to a file
COLUMNS = (
    "recordings", "wall, s", "recordings a second", "before, s", "after, s", "CPU, s", "peak, MB",
    "graph, KB", "grouped, bytes a recording", "log, bytes a recording", "output, bytes a recording",
)  # fmt: skip


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--source", choices=CORPORA, default="files")
    parser.add_argument("--recordings", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument(
        "--folder", type=Path, help="folder of corpus and output; default: the temporary folder"
    )
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)  # a child of this one
    args, options = parser.parse_known_args()
    if args.measure:
        print(json.dumps(measure(options)))
        return
    print(markdown_head(COLUMNS), flush=True)
    for n in args.recordings:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            named = CORPORA[args.source](Path(folder), n)
            print(markdown_row(row_of(n, [*named, "--output", f"{folder}/out", *options])), flush=True)


def row_of(n: int, options: list[str]) -> list[str]:
    """Runs the pipeline in a separate process; returns the cells of `COLUMNS`.

    Args:
        n: number of recordings.
        options: options of the pipeline.
    """
    done = run_measured([sys.executable, "-m", "benchmarks.graph_cost", "--measure", *options])
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["transcribed"] == n, figures
    cells = [
        f"{n:,}",
        f"{figures['wall_s']:.1f}",
        f"{n / figures['wall_s']:.0f}",
        f"{figures['before_s']:.1f}",
    ]
    cells += [
        f"{figures['after_s']:.1f}",
        f"{done.cpu_s:.1f}",
        f"{figures['peak_mb']:.0f}",
        f"{figures['graph_kb']:.0f}",
    ]
    return cells + [f"{figures[kind] / n:.0f}" for kind in ("grouped", "log", "output")]


def measure(flags: list[str]) -> dict[str, Any]:
    """Runs the pipeline once in this process and measures it; details go to the standard error."""
    options, beam_args = parse(flags)
    graph_kb = graph_bytes(options) / 1000
    with counted_groupings() as grouped:
        started = perf_counter()
        transcribe(options, beam_args, NULL_BACKEND)
        ended = perf_counter()
    output = Path(options.output)
    report = json.loads((output / "run.json").read_text())
    print(json.dumps({"bytes": grouped, "seconds": report["stage_s"]}, indent=2), file=sys.stderr)
    log = _bytes_of(output / ".whisper-beam")
    return {
        "transcribed": report["counts"]["transcribed"],
        "wall_s": ended - started,
        "before_s": CALLED["first"] - started,
        "after_s": ended - CALLED["last"],
        "peak_mb": peak_mb(),
        "graph_kb": graph_kb,
        "grouped": sum(grouped.values()),
        "log": log,
        "output": _bytes_of(output) - log,
    }


def write_files(folder: Path, n: int) -> list[str]:
    """Writes a folder of `n` WAV files; each `IN_FOLDER` of them are links to the same file."""
    corpus = folder / "corpus"
    for number in range(n):
        inside = corpus / f"{number // IN_FOLDER:04d}"
        path = inside / f"recording-{number:08d}.wav"
        if number % IN_FOLDER == 0:
            inside.mkdir(parents=True)
            path.write_bytes(_wav(number))
            first = path
        else:
            os.link(first, path)
    return ["--input", str(corpus)]


def write_manifest(folder: Path, n: int) -> list[str]:
    """Writes the folder of `write_files`, and a manifest of it with texts."""
    write_files(folder, n)
    manifest = folder / "corpus.jsonl"
    with manifest.open("w") as file:
        for path in sorted((folder / "corpus").rglob("*.wav")):
            file.write(json.dumps({"audio": str(path), "text": "a reference transcript"}) + "\n")
    return ["--input", str(manifest)]


def write_parquet(folder: Path, n: int) -> list[str]:
    """Writes Parquet files of `IN_FOLDER` rows with embedded audio."""
    corpus = folder / "corpus"
    corpus.mkdir()
    for first in range(0, n, IN_FOLDER):
        numbers = range(first, min(first + IN_FOLDER, n))
        rows = [
            {"audio": {"bytes": _wav(number), "path": f"{number:08d}.wav"}, "text": "a reference transcript"}
            for number in numbers
        ]
        pq.write_table(pa.Table.from_pylist(rows), corpus / f"train-{first // IN_FOLDER:05d}.parquet")
    return ["--dataset", str(corpus)]


CORPORA: dict[str, Callable[[Path, int], list[str]]] = {
    "files": write_files,
    "manifest": write_manifest,
    "parquet": write_parquet,
}
"""Functions that write a corpus of `n` recordings to a folder and return the options that name it."""


def graph_bytes(options: TranscribeOptions) -> int:
    """Returns the size of the job graph as submitted to a remote runner."""
    pipeline = beam.Pipeline(runner="DirectRunner")
    build(pipeline, list_work(options), options, "en", ["en"], NULL_BACKEND)
    return len(pipeline.to_runner_api().SerializeToString())


@contextmanager
def counted_groupings() -> Iterator[Counter[str]]:
    """Counts the bytes that pass through each grouping of Beam's in-process runner until the block ends."""
    total: Counter[str] = Counter()
    names: dict[int, str] = {}
    runner, grouping = execution.BundleContextManager, execution.GroupingBuffer
    get_buffer, append = runner.get_buffer, grouping.append

    def named(self: Any, buffer_id: bytes, transform_id: str) -> Any:  # noqa: ANN401  # Beam's
        buffer = get_buffer(self, buffer_id, transform_id)
        names[id(buffer)] = str(buffer_id)
        return buffer

    def counted(self: Any, elements: bytes) -> None:  # noqa: ANN401  # Beam's
        total[names[id(self)]] += len(elements)
        append(self, elements)

    with patch.object(runner, "get_buffer", named), patch.object(grouping, "append", counted):
        yield total


def _wav(seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(-3000, 3000, round(SECONDS * RATE), np.int16)
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(noise.tobytes())
    return content.getvalue()


def _bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
