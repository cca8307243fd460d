"""Times of the log-mel, the encoder and the cross-attention's keys and values, by length of the audio.

    taskset -c 0 python -m benchmarks.encoder
    python -m benchmarks.encoder --quantization bf16-a8 a8 --seconds 30 12 6

Whisper-base with random weights, one window a call; milliseconds, medians. "All" is one program from samples
to keys and values, as the model runs it: one call alone, and the time of a window with two calls at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import jax
import numpy as np

from benchmarks.support.cpu import describe_machine
from benchmarks.support.network_parts import AudioParts
from benchmarks.support.timing import markdown_head, markdown_row, time_jax
from model.arithmetic import Arithmetic
from model.config import WhisperConfig
from model.interface import SAMPLE_RATE
from model.precision import Precision

BASE = WhisperConfig(80, 512, 2048, 6, 8, 6, 8, 51_865)
_N_CALLS = 8  # of each of two threads


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quantization", nargs="+", default=["bf16-a8"], choices=sorted(Arithmetic))
    parser.add_argument("--seconds", nargs="+", type=float, default=[30, 20, 12, 9, 6, 2])
    args = parser.parse_args()
    print(f"{describe_machine()}\n")
    columns = ["arithmetic", "seconds", "log-mel", "encoder", "keys and values", "all", "all, two calls"]
    print(markdown_head(columns))
    for quantization in args.quantization:
        parts = AudioParts(BASE, Precision(np.dtype(np.float32), Arithmetic(quantization)))
        for seconds in args.seconds:
            n_samples = round(seconds * SAMPLE_RATE)
            program = parts.audio_program(n_samples)
            times = [
                parts.mel_s(1, n_samples),
                parts.encoder_s(1, n_samples),
                parts.cross_kv_s(1, n_samples),
                time_jax(program).median,
                two_at_once_s(program),
            ]
            cells = (f"{1000 * one:.1f}" for one in times)
            print(markdown_row([quantization, f"{seconds:g}", *cells]), flush=True)


def two_at_once_s(program: Callable[[], object]) -> float:
    """Returns the seconds for each call of two threads that call the program at the same time."""

    def call() -> None:
        for _ in range(_N_CALLS):
            jax.block_until_ready(program())

    with ThreadPoolExecutor(2) as threads:
        started = perf_counter()
        for call_result in [threads.submit(call) for _ in range(2)]:
            call_result.result()
        return (perf_counter() - started) / (2 * _N_CALLS)


if __name__ == "__main__":
    main()
