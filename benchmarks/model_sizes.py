"""Time and memory of each size of Whisper: on the processor of this machine measured, on cards computed.

    python -m benchmarks.model_sizes
    python -m benchmarks.model_sizes --shapes base small --quantizations bf16-a8 none

On the processor, each size runs in a process of its own, with random weights: windows of 30 s of noise, in
batches of 8 with 100 tokens each, greedy, one batch at a time. "Times real time" is that of windows full of
speech, without reading and voice activity detection. The memory is the resident set after a batch.

On cards it is a bound: the encoder and each step of the decoder take at least as long as computing at the
peak rate, or reading the weights and caches at the peak rate of the memory, whichever is longer
(`benchmarks/support/costs.py`). The rates are those of the data sheets, without sparsity.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from time import process_time

from benchmarks.accelerator import WINDOW_S, Limits, noise, time_batch
from benchmarks.support.costs import decode_costs, encode_cost, min_s
from benchmarks.support.cpu import describe_machine
from benchmarks.support.random_model import SHAPES, fixed_length_rules, random_checkpoint
from benchmarks.support.timing import markdown_head, markdown_row
from model.cache_sizes import MAX_PREFIX
from model.config import WhisperConfig
from model.interface import QUANTIZATIONS, ModelOptions
from model.memory import MemoryModel, number_sizes

N_TOKENS = 100
CARDS: Mapping[str, Limits] = {
    "T4": Limits(65e12, 320e9),
    "L4": Limits(121e12, 300e9),
    "A100 80 GB": Limits(312e12, 2039e9),
    "H100": Limits(989e12, 3350e9),
    "H200": Limits(989e12, 4800e9),
}
"""Operations a second in float16 with float32 sums, and bytes of memory a second."""


def main() -> None:
    """Prints two tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    shapes = [name for name in SHAPES if name != "smallest"]
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=shapes)
    parser.add_argument("--quantizations", nargs="+", choices=QUANTIZATIONS, default=["auto", "none"])
    parser.add_argument("--rows", type=int, default=8, help="windows of a batch on the processor")
    parser.add_argument("--card_rows", type=int, default=32, help="the same on cards")
    parser.add_argument("--child", help=argparse.SUPPRESS)  # a child process of this one
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measured(args.shapes[0], args.quantizations[0], args.rows)))
        return
    print(f"{describe_machine()}\n")
    columns = ("weights, GB", "memory, GB", "window, s", "CPU s a window", "times real time")
    print(markdown_head(["size", "quantization", *columns]))
    for shape in args.shapes:
        for quantization in args.quantizations:
            print(processor_row(shape, quantization, args.rows), flush=True)
    print(f"\n{markdown_head(['size', 'weights in float16, GB', *CARDS])}")
    for shape in args.shapes:
        speeds = (f"{card_speed(SHAPES[shape], args.card_rows, card):.0f}" for card in CARDS.values())
        print(markdown_row([shape, f"{weights_gb(SHAPES[shape], 'float16', 'none'):.2f}", *speeds]))


def processor_row(shape: str, quantization: str, n_rows: int) -> str:
    """Measures a size in another process; returns its row of the table."""
    command = [sys.executable, "-m", "benchmarks.model_sizes", "--child", "child", "--shapes", shape]
    command += ["--quantizations", quantization, "--rows", str(n_rows)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    weights = weights_gb(SHAPES[shape], "float32", found["arithmetic"])
    costs = (f"{weights:.2f}", f"{found['gb']:.1f}", f"{found['s']:.2f}", f"{found['cpu_s']:.2f}")
    return markdown_row([shape, found["arithmetic"], *costs, f"{WINDOW_S / found['s']:.1f}"])


def measured(shape: str, quantization: str, n_rows: int) -> dict[str, float | str]:
    """Times batches of a size in this process; seconds are those of one window."""
    from model.programs import Programs
    from model.sharding import make_mesh
    from model.transcriber import precision_of

    rules, mesh = fixed_length_rules(N_TOKENS), make_mesh()
    precision = precision_of(ModelOptions(quantization=quantization), mesh, SHAPES[shape])
    programs, samples = Programs(random_checkpoint(shape), rules, precision, mesh), noise(n_rows)
    time_batch(programs, samples, rules, repeat=1)  # compiles
    started = process_time()
    times = time_batch(programs, samples, rules, repeat=1)
    cpu_s = (process_time() - started) / 2
    return {
        "arithmetic": precision.arithmetic.value,
        "s": times.total_s / n_rows,
        "cpu_s": cpu_s / n_rows,
        "gb": resident_gb(),
    }


def resident_gb() -> float:
    """Returns the resident set of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("VmRSS"))
    return int(kilobytes) * 1024 / 1e9


def weights_gb(config: WhisperConfig, dtype: str, arithmetic: str) -> float:
    """Returns the size of all weights."""
    return MemoryModel(config, number_sizes(dtype, arithmetic)).weights() / 1e9


def card_speed(config: WhisperConfig, n_rows: int, limits: Limits) -> float:
    """Returns the largest possible speed on a card, in times real time."""
    steps = decode_costs(config, n_rows, MAX_PREFIX, N_TOKENS)
    return n_rows * WINDOW_S / min_s([encode_cost(config, n_rows), *steps], *limits)


if __name__ == "__main__":
    main()
