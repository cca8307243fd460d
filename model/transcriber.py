"""The face of the model: loads once, pads to one batch shape, numpy in, records out."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from numpy.typing import NDArray

from model.align import pack
from model.batch_decoder import LEAST_ROWS, Generated
from model.caches import cache_folder
from model.checkpoint import Checkpoint, find_checkpoint
from model.compiled import waited_s
from model.cpu_features import cpu_features
from model.interface import (
    WINDOW_SAMPLES,
    Request,
    Samples,
    TranscriberSettings,
    WindowResult,
)
from model.mesh_shape import parse_mesh
from model.network import AudioMemory
from model.precision import Precision, choose_arithmetic
from model.prefill import DETECT_LANGUAGE, Asked
from model.program_store import jax_keeps_programs
from model.programs import Programs
from model.rules import DecodingRules, make_rules
from model.sharding import DATA, check_mesh, make_mesh
from model.tokens import WhisperTokenizer, compression_ratio, segments_of
from model.word_times import add_words

_MIN_LANGUAGE_PROB = 1e-3  # languages below this tell a vote nothing, and there are a hundred
_PROMPT_SLOTS = (0, 16, 64)  # or as many as there are
_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float16": jnp.float16}


def load_transcriber(settings: TranscriberSettings, mesh: Mesh | None = None) -> WhisperTranscriber:
    """Finds the checkpoint, loads it and makes it ready; compiled programs are kept between runs.

    Args:
        settings: what to load, and how.
        mesh: the devices; without, those that `settings.mesh` names.

    Raises:
        CheckpointError: the model cannot be found or read.
        ValueError: settings that the model or the mesh does not allow.
    """
    mesh = mesh or make_mesh(*parse_mesh(settings.mesh))
    kept = _kept_programs(mesh)
    return WhisperTranscriber(find_checkpoint(settings.model), settings, mesh, kept)


class WhisperTranscriber:
    """A `model.interface.Transcriber` on JAX.

    Windows are padded with silence to 30 s, and batches to their full size, so that what is heard of a window
    does not depend on what shares its batch; the padding is dropped.

    Attributes:
        tokenizer: of the checkpoint.
        precision: what it computes in.
    """

    def __init__(
        self, checkpoint: Checkpoint, settings: TranscriberSettings, mesh: Mesh, kept: Path | None = None
    ) -> None:
        """Loads a checkpoint; `kept` is the folder of compiled programs, None where JAX sees to these."""
        check_mesh(mesh, checkpoint.config, settings.batch_size)
        self._settings = settings
        self._batch_size = settings.batch_size
        self._n_lanes = _lanes_for(settings, mesh)
        self._n_data = mesh.shape[DATA]
        self.tokenizer = WhisperTokenizer(checkpoint.tokenizer)
        self._rules = _rules_of(checkpoint, self.tokenizer, settings)
        self._codes = list(self.tokenizer.special.languages) if self._rules.language_ids else []
        self.precision = _precision_of(settings)
        self._compile_s = 0.0
        self._lock = threading.Lock()
        self._programs = Programs(checkpoint, self._rules, self.precision, mesh, kept)

    @property
    def batch_size(self) -> int:
        """The most windows of a call."""
        return self._batch_size

    @property
    def n_lanes(self) -> int:
        """Calls that are worth making at the same time; see `_lanes_for`."""
        return self._n_lanes

    @property
    def compile_s(self) -> float:
        """Seconds that calls have waited so far for programs to be compiled, or to be loaded from disk."""
        return self._compile_s

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        """Transcribes each window on its own; see `model.interface.Transcriber`."""
        samples = self._pad([request.samples for request in requests])
        asked = self._asked(requests, len(samples))
        waited = waited_s()
        memory = self._programs.remember(samples, len(requests))
        generated = self._generate(memory, asked, requests)
        results = [self._result(generated, row, request) for row, request in enumerate(requests)]
        if self._settings.word_timestamps:
            results = self._with_words(memory, results, requests)
        with self._lock:
            self._compile_s += waited_s() - waited
        return results

    def encode(self, windows: Sequence[Samples]) -> NDArray[np.float32]:
        """The encoder's output for each window, float32[B, 1500, d_model]; for comparisons."""
        encoded = self._programs.encode(self._pad(windows))
        return np.asarray(encoded, np.float32)[: len(windows)]

    def _pad(self, windows: Sequence[Samples]) -> NDArray[np.float32]:
        """Windows as float32[B, 480000], padded with silence to the size of a full batch."""
        if not 1 <= len(windows) <= self._batch_size:
            raise ValueError(f"a batch must have 1 to {self._batch_size} windows, not {len(windows)}")
        size = self._batch_size if self._n_data > 1 else max(self._batch_size, LEAST_ROWS)
        return _stacked(windows, size)

    def _generate(self, memory: AudioMemory, asked: Asked, requests: Sequence[Request]) -> Generated:
        """Writes all windows; with beams, those at temperature 0 by the search and the others by sampling."""
        wanted = np.asarray(asked.wanted)
        searched = np.zeros(len(wanted), bool)
        if self._rules.beam_size > 1:
            searched[: len(requests)] = [request.temperature == 0 for request in requests]
        generated = [
            write(memory, asked._replace(wanted=jnp.asarray(rows)))
            for write, rows in (
                (self._programs.search, searched),
                (self._programs.generate, wanted & ~searched),
            )
            if rows.any()
        ]
        if len(generated) == 1:
            return generated[0]
        return Generated(
            *(
                np.where(searched.reshape(-1, *[1] * (one.ndim - 1)), one, other)
                for one, other in zip(*generated, strict=True)
            )
        )

    def _with_words(
        self, memory: AudioMemory, results: Sequence[WindowResult], requests: Sequence[Request]
    ) -> list[WindowResult]:
        """The same results with the words of their segments."""
        texts = [[token for segment in result.segments for token in segment.tokens] for result in results]
        if not any(texts):
            return list(results)
        n_samples = [len(request.samples) for request in requests]
        prompts = [self._text_prompt(result.language) for result in results]
        batch = pack(
            list(zip(prompts, texts, strict=True)),
            n_samples,
            self.tokenizer.special.end_of_text,
            jax.tree.leaves(memory)[0].shape[0],
        )
        alignment = jax.device_get(self._programs.align(memory, batch))
        translates = self._settings.task == "translate"
        languages = ["en" if translates else result.language for result in results]
        segments = [result.segments for result in results]
        timed = add_words(segments, batch, alignment, self.tokenizer, n_samples, languages)
        return [replace(result, segments=own) for result, own in zip(results, timed, strict=True)]

    def _text_prompt(self, language: str) -> list[int]:
        """What comes before a text without timestamps."""
        special, task_id = self.tokenizer.special, self._rules.task_id
        task = [] if task_id is None else [special.languages[language], task_id]
        return [special.start_of_transcript, *task, special.no_timestamps]

    def _asked(self, requests: Sequence[Request], batch: int) -> Asked:
        """What is asked of a batch; nothing of the rows of its padding."""
        prompts = [self._prompt(request) for request in requests]
        n_slots = _bucket(max(map(len, prompts)), self._rules.max_prompt)
        language = np.full(batch, DETECT_LANGUAGE, np.int32)
        temperature = np.zeros(batch, np.float32)
        uniforms = np.zeros((batch, self._rules.max_new_tokens), np.float32)
        prompt = np.full((batch, n_slots), self.tokenizer.special.end_of_text, np.int32)
        n_prompt = np.zeros(batch, np.int32)
        for row, (request, ids) in enumerate(zip(requests, prompts, strict=True)):
            language[row] = self._language_index(request.language)
            n_prompt[row] = len(ids)
            prompt[row, n_slots - len(ids) :] = ids
            if request.temperature > 0:
                temperature[row] = request.temperature
                uniforms[row] = _uniforms(request.seed, self._rules.max_new_tokens)
        wanted = np.arange(batch) < len(requests)
        return Asked(*map(jnp.asarray, (wanted, language, temperature, uniforms, prompt, n_prompt)))

    def _prompt(self, request: Request) -> list[int]:
        """Ids of the text before: hot words first, of the prompt as many of its last ids as there is room."""
        settings = self._settings
        hotwords, prompt = (
            self.tokenizer.encode_text(f" {text.strip()}") if text.strip() else []
            for text in (
                settings.hotwords if request.hotwords is None else request.hotwords,
                settings.prompt if request.prompt is None else request.prompt,
            )
        )
        room = max(self._rules.max_prompt - 1, 0)
        kept = hotwords[:room]
        kept += prompt[max(len(prompt) - (room - len(kept)), 0) :]
        return [self.tokenizer.special.start_of_previous, *kept] if kept else []

    def _language_index(self, code: str | None) -> int:
        if code is None:
            return DETECT_LANGUAGE
        known = self._codes or ["en"]
        if code not in known:
            raise ValueError(f"language {code!r} is unknown to this model; it knows {', '.join(known)}")
        return known.index(code)

    def _result(self, generated: Generated, row: int, request: Request) -> WindowResult:
        if not np.isfinite(generated.sum_logprob[row]):
            raise ValueError(
                "the model's probabilities are not finite: its weights are damaged, or the dtype is too "
                "narrow for them; try --dtype float32"
            )
        n_tokens, looped = int(generated.n_tokens[row]), bool(generated.looped[row])
        ids = [int(token) for token in generated.tokens[row, :n_tokens]]
        complete = n_tokens < self._rules.max_new_tokens and not looped
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
            looped=looped,
            timestamped=self._rules.timestamps,
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


def _kept_programs(mesh: Mesh) -> Path | None:
    """Sees to it that compiled programs are kept on disk, unless the user chose a place for them.

    Returns:
        The folder of our own store, which serves one device of a CPU; None where JAX's cache does it.
    """
    if jax_keeps_programs():
        return None
    caches = cache_folder()
    if jax.default_backend() == "cpu" and mesh.size == 1:
        return caches / "programs"
    jax.config.update("jax_compilation_cache_dir", str(caches / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # the small ones add up
    return None


def _lanes_for(settings: TranscriberSettings, mesh: Mesh) -> int:
    """One for each core of a CPU: a call by itself keeps little more than one busy. Two for an accelerator.

    Programs that several devices run together must start in the same order on each: there it is one.
    """
    if mesh.size > 1:
        return 1
    if settings.parallel_batches:
        return settings.parallel_batches
    if jax.default_backend() != "cpu":
        return 2
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _precision_of(settings: TranscriberSettings) -> Precision:
    backend, name = jax.default_backend(), settings.dtype
    arithmetic = choose_arithmetic(settings.quantization, name, backend=backend, features=cpu_features())
    if name == "auto":
        name = "float32" if backend == "cpu" else "bfloat16"
    if name not in _DTYPES:
        raise ValueError(f"dtype {name!r} is unknown; use auto, {', '.join(_DTYPES)}")
    return Precision(np.dtype(_DTYPES[name]), arithmetic)


def _rules_of(
    checkpoint: Checkpoint, tokenizer: WhisperTokenizer, settings: TranscriberSettings
) -> DecodingRules:
    multilingual = checkpoint.config.is_multilingual
    if settings.task == "translate" and not multilingual:
        raise ValueError(f"model {checkpoint.name!r} knows English only: it cannot translate")
    return make_rules(
        tokenizer.special,
        checkpoint.decoding,
        multilingual=multilingual,
        task=settings.task,
        timestamps=settings.timestamps,
        suppress_tokens=settings.suppress_tokens,
        max_new_tokens=settings.max_new_tokens,
        beam_size=settings.beam_size,
        patience=settings.patience,
        length_penalty=settings.length_penalty,
    )


def _bucket(length: int, most: int) -> int:
    """The slots compiled for a prompt of that length: few shapes, as each is compiled once."""
    return next((slots for slots in _PROMPT_SLOTS if length <= slots <= most), most)


def _uniforms(seed: int, n: int) -> NDArray[np.float32]:
    """Numbers in [0, 1) that depend on the seed alone: Philox (Salmon et al., 2011) is made for that."""
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
