"""The face of the model: loads once, pads to one batch shape, numpy in, records out."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from numpy.typing import NDArray

from model.checkpoint import Checkpoint, find_checkpoint
from model.generate import DETECT_LANGUAGE, MAX_NEW_TOKENS, DecodingRules, Generated, make_rules
from model.interface import (
    WINDOW_SAMPLES,
    Samples,
    TranscriberSettings,
    WindowResult,
)
from model.programs import Programs
from model.sharding import batch_sharding, check_mesh, make_mesh
from model.tokens import WhisperTokenizer, compression_ratio, segments_of

_MIN_LANGUAGE_PROB = 1e-3  # languages below this tell a vote nothing, and there are a hundred
_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float16": jnp.float16}


def load_transcriber(settings: TranscriberSettings, mesh: Mesh | None = None) -> WhisperTranscriber:
    """Finds the checkpoint, loads it and makes it ready; compiled programs are kept between runs.

    Raises:
        CheckpointError: the model cannot be found or read.
        ValueError: settings that the model or the mesh does not allow.
    """
    _keep_compiled_programs()
    return WhisperTranscriber(find_checkpoint(settings.model), settings, mesh or make_mesh())


class WhisperTranscriber:
    """A `model.interface.Transcriber` on JAX.

    A call has one shape: shorter batches and windows are padded with silence, and the padding is dropped.
    """

    def __init__(self, checkpoint: Checkpoint, settings: TranscriberSettings, mesh: Mesh) -> None:
        check_mesh(mesh, checkpoint.config, settings.batch_size)
        self._batch_size = settings.batch_size
        self._mesh = mesh
        self.tokenizer = WhisperTokenizer(checkpoint.tokenizer)
        self._rules = _rules_of(checkpoint, self.tokenizer, settings)
        self._codes = list(self.tokenizer.special.languages) if self._rules.language_ids else []
        self._programs = Programs(checkpoint, self._rules, _dtype_of(settings.dtype), mesh)
        self._lock = threading.Lock()

    @property
    def batch_size(self) -> int:
        """Windows a call is compiled for."""
        return self._batch_size

    def transcribe(self, windows: Sequence[Samples], languages: Sequence[str | None]) -> list[WindowResult]:
        """Transcribes each window on its own; see `model.interface.Transcriber`."""
        samples = _pad(windows, self._batch_size)
        indices = self._language_indices(languages, len(windows))
        with self._lock:
            generated = jax.device_get(self._run(samples, indices))
        return [
            self._result(generated, row, len(window), languages[row]) for row, window in enumerate(windows)
        ]

    def encode(self, windows: Sequence[Samples]) -> NDArray[np.float32]:
        """The encoder's output for each window, float32[B, 1500, d_model]; for comparisons."""
        with self._lock:
            encoded = self._programs.encode(self._put(_pad(windows, self._batch_size)))
        return np.asarray(encoded, np.float32)[: len(windows)]

    def _run(self, samples: NDArray[np.float32], languages: NDArray[np.int32]) -> Generated:
        encoded = self._programs.encode(self._put(samples))
        return self._programs.generate(encoded, self._put(languages))

    def _put(self, array: NDArray[np.generic]) -> jax.Array:
        placed: jax.Array = jax.device_put(array, batch_sharding(self._mesh))
        return placed

    def _language_indices(self, languages: Sequence[str | None], n_windows: int) -> NDArray[np.int32]:
        if len(languages) != n_windows:
            raise ValueError(f"{n_windows} windows came with {len(languages)} languages")
        indices = np.full(self._batch_size, DETECT_LANGUAGE, np.int32)
        for row, code in enumerate(languages):
            if code is None:
                continue
            known = self._codes or ["en"]
            if code not in known:
                raise ValueError(f"language {code!r} is unknown to this model; it knows {', '.join(known)}")
            indices[row] = known.index(code)
        return indices

    def _result(self, generated: Generated, row: int, n_samples: int, language: str | None) -> WindowResult:
        if not np.isfinite(generated.sum_logprob[row]):
            raise ValueError(
                "the model's probabilities are not finite: its weights are damaged, or the dtype is too "
                "narrow for them; try --dtype float32"
            )
        n_tokens = int(generated.n_tokens[row])
        ids = [int(token) for token in generated.tokens[row, :n_tokens]]
        segments = segments_of(ids, self.tokenizer, n_samples, complete=n_tokens < MAX_NEW_TOKENS)
        code = self._codes[int(generated.language[row])] if self._codes else "en"
        return WindowResult(
            segments=segments,
            language=code,
            language_probs=self._language_probs(generated, row) if language is None else {},
            avg_logprob=float(generated.sum_logprob[row]) / (n_tokens + 1),
            no_speech_prob=float(generated.no_speech_prob[row]),
            compression_ratio=compression_ratio("".join(segment.text for segment in segments).strip()),
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


def _keep_compiled_programs() -> None:
    """Keeps what XLA compiles on disk, unless the user chose a place for it."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(caches / "whisper-beam" / "xla"))


def _dtype_of(name: str) -> np.dtype[Any]:
    if name == "auto":
        name = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    if name not in _DTYPES:
        raise ValueError(f"dtype {name!r} is unknown; use auto, {', '.join(_DTYPES)}")
    dtype: np.dtype[Any] = np.dtype(_DTYPES[name])
    return dtype


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
    )


def _pad(windows: Sequence[Samples], batch_size: int) -> NDArray[np.float32]:
    """Windows as one array float32[batch_size, 480000], padded with silence."""
    if not 1 <= len(windows) <= batch_size:
        raise ValueError(f"a batch must have 1 to {batch_size} windows, not {len(windows)}")
    batch = np.zeros((batch_size, WINDOW_SAMPLES), np.float32)
    for row, window in enumerate(windows):
        if window.ndim != 1 or not 1 <= len(window) <= WINDOW_SAMPLES:
            raise ValueError(f"a window must have 1 to {WINDOW_SAMPLES} samples, not shape {window.shape}")
        if not np.isfinite(window).all():
            raise ValueError("a window holds samples that are NaN or infinite")
        batch[row, : len(window)] = window
    return batch
