"""Cost of a manifest that names many short parts of a long file, in place and over HTTP.

    python -m benchmarks.parts
    python -m benchmarks.parts --formats MP3 --minutes 60 --seconds 5 --shuffle

Writes a recording in each format to a temporary folder, and a manifest of its parts, one behind the other, as
NeMo has them. The pipeline then runs on the manifest with the local runner and a model that does no work;
each run is a process of its own. For HTTP, a server in the process of this program answers each request after
`--latency` seconds. Prints a table: the seconds of the whole run, those of reading, the downloads, and the
peak memory.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import perf_counter

from benchmarks.seeking import FORMATS, write
from benchmarks.support.null_model import NULL_BACKEND
from benchmarks.support.processes import peak_mb, run_measured
from benchmarks.support.timing import markdown_head, markdown_row
from pipelines.command_line import parse
from pipelines.run import transcribe

COLUMNS = ("file", "parts", "whole, s", "reading, s", "downloads", "memory, MB")


class SlowServer(ThreadingHTTPServer):
    """Serves a folder, each file after a time of waiting; counts the answers.

    Attributes:
        latency_s: seconds before an answer.
        n_answers: answers so far.
    """

    def __init__(self, folder: Path, latency_s: float) -> None:
        super().__init__(("127.0.0.1", 0), partial(_SlowHandler, directory=str(folder)))
        self.latency_s, self.n_answers = latency_s, 0

    @property
    def url(self) -> str:
        """The URL of the folder."""
        return f"http://127.0.0.1:{self.server_port}"


class _SlowHandler(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, SlowServer)
        self.server.n_answers += 1
        time.sleep(self.server.latency_s)
        super().do_GET()

    def log_message(self, *_: object) -> None:
        """Logs nothing."""


@contextmanager
def serving(folder: Path, latency_s: float) -> Iterator[SlowServer]:
    """Serves a folder in threads."""
    with SlowServer(folder, latency_s) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def write_manifest(path: Path, uri: str, n_parts: int, part_s: float, *, shuffle: bool) -> None:
    """Writes a manifest of parts that follow each other, as NeMo has it."""
    lines = [
        json.dumps({"audio_filepath": uri, "offset": part_s * number, "duration": part_s})
        for number in range(n_parts)
    ]
    if shuffle:
        random.Random(0).shuffle(lines)
    path.write_text("\n".join(lines) + "\n")


def measure(flags: Sequence[str]) -> None:
    """Runs the pipeline once in this process; prints its figures as JSON."""
    options, beam_args = parse(list(flags))
    started = perf_counter()
    transcribe(options, beam_args, NULL_BACKEND)
    report = json.loads((Path(options.output) / "run.json").read_text())
    figures = {
        "wall_s": perf_counter() - started,
        "read_s": report["stage_s"]["read"],
        "parts": report["counts"]["transcribed"],
        "peak_mb": peak_mb(),
    }
    print(json.dumps(figures))


def row_of(name: str, manifest: Path, output: Path, server: SlowServer | None) -> list[str]:
    """Runs the pipeline in a separate process; returns the cells of `COLUMNS`."""
    before = 0 if server is None else server.n_answers
    flags = ["--input", str(manifest), "--output", str(output), "--format", "jsonl", "--allow_private_hosts"]
    done = run_measured([sys.executable, "-m", "benchmarks.parts", "--measure", *flags])
    found = json.loads(done.stdout.splitlines()[-1])
    cells = [name, f"{found['parts']}", f"{found['wall_s']:.1f}", f"{found['read_s']:.1f}"]
    n_downloads = "" if server is None else str(server.n_answers - before)
    return [*cells, n_downloads, f"{found['peak_mb']:.0f}"]


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--formats", nargs="+", default=[form.name for form in FORMATS])
    parser.add_argument("--minutes", type=int, default=60, help="minutes of each file")
    parser.add_argument("--seconds", type=float, default=5.0, help="seconds of each part")
    parser.add_argument("--latency", type=float, default=0.3, help="seconds before an answer")
    parser.add_argument("--places", nargs="+", choices=("file", "http"), default=["file", "http"])
    parser.add_argument("--shuffle", action="store_true", help="write the parts in a random order")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)  # a child of this one
    args, flags = parser.parse_known_args()
    if args.measure:
        measure(flags)
        return
    n_parts = int(60 * args.minutes // args.seconds)
    print(markdown_head(COLUMNS), flush=True)
    with tempfile.TemporaryDirectory() as name, serving(Path(name), args.latency) as server:
        folder = Path(name)
        for form in (form for form in FORMATS if form.name in args.formats):
            audio = folder / form.container
            write(audio, form, args.minutes)
            for place in args.places:
                uri, used = (str(audio), None) if place == "file" else (f"{server.url}/{audio.name}", server)
                manifest, output = folder / f"{form.container}.jsonl", folder / f"{form.container}-{place}"
                write_manifest(manifest, uri, n_parts, args.seconds, shuffle=args.shuffle)
                print(markdown_row(row_of(f"{form.name}, {place}", manifest, output, used)), flush=True)


if __name__ == "__main__":
    main()
