"""Profile of a run: the time of each part, compared with the limits of the machine.

    python -m benchmarks.profile --recording ../shared/data/long/lj001.flac --model openai/whisper-base
    python -m benchmarks.profile --recording joined.flac --quantization none --batch_size 16

Unknown options are passed to the pipeline; by default it decodes greedily, in English, without fallback.

The recording is transcribed twice in this process, and the second run is measured. The network is given 30 s
of each window (`--full_windows`), so that all windows take the same time. Parts from the "run" come from
`stage_s` of its run.json, and from the instrumented model and detector. Parts of the network are timed
"separately", each compiled by itself, and multiplied by the windows and steps of the run; the steps are
computed from the tokens, where each window takes the first row that is free. The remaining time of the model
is a line of its own (prompts, moving windows to their rows, copies to and from the device, text from ids). It
is negative where programs are loaded while the device computes, which a long recording hides. Seconds of
several workers are added; where they overlap in time, the last part is negative.

The minimum seconds are the costs of `benchmarks/support/costs.py`, at rates measured as in
`benchmarks/machine.py`: of the arithmetic in use for the product of the encoder's MLP, and of reading memory.
"""

from __future__ import annotations

import argparse
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax

from benchmarks import machine
from benchmarks.support import costs
from benchmarks.support.cpu import describe_machine
from benchmarks.support.loop_steps import loop_steps
from benchmarks.support.network_parts import NetworkParts
from benchmarks.support.recording_backend import BACKEND, LOG_VARIABLE
from benchmarks.support.speed_systems import GREEDY
from benchmarks.support.timing import markdown_head, markdown_row
from model.alignment_heads import heads_of
from model.arithmetic import Arithmetic
from model.checkpoint import find_checkpoint
from model.config import WhisperConfig
from model.interface import ModelOptions
from model.memory import MIN_ROWS
from model.option_fields import select_options
from model.precision import Precision
from model.rules import make_rules
from model.tokens import WhisperTokenizer
from model.transcriber import load_transcriber
from pipelines.command_line import parse
from pipelines.options import TranscribeOptions
from pipelines.transcribe import main as transcribe


@dataclass(frozen=True)
class Part:
    """A line of the table.

    Attributes:
        name: name of the part.
        seconds: measured seconds.
        source: how they were measured.
        min_s: lower bound on this machine; None if it was not computed.
    """

    name: str
    seconds: float
    source: str
    min_s: float | None = None


@dataclass(frozen=True)
class InstrumentedRun:
    """Measurements of a run.

    Attributes:
        report: content of its run.json.
        model_s: seconds of all batches.
        compile_s: seconds of these spent on tracing and compiling programs, or on loading compiled ones.
        detector_s: seconds of voice activity detection.
        batches: generated tokens of each window of each batch.
    """

    report: Mapping[str, Any]
    model_s: float
    compile_s: float
    detector_s: float
    batches: Sequence[Sequence[int]]

    @property
    def n_windows(self) -> int:
        """Number of windows passed to the model."""
        return sum(map(len, self.batches))


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--recording", type=Path, required=True)
    args, others = parser.parse_known_args()
    given = ["--input", str(args.recording), *GREEDY, "--full_windows", *others]
    instrumented_run(given)
    run = instrumented_run(given)
    options, _ = parse([*given, "--output", "unused"])
    transcriber = load_transcriber(select_options(options, ModelOptions))
    options = replace(
        options,
        batch_size=transcriber.batch_size,
        parallel_batches=transcriber.max_concurrent_calls,
    )
    precision = transcriber.precision
    parts = list(all_parts(run, options, precision))
    wall_s = run.report["wall_s"]
    print(f"{describe_machine()}\n")
    print(f"{options.model}, {precision.arithmetic}, activations {precision.dtype}; {args.recording.name}, ")
    print(f"{3600 * run.report['audio_hours']:.0f} s, {run.n_windows} windows, ", end="")
    print(f"{sum(map(sum, run.batches))} tokens.\n")
    print(markdown_head(["what", "seconds", "% of the run", "measured", "minimum, s", "of the minimum"]))
    for measured in [*parts, Part("the whole run", wall_s, "run")]:
        cells = [
            measured.name,
            f"{measured.seconds:.3f}",
            f"{100 * measured.seconds / wall_s:.1f}",
            measured.source,
        ]
        minimum = ["", ""]
        if measured.min_s is not None:
            minimum = [f"{measured.min_s:.3f}", f"{measured.seconds / measured.min_s:.1f} times"]
        print(markdown_row([*cells, *minimum]))


def instrumented_run(options: Sequence[str]) -> InstrumentedRun:
    """Runs the pipeline in this process with the instrumented backend.

    Raises:
        RuntimeError: it did not transcribe everything; its messages say why.
    """
    with TemporaryDirectory() as folder:
        log, output = Path(folder, "notes.jsonl"), Path(folder, "out")
        os.environ[LOG_VARIABLE] = str(log)
        with redirect_stdout(io.StringIO()):  # hides the transcript
            code = transcribe([*options, "--output", str(output)], BACKEND)
        if code:
            raise RuntimeError(f"the run with {' '.join(options)} did not transcribe everything")
        report = json.loads((output / "run.json").read_text())
        lines = [json.loads(line) for line in log.read_text().splitlines()]
    batches = [line for line in lines if "n_tokens" in line]
    return InstrumentedRun(
        report,
        sum(line["model_s"] for line in batches),
        sum(line["compile_s"] for line in batches),
        sum(line.get("detector_s", 0.0) for line in lines),
        [line["n_tokens"] for line in batches],
    )


def all_parts(run: InstrumentedRun, options: TranscribeOptions, precision: Precision) -> Iterator[Part]:
    """Yields all parts of a run."""
    stage_s = run.report["stage_s"]
    yield Part("load: weights to the device", stage_s["load"], "run")
    yield Part("read: fetch, decode, resample, cut", stage_s["read"] - run.detector_s, "run")
    yield Part("voice activity", run.detector_s, "run")
    yield Part("compiled programs, loaded on first use", run.compile_s, "run")
    timed_parts = list(model_parts(run, options, precision))
    yield from timed_parts
    explained_s = run.compile_s + sum(one.seconds for one in timed_parts)
    yield Part("the rest of the model", run.model_s - explained_s, "run, less the separate parts")
    yield Part("around the model: requests, filters", stage_s["model"] - run.model_s, "run")
    yield Part("merge", stage_s["merge"], "run")
    yield Part("write", stage_s["write"], "run")
    yield Part("Beam and all else", run.report["wall_s"] - sum(stage_s.values()), "run")


def model_parts(run: InstrumentedRun, options: TranscribeOptions, precision: Precision) -> Iterator[Part]:
    """Yields the parts of the model, each timed separately."""
    checkpoint = find_checkpoint(options.model)
    config = checkpoint.config
    special = WhisperTokenizer(checkpoint.tokenizer, checkpoint.decoding, config.n_vocab).special
    rules = make_rules(
        special,
        checkpoint.decoding,
        select_options(options, ModelOptions),
        multilingual=special.is_multilingual,
    )
    timestamps = options.return_timestamps
    network_parts = NetworkParts(config, precision, rules, timestamps=timestamps)
    rates = machine_rates(precision)
    at_once = 1 if jax.default_backend() == "cpu" else options.batch_size
    each = run.n_windows / at_once
    encoder = costs.Cost(at_once * costs.encoder_flops(config), 0)
    cross_kv = costs.Cost(at_once * costs.cross_kv_flops(config), 0)
    yield Part("log-mel", each * network_parts.mel_s(at_once), "separately")
    yield Part("encoder", each * network_parts.encoder_s(at_once), "separately", each * encoder.min_s(*rates))
    seconds = each * network_parts.cross_kv_s(at_once)
    yield Part("cross-attention: keys and values", seconds, "separately", each * cross_kv.min_s(*rates))
    rows, n_tokens = max(options.batch_size, MIN_ROWS), list(chain.from_iterable(run.batches))
    n_prefix = rules.n_prefix(timestamps=timestamps) - 1  # the last token of it yields the first one
    n_steps = loop_steps(n_tokens, rows, options.parallel_batches, n_prefix=n_prefix)
    yield from step_parts(network_parts, {rows: n_steps}, config, precision, rates)
    if options.word_timestamps:
        heads = heads_of(
            config, checkpoint.decoding, multilingual=special.is_multilingual, name=checkpoint.name
        )
        yield Part("align", network_parts.align_s(heads) * run.n_windows, "separately")


def step_parts(
    network_parts: NetworkParts,
    steps: Mapping[int, int],
    config: WhisperConfig,
    precision: Precision,
    rates: tuple[float, float],
) -> Iterator[Part]:
    """Yields the parts of decoding, given the number of steps by rows of the batch."""
    sizes = sorted(steps, reverse=True)
    step_s = {rows: network_parts.step_s(rows) for rows in sizes}
    head_s = {rows: network_parts.logits_s(rows) for rows in sizes}
    rules_s = {rows: network_parts.rules_s(rows) for rows in sizes}
    n_attended = 40  # tokens, about half of a window's: few compared with the 1,500 positions of the audio
    width = precision.matrix_dtype.itemsize
    kv_width = 1 if precision.has_quantized_kv else precision.dtype.itemsize
    costs_of = {rows: costs.step_cost(config, rows, n_attended, width, kv_width) for rows in sizes}
    logits = {rows: costs.logits_cost(config, rows, width) for rows in sizes}
    by_rows = ", ".join(f"{steps[rows]} of {rows} rows at {1000 * step_s[rows]:.1f} ms" for rows in sizes)

    def total(seconds: Mapping[int, float]) -> float:
        return sum(n * seconds[rows] for rows, n in steps.items())

    def minimum(of: Mapping[int, costs.Cost]) -> float:
        return total({rows: cost.min_s(*rates) for rows, cost in of.items()})

    yield Part(
        f"decoder, without logits ({by_rows})",
        total(step_s) - total(head_s),
        "separately",
        minimum(costs_of) - minimum(logits),
    )
    yield Part("logits", total(head_s) - total(rules_s), "separately", minimum(logits))
    yield Part("rules and choice of tokens", total(rules_s), "separately")


def machine_rates(precision: Precision) -> tuple[float, float]:
    """Returns operations and bytes per second, for the arithmetic of the network's matrix products."""
    operand = {Arithmetic.A8: "int8", Arithmetic.BF16: "bfloat16"}.get(
        precision.arithmetic, precision.dtype.name
    )
    kind = next(one for one in machine.ARITHMETIC if one.operand == operand)
    return machine.dot_rate(machine.SHAPES[0], kind), machine.bandwidth()


if __name__ == "__main__":
    main()
