"""Speed of whisper-beam on a GPU, compared with Hugging Face's and with the limits of the GPU.

    python -m benchmarks.accelerator
    python -m benchmarks.accelerator --torch_python ../torch/bin/python    # a Python with torch for the GPU
    python -m benchmarks.accelerator --shapes smallest --batch_sizes 2 4        # to test the program on a CPU

The models have the sizes of large-v3-turbo and large-v3, and seeded random weights; every window is 30 s of
noise and gets exactly `--n_tokens` tokens. whisper-beam is timed from samples on the host to ids on the host,
in `--dtype`, with the attention that it chooses for the device. Hugging Face's
(`WhisperForConditionalGeneration`, scaled dot-product attention, bfloat16, batches of 24, a model of the same
config, the same number of tokens) is timed from features on the GPU to ids, without the log-mel, which is
shown separately. All times are medians of `--repeat` calls, after one warm-up call.

The limit is computed in `benchmarks/support/costs.py`: for the encoder and each step of the decoder, the
longer of computing at the rate of a large product of bfloat16 matrices and of reading memory at the rate of a
copy. Both rates are measured first. Models that fit into a cache (`smallest`) may exceed the limit.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.rivals.huggingface import generation_config, missing_packages, transformers_config
from benchmarks.support.costs import decode_costs, encode_cost, min_s
from benchmarks.support.processes import isolated_command
from benchmarks.support.random_model import (
    SHAPES,
    expected_tokens,
    fixed_length_rules,
    random_checkpoint,
    special_tokens,
)
from benchmarks.support.timing import Spread, markdown_head, markdown_row, time_jax
from model.cache_sizes import MAX_PREFIX
from model.config import N_POSITIONS, DecodingConfig, WhisperConfig
from model.decoder import CrossKV
from model.interface import SAMPLE_RATE, WINDOW_SAMPLES, ModelOptions
from model.method_programs import SAMPLING, BatchKind, EncodedWindow, empty_input
from model.programs import Programs
from model.rows import RowInput, Written
from model.rules import DecodingRules
from model.sharding import make_mesh
from model.transcriber import precision_of

WINDOW_S = WINDOW_SAMPLES / SAMPLE_RATE
COLUMNS = (
    *("system", "batch", "encode, s", "decode, s", "windows a second", "times real time"),
    *("encoder: of the peak", "decoder: of its limit", "of the limit"),
)


class Limits(NamedTuple):
    """Limits of the GPU: bfloat16 operations and bytes of memory per second."""

    flops: float
    n_bytes: float


class Times(NamedTuple):
    """Seconds of a batch: from samples to the cross-attention K/V cache, and from there to ids."""

    encode: Spread
    decode: Spread

    @property
    def total_s(self) -> float:
        """Sum of the medians of both."""
        return self.encode.median + self.decode.median


def main() -> None:
    """Prints tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["large-v3-turbo", "large-v3"])
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[16, 24, 32, 64, 96, 128])
    parser.add_argument("--n_tokens", type=int, default=100)
    parser.add_argument("--dtype", choices=("float16", "bfloat16"), default="float16", help="of whisper-beam")
    parser.add_argument("--quantization", choices=("none", "w8"), default="none", help="of whisper-beam")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--torch_python", type=Path, help="a Python with torch and transformers")
    parser.add_argument("--torch_batch_size", type=int, default=24)
    args = parser.parse_args()
    # Hugging Face's first, as JAX allocates most of the GPU's memory on its first use.
    theirs = {shape: huggingface_times(args, shape) for shape in args.shapes}
    limits = measure_limits()
    device = jax.devices()[0]
    print(f"{device.device_kind} ({device.platform}), jax {jax.__version__}: ", end="")
    print(f"{limits.flops / 1e12:.3g} TFLOP/s in bfloat16, {limits.n_bytes / 1e9:.4g} GB/s", flush=True)
    for shape in args.shapes:
        print(f"\n## {shape}, {args.n_tokens} tokens a window\n\n{markdown_head(COLUMNS)}", flush=True)
        own = {}
        for batch, times in our_times(shape, args):
            own[batch] = times
            print(own_row(SHAPES[shape], batch, args.n_tokens, times, limits), flush=True)
        print(their_lines(theirs[shape], args.torch_batch_size, own), flush=True)


def measure_limits() -> Limits:
    """Measures the rates of a large matrix product, and of a copy within the device's memory."""
    on_cpu = jax.default_backend() == "cpu"
    side, length = (1024, 2**24) if on_cpu else (8192, 2**30)
    matrix = jnp.ones((side, side), jnp.bfloat16)
    array = jnp.zeros(length, jnp.bfloat16)
    dot, copy = jax.jit(jnp.matmul), jax.jit(lambda x: x + 1)
    return Limits(
        2 * side**3 / time_jax(lambda: dot(matrix, matrix)).fastest,
        2 * array.nbytes / time_jax(lambda: copy(array)).fastest,
    )


def our_times(shape: str, args: argparse.Namespace) -> Iterator[tuple[int, Times]]:
    """Yields the times of whisper-beam by batch size, up to the largest that fits into memory."""
    rules = fixed_length_rules(args.n_tokens)
    options = ModelOptions(dtype=args.dtype, quantization=args.quantization)
    mesh = make_mesh()
    precision = precision_of(options, mesh, SHAPES[shape])
    print(f"{precision.dtype}, attention {precision.attention}", file=sys.stderr)
    programs = Programs(random_checkpoint(shape), rules, precision, mesh)
    for batch in args.batch_sizes:
        samples = noise(batch)
        try:
            times = time_batch(programs, samples, rules, args.repeat)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            print(f"batches of {batch} and above do not fit in memory", file=sys.stderr)
            return
        yield batch, times


def greedy_input(rules: DecodingRules) -> RowInput:
    """Returns the input of greedy decoding of 30 s, without previous text and without timestamps."""
    special = rules.special
    prefix = [
        special.start_of_transcript,
        rules.language_ids[0],
        special.transcribe,
        special.no_timestamps,
    ]
    return empty_input(0, rules)._replace(
        prefix=jnp.asarray(prefix, jnp.int32),
        n_prefix=jnp.int32(MAX_PREFIX),
        n_positions=jnp.int32(N_POSITIONS),
    )


def decoded(programs: Programs, cross_kv: CrossKV, rules: DecodingRules) -> Written:
    """Decodes all windows of a cross-attention K/V cache greedily, in a batch of as many rows."""
    n_rows, kind = len(jax.tree.leaves(cross_kv)[0]), BatchKind(WINDOW_SAMPLES, 0, SAMPLING)
    batch, given = programs.empty(kind, n_rows, cross_kv), greedy_input(rules)
    for row in range(n_rows):
        batch = programs.insert(kind, batch, EncodedWindow(cross_kv, row), row, given)
    _, written = programs.advance(kind, batch, max_active=0, max_steps=MAX_PREFIX + rules.max_new_tokens)
    return written


def noise(batch: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Returns windows of seeded noise, float32[batch, 480000]."""
    return 0.1 * np.random.default_rng(0).standard_normal((batch, WINDOW_SAMPLES), np.float32)


def time_batch(
    programs: Programs,
    samples: np.ndarray[tuple[int, int], np.dtype[np.float32]],
    rules: DecodingRules,
    repeat: int,
) -> Times:
    """Encodes and decodes a batch `repeat` times, after one warm-up.

    Raises:
        RuntimeError: the tokens are not the expected ones, so that the times would be meaningless.
    """
    encode, decode, expected = [], [], expected_tokens(rules)
    for _ in range(repeat + 1):
        started = perf_counter()
        cross_kv = jax.block_until_ready(programs.cross_kv(samples))
        encoded = perf_counter()
        tokens = decoded(programs, cross_kv, rules).tokens
        encode.append(encoded - started)
        decode.append(perf_counter() - encoded)
        if not (tokens == expected).all():
            raise RuntimeError(f"the tokens are {tokens[0][:8]}..., expected {expected[:8]}...")
    return Times(Spread.of(encode[1:]), Spread.of(decode[1:]))


def own_row(config: WhisperConfig, batch: int, n_tokens: int, times: Times, limits: Limits) -> str:
    """Returns whisper-beam's row of the table."""
    encoding = [encode_cost(config, batch)]
    decoding = decode_costs(config, batch, MAX_PREFIX, n_tokens)
    least_encode_s, least_decode_s = min_s(encoding, *limits), min_s(decoding, *limits)
    rate = batch / times.total_s
    return markdown_row(
        [
            *("whisper-beam", batch, times.encode, times.decode, f"{rate:.1f}", f"{rate * WINDOW_S:.0f}"),
            f"{encoding[0].flops / times.encode.median / limits.flops:.1%}",
            f"{least_decode_s / times.decode.median:.1%}",
            f"{(least_encode_s + least_decode_s) / times.total_s:.1%}",
        ]
    )


def huggingface_times(args: argparse.Namespace, shape: str) -> Mapping[str, Sequence[float]] | str:
    """Returns seconds of `features` and `generate` of Hugging Face's for a batch, or why they are missing."""
    if args.torch_python is None:
        return "no --torch_python was given"
    missing = missing_packages(args.torch_python, ("torch", "transformers"))
    if missing:
        return f"{args.torch_python} lacks {', '.join(missing)}"
    special, config = special_tokens(), SHAPES[shape]
    with TemporaryDirectory() as folder:
        files = {
            "config.json": transformers_config(config, special),
            "generation_config.json": generation_config(DecodingConfig(), special),
        }
        for name, values in files.items():
            Path(folder, name).write_text(json.dumps(values))
        program = Path(__file__).with_name("rivals") / "huggingface_accelerator_program.py"
        command = [*isolated_command(args.torch_python, program), folder]
        command += ["--batch_size", str(args.torch_batch_size)]
        command += ["--n_tokens", str(args.n_tokens), "--repeat", str(args.repeat)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    times: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return times


def their_lines(theirs: Mapping[str, Sequence[float]] | str, batch: int, own: Mapping[int, Times]) -> str:
    """Returns the row of Hugging Face's, and the comparison with whisper-beam."""
    if isinstance(theirs, str):
        return f"\nHugging Face's was not measured: {theirs}."
    features, generate = Spread.of(theirs["features"]), Spread.of(theirs["generate"])
    rate = batch / generate.median
    cells = ["Hugging Face, SDPA", batch, "", generate, f"{rate:.1f}", f"{rate * WINDOW_S:.0f}", "", "", ""]
    ratios = [f"{size / times.total_s / rate:.2f} with batches of {size}" for size, times in own.items()]
    return (
        f"{markdown_row(cells)}\n\nwhisper-beam is faster by these factors: {', '.join(ratios)}. "
        f"Their log-mel took another {features} s for a batch."
    )


if __name__ == "__main__":
    main()
