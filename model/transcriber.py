"""The transcriber: loads a model once, pads batches to one shape; numpy arrays in, records out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from numpy.typing import NDArray

from model.align import pack
from model.batch_decoder import MIN_ROWS, Generated
from model.caches import cache_folder
from model.checkpoint import Checkpoint, find_checkpoint
from model.compiled import compile_wait_s
from model.cpu_features import cpu_features, n_usable_cpus
from model.decoder import CrossKV
from model.interface import (
    SAMPLE_RATE,
    TASKS,
    TRANSCRIBE,
    TRANSLATE,
    WINDOW_SAMPLES,
    ModelOptions,
    Request,
    Samples,
    WindowResult,
)
from model.mesh_shape import parse_mesh
from model.precision import Precision, choose_arithmetic
from model.prefill import DETECT_LANGUAGE, DecodeInput
from model.program_store import jax_keeps_programs
from model.programs import Programs
from model.rules import DecodingRules, make_rules
from model.sharding import DATA, check_mesh, make_mesh
from model.tokens import WhisperTokenizer, compression_ratio, segments_of
from model.word_times import add_words

_MIN_LANGUAGE_PROB = 1e-3  # less does not affect a vote, and there are a hundred languages
_PROMPT_SLOTS = (0, 16, 64)  # or the maximum
_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float16": jnp.float16}


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
    folder = _program_folder(mesh)
    return WhisperTranscriber(find_checkpoint(options.model), options, mesh, folder)


class _DecodeCall(NamedTuple):
    """A program to run on those rows of a batch that its input marks as wanted."""

    decode: Callable[[CrossKV, DecodeInput], Generated]
    decode_input: DecodeInput


class WhisperTranscriber:
    """A `model.interface.Transcriber` on JAX.

    Windows are padded with silence to 30 s, and batches to their full size, so that the text of a window does
    not depend on the other windows of its batch; the padding is dropped. One set of weights serves all tasks,
    with and without timestamps.

    Attributes:
        tokenizer: tokenizer of the checkpoint.
        precision: precision of the weights and products.
    """

    def __init__(
        self, checkpoint: Checkpoint, options: ModelOptions, mesh: Mesh, folder: Path | None = None
    ) -> None:
        """Loads a checkpoint; `folder` is that of compiled programs, None where JAX caches them."""
        self._batch_size = options.batch_size or _default_batch_size(mesh)
        check_mesh(mesh, checkpoint.config, self._batch_size)
        self._name = checkpoint.name
        self._max_concurrent_calls = _max_concurrent_calls(options, mesh)
        self._n_data = mesh.shape[DATA]
        self.tokenizer = WhisperTokenizer(checkpoint.tokenizer)
        self._rules = make_rules(
            self.tokenizer.special,
            checkpoint.decoding,
            options,
            multilingual=checkpoint.config.is_multilingual,
        )
        self._codes = list(self.tokenizer.special.languages) if self._rules.language_ids else []
        self.precision = _precision_of(options)
        self._compile_s = 0.0
        self._lock = threading.Lock()
        self._programs = Programs(checkpoint, self._rules, self.precision, mesh, folder)

    @property
    def batch_size(self) -> int:
        """The maximum number of windows per call."""
        return self._batch_size

    @property
    def max_concurrent_calls(self) -> int:
        """The number of calls that are worth making at the same time; see `_max_concurrent_calls`."""
        return self._max_concurrent_calls

    @property
    def compile_s(self) -> float:
        """Seconds that calls have waited so far for programs to be compiled, or to be loaded from disk."""
        return self._compile_s

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        """Transcribes each window by itself; see `model.interface.Transcriber`."""
        samples = self._pad([request.samples for request in requests])
        calls = list(self._decode_calls(requests, len(samples)))
        waited_s = compile_wait_s()
        cross_kv = self._programs.cross_kv(samples, len(requests))
        generated = self._generate(cross_kv, calls)
        results = [self._result(generated, row, request) for row, request in enumerate(requests)]
        results = self._with_words(cross_kv, results, requests)
        with self._lock:
            self._compile_s += compile_wait_s() - waited_s
        return results

    def batch_group(self, request: Request) -> Hashable:
        """Returns what selects the programs of a request; see `model.interface.Transcriber`."""
        rules = self._rules.with_timestamps(request.timestamps)
        n_slots = _bucket(len(self._prompt(request, rules)), rules.max_prompt)
        return request.timestamps, n_slots, self._rules.beam_size > 1 and request.temperature > 0

    def token_ids(self, text: str) -> list[int]:
        """Returns the ids of the tokens of a text; see `model.interface.Transcriber`."""
        return self.tokenizer.encode_text(text)

    def warm_up(self, *, prompts: bool = True, timestamps: Sequence[bool] = (True, False)) -> None:
        """Compiles the programs of all requests, or loads them; see `model.interface.Transcriber`."""
        silence = Request(np.zeros(SAMPLE_RATE, np.float32))
        cross_kv = self._programs.cross_kv(self._pad([silence.samples]), 1)
        batch = jax.tree.leaves(cross_kv)[0].shape[0]
        programs = [self._programs.search] if self._rules.beam_size > 1 else []
        programs.append(self._programs.generate)
        wanted = np.arange(batch) == 0  # once: the first text to be decoded takes longer
        for has_timestamps in timestamps:
            rules = self._rules.with_timestamps(has_timestamps)
            decode_input = self._decode_input({0: silence}, batch, rules)
            lengths = range(rules.max_prompt + 1) if prompts else (0,)
            for n_slots in sorted({_bucket(length, rules.max_prompt) for length in lengths}):
                prompt = np.full((batch, n_slots), self.tokenizer.special.end_of_text, np.int32)
                for program in programs:
                    given = decode_input._replace(prompt=jnp.asarray(prompt), wanted=jnp.asarray(wanted))
                    program(cross_kv, given, timestamps=has_timestamps)
                    wanted = np.zeros(batch, bool)
        text = [(self._text_prompt("en", TRANSCRIBE), self.token_ids(" word"))]
        packed = pack(text, [SAMPLE_RATE], self.tokenizer.special.end_of_text, batch)
        jax.block_until_ready(self._programs.align(cross_kv, packed))

    def encode(self, windows: Sequence[Samples]) -> NDArray[np.float32]:
        """Returns the encoder's output for each window, float32[B, 1500, d_model]; for comparisons."""
        encoded = self._programs.encode(self._pad(windows))
        return np.asarray(encoded, np.float32)[: len(windows)]

    def _pad(self, windows: Sequence[Samples]) -> NDArray[np.float32]:
        """Returns windows as float32[B, 480000], padded with silence to the size of a full batch."""
        if not 1 <= len(windows) <= self._batch_size:
            raise ValueError(f"a batch must have 1 to {self._batch_size} windows, not {len(windows)}")
        size = self._batch_size if self._n_data > 1 else max(self._batch_size, MIN_ROWS)
        return _stacked(windows, size)

    def _decode_calls(self, requests: Sequence[Request], batch: int) -> Iterator[_DecodeCall]:
        """Yields the calls that decode a batch: one, unless it mixes requests that need different programs.

        Requests with timestamps have other rules than those without. With beams, requests at temperature 0
        are decoded by a beam search and the others by sampling.
        """
        for timestamps in (True, False):
            chosen = {row: one for row, one in enumerate(requests) if one.timestamps is timestamps}
            if not chosen:
                continue
            decode_input = self._decode_input(chosen, batch, self._rules.with_timestamps(timestamps))
            wanted = np.asarray(decode_input.wanted)
            searched = np.zeros(batch, bool)
            if self._rules.beam_size > 1:
                searched[[row for row, one in chosen.items() if one.temperature == 0]] = True
            for program, rows in (
                (self._programs.search, searched),
                (self._programs.generate, wanted & ~searched),
            ):
                if rows.any():
                    decode = partial(program, timestamps=timestamps)
                    yield _DecodeCall(decode, decode_input._replace(wanted=jnp.asarray(rows)))

    def _generate(self, cross_kv: CrossKV, calls: Sequence[_DecodeCall]) -> Generated:
        """Runs the calls and merges their rows."""
        generated, *others = [call.decode(cross_kv, call.decode_input) for call in calls]
        for call, other in zip(calls[1:], others, strict=True):
            generated = _merged(generated, other, np.asarray(call.decode_input.wanted))
        return generated

    def _with_words(
        self, cross_kv: CrossKV, results: Sequence[WindowResult], requests: Sequence[Request]
    ) -> list[WindowResult]:
        """Returns the results, with words in the segments of those that request them."""
        pairs = list(zip(results, requests, strict=True))
        timed = [result.segments if request.word_timestamps else () for result, request in pairs]
        texts = [[token for segment in segments for token in segment.tokens] for segments in timed]
        if not any(texts):
            return list(results)
        n_samples = [len(request.samples) for request in requests]
        prompts = [self._text_prompt(result.language, request.task) for result, request in pairs]
        batch = pack(
            list(zip(prompts, texts, strict=True)),
            n_samples,
            self.tokenizer.special.end_of_text,
            jax.tree.leaves(cross_kv)[0].shape[0],
        )
        alignment = jax.device_get(self._programs.align(cross_kv, batch))
        languages = ["en" if request.task == TRANSLATE else result.language for result, request in pairs]
        with_words = add_words(timed, batch, alignment, self.tokenizer, n_samples, languages)
        return [
            replace(result, segments=segments) if request.word_timestamps else result
            for (result, request), segments in zip(pairs, with_words, strict=True)
        ]

    def _text_prompt(self, language: str, task: str) -> list[int]:
        """Returns the tokens before a text without timestamps."""
        special = self.tokenizer.special
        tokens = [special.languages[language], self._task_id(task)] if self._codes else []
        return [special.start_of_transcript, *tokens, special.no_timestamps]

    def _decode_input(self, requests: Mapping[int, Request], batch: int, rules: DecodingRules) -> DecodeInput:
        """Returns the input of a batch from the requests by row; the other rows are padding."""
        prompts = {row: self._prompt(request, rules) for row, request in requests.items()}
        n_slots = _bucket(max(map(len, prompts.values())), rules.max_prompt)
        wanted = np.zeros(batch, bool)
        language = np.full(batch, DETECT_LANGUAGE, np.int32)
        task = np.full(batch, self.tokenizer.special.transcribe, np.int32)
        temperature = np.zeros(batch, np.float32)
        uniforms = np.zeros((batch, rules.max_new_tokens), np.float32)
        prompt = np.full((batch, n_slots), self.tokenizer.special.end_of_text, np.int32)
        n_prompt = np.zeros(batch, np.int32)
        for row, request in requests.items():
            ids = prompts[row]
            wanted[row] = True
            language[row] = self._language_index(request.language)
            task[row] = self._task_id(request.task)
            n_prompt[row] = len(ids)
            prompt[row, n_slots - len(ids) :] = ids
            if request.temperature > 0:
                temperature[row] = request.temperature
                uniforms[row] = _uniforms(request.seed, rules.max_new_tokens)
        arrays = (wanted, language, task, temperature, uniforms, prompt, n_prompt)
        return DecodeInput(*map(jnp.asarray, arrays))

    def _prompt(self, request: Request, rules: DecodingRules) -> list[int]:
        """Returns the ids of the previous text: hot words first, then as many of the prompt's last as fit."""
        hotwords, prompt = (
            self.tokenizer.encode_text(f" {text.strip()}") if text.strip() else []
            for text in (request.hotwords, request.prompt)
        )
        n_free = max(rules.max_prompt - 1, 0)
        kept = hotwords[:n_free]
        kept += prompt[max(len(prompt) - (n_free - len(kept)), 0) :]
        return [self.tokenizer.special.start_of_previous, *kept] if kept else []

    def _language_index(self, code: str | None) -> int:
        if code is None:
            return DETECT_LANGUAGE
        known = self._codes or ["en"]
        if code not in known:
            raise ValueError(f"language {code!r} is unknown to this model; it knows {', '.join(known)}")
        return known.index(code)

    def _task_id(self, task: str) -> int:
        if task not in TASKS:
            raise ValueError(f"task {task!r} is unknown; use {' or '.join(TASKS)}")
        if task == TRANSLATE and not self._codes:
            raise ValueError(f"model {self._name!r} knows English only: it cannot translate")
        special = self.tokenizer.special
        return special.translate if task == TRANSLATE else special.transcribe

    def _result(self, generated: Generated, row: int, request: Request) -> WindowResult:
        if not np.isfinite(generated.sum_logprob[row]):
            raise ValueError(
                "the model's probabilities are not finite: its weights are damaged, or the dtype is too "
                "narrow for them; try --dtype float32"
            )
        n_tokens, repeated = int(generated.n_tokens[row]), bool(generated.repeated[row])
        ids = [int(token) for token in generated.tokens[row, :n_tokens]]
        complete = n_tokens < self._rules.max_new_tokens and not repeated
        segments = segments_of(ids, self.tokenizer, len(request.samples), complete=complete)
        code = self._codes[int(generated.language[row])] if self._codes else "en"
        return WindowResult(
            segments=segments,
            language=code,
            language_probs=self._language_probs(generated, row) if request.language is None else {},
            avg_logprob=float(generated.sum_logprob[row]) / (n_tokens + 1),
            no_speech_prob=float(generated.no_speech_prob[row]),
            compression_ratio=compression_ratio(self.tokenizer.decode(ids).strip()),
            temperature=request.temperature,
            repeated=repeated,
            timestamped=request.timestamps,
        )

    def _language_probs(self, generated: Generated, row: int) -> Mapping[str, float]:
        if not self._codes:
            return {"en": 1.0}
        probs = np.exp(generated.language_logprobs[row])
        return {
            code: float(prob)
            for code, prob in zip(self._codes, probs, strict=True)
            if prob >= _MIN_LANGUAGE_PROB
        }


def _merged(generated: Generated, other: Generated, rows: NDArray[np.bool_]) -> Generated:
    """Returns the decoding of a batch, with some rows taken from another."""
    pairs = zip(generated, other, strict=True)
    return Generated(*(np.where(rows.reshape(-1, *[1] * (a.ndim - 1)), b, a) for a, b in pairs))


def _program_folder(mesh: Mesh) -> Path | None:
    """Returns the folder of compiled programs for one CPU device; None elsewhere: JAX's cache is used.

    JAX's cache is set up here, unless the user chose a folder for it.
    """
    if jax_keeps_programs():
        return None
    caches = cache_folder()
    if jax.default_backend() == "cpu":
        # JAX 0.10 cannot run programs of several CPU devices that it reads from its cache ("Expected args to
        # execute_sharded_on_local_devices to have 4 shards"); only tests have such devices.
        return caches / "programs" if mesh.size == 1 else None
    jax.config.update("jax_compilation_cache_dir", str(caches / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # small programs add up
    return None


def _default_batch_size(mesh: Mesh) -> int:
    """Returns 4 windows on a CPU, where the two calls of 4 take less time than those of 8, and 8 elsewhere.

    Over several devices it is the next multiple of their number.
    """
    size, n_data = (4 if jax.default_backend() == "cpu" else 8), int(mesh.shape[DATA])
    return -(-size // n_data) * n_data


def _max_concurrent_calls(options: ModelOptions, mesh: Mesh) -> int:
    """Returns one call for each core of a CPU, as a call uses little more than one; two on an accelerator.

    Programs that several devices run together must start in the same order on each: there it is one.
    """
    if mesh.size > 1:
        return 1
    if options.parallel_batches:
        return options.parallel_batches
    if jax.default_backend() != "cpu":
        return 2
    return n_usable_cpus()


def _precision_of(options: ModelOptions) -> Precision:
    backend, name = jax.default_backend(), options.dtype
    arithmetic = choose_arithmetic(options.quantization, name, backend=backend, features=cpu_features())
    if name == "auto":
        name = "float32" if backend == "cpu" else "bfloat16"
    if name not in _DTYPES:
        raise ValueError(f"dtype {name!r} is unknown; use auto, {', '.join(_DTYPES)}")
    return Precision(np.dtype(_DTYPES[name]), arithmetic)


def _bucket(length: int, maximum: int) -> int:
    """Returns the number of slots for a prompt of that length: few sizes, as each is compiled."""
    return next((slots for slots in _PROMPT_SLOTS if length <= slots <= maximum), maximum)


def _uniforms(seed: int, n: int) -> NDArray[np.float32]:
    """Returns numbers in [0, 1) that depend only on the seed, by Philox (Salmon et al., 2011)."""
    return np.random.Generator(np.random.Philox(key=seed)).random(n, np.float32)


def _stacked(windows: Sequence[Samples], size: int) -> NDArray[np.float32]:
    batch = np.zeros((size, WINDOW_SAMPLES), np.float32)
    for row, window in enumerate(windows):
        if window.ndim != 1 or not 1 <= len(window) <= WINDOW_SAMPLES:
            raise ValueError(f"a window must have 1 to {WINDOW_SAMPLES} samples, not shape {window.shape}")
        if not np.isfinite(window).all():
            raise ValueError("a window holds samples that are NaN or infinite")
        batch[row, : len(window)] = window
    return batch
