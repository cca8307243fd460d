"""Program that transcribes recordings with faster-whisper in its own process, for `benchmarks.speed`.

    python -m benchmarks.rivals.faster_whisper_program --folder MODEL --batch_size 8 RECORDING ...

It decodes greedily, in English, without fallback, and otherwise with its defaults; sequentially for
`--batch_size 0`. With `--defaults` only the language is given. With `--processes`, several processes share
the recordings and the cores. Prints rows and times as JSON: `load_s` from the start of the program until the
(first) model is loaded, `transcribe_s` from there to the end.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

Row = dict[str, Any]
DEFAULTS: dict[str, Any] = {"language": "en"}
GREEDY: dict[str, Any] = {**DEFAULTS, "beam_size": 1, "temperature": 0.0}
_STARTED = perf_counter()


def main() -> None:
    """Prints `{"rows": [...], "n_windows": ..., "load_s": ..., "transcribe_s": ...}`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recordings", nargs="+")
    parser.add_argument("--folder", required=True, help="folder of a model in CTranslate2's format")
    parser.add_argument("--compute_type", default="int8")
    parser.add_argument("--batch_size", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--defaults", action="store_true")
    args = parser.parse_args()
    shares = [args.recordings[i :: args.processes] for i in range(args.processes)]
    threads = max(1, len(os.sched_getaffinity(0)) // args.processes)
    options = DEFAULTS if args.defaults else GREEDY
    work = [(share, args.folder, args.compute_type, args.batch_size, threads, options) for share in shares]
    if args.processes == 1:
        done = [_run(*work[0])]
    else:
        with ProcessPoolExecutor(args.processes, multiprocessing.get_context("spawn")) as pool:
            done = list(pool.map(_run, *zip(*work, strict=True)))
    ready = min(at for _, _, at in done)
    print(
        json.dumps(
            {
                "rows": [row for rows, _, _ in done for row in rows],
                "n_windows": sum(n for _, n, _ in done),
                "load_s": ready - _STARTED,
                "transcribe_s": perf_counter() - ready,
            }
        )
    )


def _run(
    recordings: Sequence[str],
    folder: str,
    compute_type: str,
    batch_size: int,
    threads: int,
    options: dict[str, Any],
) -> tuple[list[Row], int, float]:
    """Returns rows, the number of windows, and the time when the model was loaded, by the system's clock."""
    from faster_whisper import WhisperModel
    from faster_whisper.vad import get_vad_model

    whisper = WhisperModel(folder, device="cpu", compute_type=compute_type, cpu_threads=threads)
    get_vad_model()  # cached by the library; loading it here keeps it out of the measured time
    ready = perf_counter()
    if batch_size:
        options = {**options, "batch_size": batch_size}
    elif options != DEFAULTS:  # shorter prompts: faster, and less repetition
        options = {**options, "condition_on_previous_text": False}
    return *transcribe(whisper, recordings, batched=bool(batch_size), **options), ready


def transcribe(
    whisper: WhisperModel, recordings: Iterable[str], *, batched: bool, **options: object
) -> tuple[list[Row], int]:
    """Returns rows with `uri`, `text` and `language`, one per recording, and the number of windows."""
    from faster_whisper import BatchedInferencePipeline

    rows = []
    system = BatchedInferencePipeline(whisper) if batched else whisper
    sizes = _counted(system, "forward", len) if batched else _counted(system, "generate_with_fallback")
    for recording in recordings:
        segments, info = system.transcribe(recording, **options)
        text = "".join(segment.text for segment in segments).strip()
        rows.append({"uri": recording, "text": text, "language": info.language})
    return rows, sum(sizes)


def _counted(system: Any, name: str, size: Callable[[Any], int] = lambda _: 1) -> list[int]:  # noqa: ANN401
    """Returns a list to which each call of the method appends the size of its first argument."""
    sizes: list[int] = []
    method = getattr(system, name)

    def call(first: Any, *rest: Any) -> Any:  # noqa: ANN401  # the library has no types
        sizes.append(size(first))
        return method(first, *rest)

    setattr(system, name, call)
    return sizes


if __name__ == "__main__":
    main()
