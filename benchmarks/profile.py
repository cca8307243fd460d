"""Where the time of a run goes, and how far each part is from what the machine could do.

    python -m benchmarks.profile --recording ../shared/data/long/lj001.flac --model openai/whisper-base
    python -m benchmarks.profile --recording joined.flac --quantization none --batch_size 16

What is unknown to it goes to the pipeline; greedy, in English, without fallback, unless that says otherwise.

The recording goes through the pipeline twice in this process, the second time for the figures. What is known
from the "run" is measured in it: by `stage_s` of its run.json, and by the model and the detector observed.
The pieces of the network are timed "alone", each compiled by itself, and multiplied with the windows and
steps of the run; what they do not explain of the model's time is a line of its own (prompts, moving windows
to smaller batches, copies to and from the device, text from ids). It is less than nothing where programs are
loaded while the device computes; a long recording hides that. Seconds of several workers are added up; what
they do at the same time makes the last part negative.

The least seconds are what `benchmarks/support/costs.py` counts, at rates measured as in
`benchmarks/machine.py`: of the arithmetic in use for the product of the encoder's MLP, and of reading memory.
"""

from __future__ import annotations

import argparse
import io
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax

from benchmarks import machine
from benchmarks.support import costs
from benchmarks.support.cpu import describe_machine
from benchmarks.support.loop_steps import loop_steps
from benchmarks.support.network_parts import Pieces
from benchmarks.support.recording_backend import BACKEND, OBSERVED
from benchmarks.support.speed_systems import GREEDY
from benchmarks.support.timing import markdown_head, markdown_row
from model.alignment_heads import heads_of
from model.batch_decoder import LEAST_ROWS
from model.checkpoint import find_checkpoint
from model.config import WhisperConfig
from model.precision import Arithmetic, Precision
from model.rules import make_rules
from model.tokens import WhisperTokenizer
from model.transcriber import load_transcriber
from pipelines.command_line import parse
from pipelines.graph import settings_of
from pipelines.options import TranscribeOptions
from pipelines.transcribe import main as transcribe


@dataclass(frozen=True)
class Part:
    """A line of the table.

    Attributes:
        name: what it is.
        seconds: it took.
        source: how that is known.
        least_s: what it could not be done below on this machine; None where nobody counted.
    """

    name: str
    seconds: float
    source: str
    least_s: float | None = None


@dataclass(frozen=True)
class Observed:
    """What a run did.

    Attributes:
        report: its run.json.
        model_s: of all batches.
        compile_s: of these, tracing programs and compiling them, or loading what was compiled before.
        detector_s: of listening for speech.
        batches: tokens written of each window of each batch.
    """

    report: Mapping[str, Any]
    model_s: float
    compile_s: float
    detector_s: float
    batches: Sequence[Sequence[int]]

    @property
    def n_windows(self) -> int:
        """That the model was given."""
        return sum(map(len, self.batches))


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--recording", type=Path, required=True)
    args, others = parser.parse_known_args()
    given = ["--input", str(args.recording), *GREEDY, *others]
    observe(given)
    observed = observe(given)
    options, _ = parse([*given, "--output", "unused"])
    precision = load_transcriber(settings_of(options)).precision
    parts = list(all_parts(observed, options, precision))
    wall_s = observed.report["wall_s"]
    print(f"{describe_machine()}\n")
    print(f"{options.model}, {precision.arithmetic}, activations {precision.dtype}; {args.recording.name}, ")
    print(f"{3600 * observed.report['audio_hours']:.0f} s, {observed.n_windows} windows, ", end="")
    print(f"{sum(map(sum, observed.batches))} tokens.\n")
    print(markdown_head(["what", "seconds", "% of the run", "known from", "least, s", "of the least"]))
    for part in [*parts, Part("the whole run", wall_s, "run")]:
        cells = [part.name, f"{part.seconds:.3f}", f"{100 * part.seconds / wall_s:.1f}", part.source]
        least = ["", ""]
        if part.least_s is not None:
            least = [f"{part.least_s:.3f}", f"{part.seconds / part.least_s:.1f} times"]
        print(markdown_row([*cells, *least]))


def observe(options: Sequence[str]) -> Observed:
    """Runs the pipeline in this process.

    Raises:
        RuntimeError: it did not transcribe everything; it has said why.
    """
    with TemporaryDirectory() as folder:
        notes, output = Path(folder, "notes.jsonl"), Path(folder, "out")
        os.environ[OBSERVED] = str(notes)
        with redirect_stdout(io.StringIO()):  # the transcript is not asked for
            code = transcribe([*options, "--output", str(output)], BACKEND)
        if code:
            raise RuntimeError(f"the run with {' '.join(options)} did not transcribe everything")
        report = json.loads((output / "run.json").read_text())
        lines = [json.loads(line) for line in notes.read_text().splitlines()]
    batches = [line for line in lines if "n_tokens" in line]
    return Observed(
        report,
        sum(line["model_s"] for line in batches),
        sum(line["compile_s"] for line in batches),
        sum(line.get("detector_s", 0.0) for line in lines),
        [line["n_tokens"] for line in batches],
    )


def all_parts(observed: Observed, options: TranscribeOptions, precision: Precision) -> Iterator[Part]:
    """All that a run is made of."""
    stage_s = observed.report["stage_s"]
    yield Part("load: weights to the device", stage_s["load"], "run")
    yield Part("read: fetch, decode, resample, cut", stage_s["read"] - observed.detector_s, "run")
    yield Part("voice activity", observed.detector_s, "run")
    yield Part("compiled programs, loaded when they are first used", observed.compile_s, "run")
    pieces = list(model_parts(observed, options, precision))
    yield from pieces
    explained_s = observed.compile_s + sum(part.seconds for part in pieces)
    yield Part("the rest of the model", observed.model_s - explained_s, "run, less those alone")
    yield Part("around the model: requests, filters", stage_s["model"] - observed.model_s, "run")
    yield Part("merge", stage_s["merge"], "run")
    yield Part("write", stage_s["write"], "run")
    yield Part("Beam and all else", observed.report["wall_s"] - sum(stage_s.values()), "run")


def model_parts(observed: Observed, options: TranscribeOptions, precision: Precision) -> Iterator[Part]:
    """What the model's time is made of, each timed alone."""
    checkpoint = find_checkpoint(options.model)
    config = checkpoint.config
    rules = make_rules(
        WhisperTokenizer(checkpoint.tokenizer).special,
        checkpoint.decoding,
        multilingual=config.is_multilingual,
        task=options.task,
        timestamps=options.return_timestamps,
        suppress_tokens=options.suppress_tokens,
        max_new_tokens=options.max_new_tokens,
    )
    pieces = Pieces(config, precision, rules)
    rates = machine_rates(precision)
    at_once = 1 if jax.default_backend() == "cpu" else options.batch_size
    each = observed.n_windows / at_once
    encoder = costs.Cost(at_once * costs.encoder_flops(config), 0)
    memory = costs.Cost(at_once * costs.memory_flops(config), 0)
    yield Part("log-mel", each * pieces.mel_s(at_once), "alone")
    yield Part("encoder", each * pieces.encoder_s(at_once), "alone", each * encoder.least_s(*rates))
    seconds = each * pieces.remember_s(at_once)
    yield Part("cross-attention: keys and values", seconds, "alone", each * memory.least_s(*rates))
    shrinks = jax.default_backend() != "cpu"
    by_batch = (loop_steps(batch, options.batch_size, shrinks=shrinks) for batch in observed.batches)
    steps = sum(by_batch, Counter[int]())
    yield from step_parts(pieces, steps, config, precision, rates)
    if options.word_timestamps:
        heads = heads_of(config, checkpoint.decoding)
        aligned_s = pieces.align_s(max(options.batch_size, LEAST_ROWS), heads) * len(observed.batches)
        yield Part("align", aligned_s, "alone")


def step_parts(
    pieces: Pieces,
    steps: Mapping[int, int],
    config: WhisperConfig,
    precision: Precision,
    rates: tuple[float, float],
) -> Iterator[Part]:
    """What decoding is made of, for so many steps by rows."""
    sizes = sorted(steps, reverse=True)
    step_s = {rows: pieces.step_s(rows) for rows in sizes}
    head_s = {rows: pieces.logits_s(rows) for rows in sizes}
    rules_s = {rows: pieces.rules_s(rows) for rows in sizes}
    seen = 40  # tokens, about the middle of a window: few beside the 1,500 positions of the audio
    width = precision.matrix_dtype.itemsize
    memory_width = 1 if precision.small_memory else precision.dtype.itemsize
    costs_of = {rows: costs.step_cost(config, rows, seen, width, memory_width) for rows in sizes}
    logits = {rows: costs.logits_cost(config, rows, width) for rows in sizes}
    told = ", ".join(f"{steps[rows]} of {rows} rows at {1000 * step_s[rows]:.1f} ms" for rows in sizes)

    def total(seconds: Mapping[int, float]) -> float:
        return sum(n * seconds[rows] for rows, n in steps.items())

    def least(of: Mapping[int, costs.Cost]) -> float:
        return total({rows: cost.least_s(*rates) for rows, cost in of.items()})

    yield Part(
        f"decoder, without logits ({told})",
        total(step_s) - total(head_s),
        "alone",
        least(costs_of) - least(logits),
    )
    yield Part("logits", total(head_s) - total(rules_s), "alone", least(logits))
    yield Part("rules and choice of tokens", total(rules_s), "alone")


def machine_rates(precision: Precision) -> tuple[float, float]:
    """Operations and bytes a second, for the arithmetic of a network's matrix products."""
    operand = {Arithmetic.A8: "int8", Arithmetic.BF16: "bfloat16"}.get(
        precision.arithmetic, precision.dtype.name
    )
    kind = next(one for one in machine.ARITHMETIC if one.operand == operand)
    return machine.dot_rate(machine.SHAPES[0], kind), machine.bandwidth()


if __name__ == "__main__":
    main()
