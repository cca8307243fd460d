"""The transcriber: loads a model once, and makes the batches in which windows are decoded."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from numpy.typing import NDArray

from model.arithmetic import choose_arithmetic, describe_arithmetic
from model.attention_choice import choose_attention
from model.caches import cache_folder
from model.checkpoint import Checkpoint, find_checkpoint
from model.checkpoint_defaults import defaults_of
from model.config import CheckpointDefaults, WhisperConfig
from model.cpu_features import cpu_features, n_usable_cpus
from model.interface import SAMPLE_RATE, WINDOW_SAMPLES, ModelOptions, Request, Samples, WindowResult
from model.memory import MIN_ROWS, MemoryModel, encoded_together, lanes_of_accelerator, number_sizes
from model.mesh_shape import MeshShape, parse_mesh
from model.method_programs import BatchKind
from model.precision import Precision
from model.program_store import jax_keeps_programs
from model.programs import Programs
from model.row_inputs import RowInputs, check_samples
from model.rules import make_rules
from model.running_batch import RunningBatch
from model.sharding import DATA, MODEL, check_mesh, make_mesh
from model.tokens import tokenizer_of
from model.window_length import ENCODED_LENGTHS, PAD, decoded_length
from model.window_results import WindowResults

_LOGGER = logging.getLogger(__name__)

_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float16": jnp.float16}

_AUTO_DTYPES = {"cpu": "float32", "gpu": "float16"}
"""The dtype that `auto` stands for, by platform; bfloat16 on others (TPUs)."""


def load_transcriber(options: ModelOptions, mesh: Mesh | None = None) -> WhisperTranscriber:
    """Finds a checkpoint and loads it; compiled programs are kept between runs.

    Args:
        options: options of the model.
        mesh: the devices; None for those of `options.mesh`.

    Raises:
        CheckpointError: the model cannot be found or read.
        ValueError: the model or the mesh does not support the options.
    """
    mesh = mesh or make_mesh(*parse_mesh(options.mesh))
    folder = _program_folder()
    return WhisperTranscriber(find_checkpoint(options.model), options, mesh, folder)


class WhisperTranscriber:
    """A `model.interface.Transcriber` on JAX.

    A batch has a fixed number of rows, whether they are taken or not, so that the text of a window does not
    depend on the other windows of its batch. One set of weights serves all tasks, with and without times.

    Attributes:
        tokenizer: tokenizer of the checkpoint.
        precision: precision of the weights and products.
        arithmetic: the same in words, with the reason; see `model.interface.Transcriber`.
    """

    def __init__(
        self, checkpoint: Checkpoint, options: ModelOptions, mesh: Mesh, folder: Path | None = None
    ) -> None:
        """Loads a checkpoint; `folder` is that of compiled programs, None where JAX caches them."""
        self.precision = precision_of(options, mesh, checkpoint.config)
        self.arithmetic = describe_arithmetic(
            options.quantization,
            options.dtype,
            backend=_platform(mesh),
            features=cpu_features(),
            activations=self.precision.dtype.name,
        )
        _LOGGER.info("%s computes on a %s: %s", checkpoint.name, _platform(mesh).upper(), self.arithmetic)
        self._batch_size = options.batch_size or default_batch_size(
            options, mesh, checkpoint.config, self.precision
        )
        check_mesh(mesh, checkpoint.config, self._batch_size)
        self._max_concurrent_calls = _max_concurrent_calls(options, mesh)
        self._n_encoded = _n_encoded(mesh, self._batch_size)
        self.tokenizer = tokenizer_of(checkpoint)
        _log_defaults(checkpoint, defaults_of(self.tokenizer.special, checkpoint.decoding))
        self._rules = make_rules(
            self.tokenizer.special,
            checkpoint.decoding,
            options,
            multilingual=self.tokenizer.special.is_multilingual,
        )
        self._inputs = RowInputs(
            self.tokenizer, self._rules, checkpoint.name, full_windows=options.full_windows
        )
        self._results = WindowResults(self.tokenizer, self._rules, self._inputs)
        self._compile_s = 0.0
        self._lock = threading.Lock()
        self._programs = Programs(checkpoint, self._rules, self.precision, mesh, folder)

    @property
    def batch_size(self) -> int:
        """The number of rows of a batch."""
        return self._batch_size

    @property
    def max_concurrent_calls(self) -> int:
        """The number of batches that are worth running at the same time; see `_max_concurrent_calls`."""
        return self._max_concurrent_calls

    @property
    def compile_s(self) -> float:
        """Seconds that calls have waited so far for programs to be compiled, or to be loaded from disk."""
        return self._compile_s

    def batch_group(self, request: Request) -> BatchKind:
        """Returns the kind of the batches that can take a request; see `model.interface.Transcriber`."""
        return self._inputs.kind(request)

    def new_batch(self, group: Hashable, n_rows: int | None = None) -> RunningBatch:
        """Returns a batch without windows; see `model.interface.Transcriber`."""
        return self._new_batch(group, n_rows, self._count_compile_s)

    def _new_batch(
        self, group: Hashable, n_rows: int | None, count_compile_s: Callable[[float], None]
    ) -> RunningBatch:
        if not isinstance(group, BatchKind):
            raise TypeError(f"{group!r} is no group of this model")
        n_rows = max(n_rows or self._batch_size, MIN_ROWS)
        n_rows = -(-n_rows // self._n_encoded) * self._n_encoded
        return RunningBatch(
            self._programs,
            group,
            n_rows,
            self._n_encoded,
            self._inputs,
            self._results,
            count_compile_s,
        )

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        """Transcribes windows, in a batch for each group; for comparisons.

        Raises:
            ValueError: see `model.interface.WindowBatch.add`.
        """
        answers: dict[int, WindowResult | Exception] = {}
        kinds = [self.batch_group(request) for request in requests]
        for kind in dict.fromkeys(kinds):
            waiting = [request for request, own in zip(requests, kinds, strict=True) if own == kind]
            batch = self.new_batch(kind)
            while waiting or batch.requests:
                taken, waiting = waiting[: batch.n_free], waiting[batch.n_free :]
                batch.add(taken)
                n_free = self._n_encoded if waiting else None
                answers.update((id(request), answer) for request, answer in batch.advance(n_free=n_free))
        return [_raised(answers[id(request)]) for request in requests]

    def token_ids(self, text: str) -> list[int]:
        """Returns the ids of the tokens of a text; see `model.interface.Transcriber`."""
        return self.tokenizer.encode_text(text)

    def warm_up(self, *, prompts: bool = True, timestamps: Sequence[bool] = (True, False)) -> None:
        """Compiles the programs of all requests, or loads them; see `model.interface.Transcriber`."""
        lengths = ENCODED_LENGTHS if True in timestamps else ENCODED_LENGTHS[-1:]
        slots, n_ids = self._inputs.prompt_slots if prompts else [0], len(self.token_ids(" word"))
        previous = [" word" * ((n - 1) // n_ids) for n in slots]
        samples_apart = max(self._rules.beam_size, self._rules.best_of) > 1
        temperatures = (0.0, 1.0) if samples_apart else (0.0,)
        for length in lengths:
            self._programs.cross_kv(np.zeros((self._n_encoded, length), np.float32))
        longest = {decoded_length(length): length for length in lengths}.values()
        for length, prompt, temperature in itertools.product(longest, previous, temperatures):
            n_samples = SAMPLE_RATE if length == WINDOW_SAMPLES else length - PAD
            request = Request(
                np.zeros(n_samples, np.float32),
                prompt=prompt,
                temperature=temperature,
                full_window=length == WINDOW_SAMPLES,
            )
            # `compile_s` is that of calls that wait: these seconds are not counted.
            batch = self._new_batch(self.batch_group(request), None, lambda _: None)
            batch.warm_up(request, self.token_ids(" word"))

    def encode(self, windows: Sequence[Samples]) -> NDArray[np.float32]:
        """Returns the encoder's output for each window, float32[B, 1500, d_model]; for comparisons."""
        padded = np.zeros((len(windows), WINDOW_SAMPLES), np.float32)
        for row, window in enumerate(windows):
            check_samples(window)
            padded[row, : len(window)] = window
        return np.asarray(self._programs.encode(padded), np.float32)

    def _count_compile_s(self, seconds: float) -> None:
        with self._lock:
            self._compile_s += seconds


def _log_defaults(checkpoint: Checkpoint, defaults: CheckpointDefaults) -> None:
    named = [f"{kind} {value}" for kind, value in asdict(defaults).items() if value is not None]
    if named:
        _LOGGER.info("%s is configured for %s, where no other is given", checkpoint.name, ", ".join(named))


def _raised(answer: WindowResult | Exception) -> WindowResult:
    if isinstance(answer, Exception):
        raise answer
    return answer


def _program_folder() -> Path | None:
    """Returns the folder of compiled programs where a CPU is one device; None elsewhere: JAX's cache is used.

    JAX's cache is set up here, unless the user chose a folder for it.
    """
    if jax_keeps_programs():
        return None
    caches = cache_folder()
    if jax.default_backend() == "cpu":
        # JAX 0.10 cannot run a program that it reads from its cache where there are several CPU devices, not
        # even one of a single device ("Expected args to execute_sharded_on_local_devices to have 4 shards");
        # only tests have such devices.
        return caches / "programs" if len(jax.local_devices()) == 1 else None
    jax.config.update("jax_compilation_cache_dir", str(caches / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # small programs add up
    return None


def default_batch_size(options: ModelOptions, mesh: Mesh, config: WhisperConfig, precision: Precision) -> int:
    """Returns the rows that fit the memory of an accelerator; on a CPU 8, or 4 with beams.

    A row of a beam search has several hypotheses, so that products have enough rows, and needs much memory.
    """
    n_data, n_model = int(mesh.shape[DATA]), int(mesh.shape[MODEL])
    if _platform(mesh) == "cpu":
        size = 4 if options.beam_size > 1 else 8
        return -(-size // n_data) * n_data
    n_bytes = min(map(_free_bytes, mesh.devices.flat))
    if not n_bytes:
        return 8 * n_data
    numbers = number_sizes(precision.dtype.name, precision.arithmetic)
    return MemoryModel.of(config, options, numbers, MeshShape(n_data, n_model)).rows(n_bytes)


def _free_bytes(device: jax.Device) -> int:
    """Returns the bytes that JAX may still allocate on a device; 0 where it does not say."""
    stats: dict[str, int] = device.memory_stats() or {}
    return max(0, stats.get("bytes_limit", 0) - stats.get("bytes_in_use", 0))


def _platform(mesh: Mesh) -> str:
    """Returns the platform of the devices: `cpu`, `gpu` or `tpu`."""
    platform: str = mesh.devices.flat[0].platform
    return platform


def _n_encoded(mesh: Mesh, batch_size: int) -> int:
    """Returns the number of windows to encode at once.

    On a CPU one for each device: its activations stay in the processor's cache, which made the encoder 1.5
    times as fast. An accelerator is used best by many.
    """
    n_data = int(mesh.shape[DATA])
    if _platform(mesh) == "cpu":
        return n_data
    return encoded_together(batch_size // n_data) * n_data


def _max_concurrent_calls(options: ModelOptions, mesh: Mesh) -> int:
    """Returns one call for each core of a CPU, as a call uses little more than one; two on an accelerator."""
    if _platform(mesh) != "cpu" or mesh.size > 1:
        return lanes_of_accelerator(options.parallel_batches, MeshShape(*mesh.devices.shape))
    return options.parallel_batches or n_usable_cpus()


def precision_of(options: ModelOptions, mesh: Mesh, config: WhisperConfig) -> Precision:
    """Returns the precision that the options ask for, or else the best for the devices.

    On GPUs that is float16, as in openai/whisper: it gave float32's ids on all of 48 clips, where bfloat16,
    with fewer bits, changed some (docs/performance.md), and cards multiply both equally fast.

    Raises:
        ValueError: the dtype or quantization is unknown.
    """
    platform, name = _platform(mesh), options.dtype
    arithmetic = choose_arithmetic(options.quantization, name, backend=platform, features=cpu_features())
    if name == "auto":
        name = _AUTO_DTYPES.get(platform, "bfloat16")
    if name not in _DTYPES:
        raise ValueError(f"dtype {name!r} is unknown; use auto, {', '.join(_DTYPES)}")
    precision = Precision(np.dtype(_DTYPES[name]), arithmetic)
    attention = choose_attention(mesh, config, precision.for_encoder.attention_dtype)
    return replace(precision, attention=attention)
