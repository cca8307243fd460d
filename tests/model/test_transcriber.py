import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from model import transcriber
from model.arithmetic import Arithmetic
from model.checkpoint import Checkpoint
from model.config import WhisperConfig
from model.interface import ModelOptions, Request, Transcriber, WindowResult
from model.method_programs import Batch, BatchKind
from model.rows import Written
from model.sharding import DATA, MODEL
from model.transcriber import WhisperTranscriber, default_batch_size, precision_of
from pipelines.backend import whisper_languages
from pipelines.inference import Inference
from pipelines.options import OptionsError
from tests.support.tiny_model import save_huggingface, tiny_weights
from tests.support.transcribers import load, noise, requests_of

BASE = WhisperConfig(80, 512, 2048, 6, 8, 6, 8, 51_865)


def test_it_is_a_transcriber(tiny: WhisperTranscriber) -> None:
    ours: Transcriber = tiny
    (request,) = requests_of([noise(3)], ["de"])
    batch = ours.new_batch(ours.batch_group(request))
    batch.add([request])
    ((answered, result),) = batch.advance()
    assert answered is request
    assert isinstance(result, WindowResult)
    assert result.language == "de"
    assert result.language_probs == {}
    assert result.avg_logprob < 0 <= result.no_speech_prob <= 1
    assert all(0 <= s.start <= s.stop <= 48_000 for s in result.segments)


def test_language_is_detected_where_none_is_given(tiny: WhisperTranscriber) -> None:
    given, detected = tiny.transcribe(requests_of([noise(5), noise(5)], ["yo", None]))
    assert given.language == "yo"
    assert detected.language == max(detected.language_probs, key=detected.language_probs.__getitem__)
    assert 0.9 < sum(detected.language_probs.values()) <= 1.0001


def test_detecting_a_language_is_decoding_in_it(tiny: WhisperTranscriber) -> None:
    (detected,) = tiny.transcribe(requests_of([noise(5)], [None], full_window=True))
    (given,) = tiny.transcribe(requests_of([noise(5)], [detected.language], full_window=True))
    assert given.segments == detected.segments


def test_threads_may_call_at_the_same_time(tiny: WhisperTranscriber) -> None:
    expected = [tiny.transcribe(requests_of([noise(2, seed)], ["en"]))[0].segments for seed in range(4)]
    results: dict[int, object] = {}

    def call(seed: int) -> None:
        results[seed] = tiny.transcribe(requests_of([noise(2, seed)], ["en"]))[0].segments

    threads = [threading.Thread(target=call, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [results[seed] for seed in range(4)] == expected


def test_a_batch_of_another_model_is_refused(tiny: WhisperTranscriber) -> None:
    with pytest.raises(TypeError, match="'group' is no group of this model"):
        tiny.new_batch("group")


@pytest.mark.parametrize(
    ("n_rows", "batch_size", "n_encoded", "size"),
    [(None, 8, 1, 8), (None, 2, 1, 4), (1, 8, 1, 4), (6, 8, 1, 6), (None, 12, 4, 12), (5, 16, 4, 8)],
)
def test_rows_of_a_batch(
    tiny: WhisperTranscriber,
    monkeypatch: pytest.MonkeyPatch,
    n_rows: int | None,
    batch_size: int,
    n_encoded: int,
    size: int,
) -> None:
    """There are four at least, and those that are encoded together fill the batch."""
    monkeypatch.setattr(tiny, "_batch_size", batch_size)
    monkeypatch.setattr(tiny, "_n_encoded", n_encoded)
    batch = tiny.new_batch(tiny.batch_group(Request(noise(1))), n_rows)
    assert (batch.n_free, batch.n_refilled) == (size, n_encoded)
    assert batch.requests == []


def test_a_language_that_only_the_model_has(tmp_path: Path) -> None:
    folder = save_huggingface(tmp_path / "m", tiny_weights())
    generation = json.loads((folder / "generation_config.json").read_text())
    languages = {"<|en|>": 50_259, "<|xyz|>": 50_300}
    (folder / "generation_config.json").write_text(json.dumps({**generation, "lang_to_id": languages}))
    assert whisper_languages(str(folder)) == ("en", "xyz")
    with Inference(folder, language="XYZ", batch_size=1, vad=False) as inference:
        assert inference.options.language == "xyz"
        assert inference(noise(2), sampling_rate=16_000)["language"] == "xyz"
        with pytest.raises(OptionsError, match=r"language abc: .* knows only en, xyz$"):
            inference(noise(2), sampling_rate=16_000, language="abc")


def test_it_says_what_it_computes_with(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(transcriber, "cpu_features", lambda: frozenset({"avx512_bf16"}))
    with caplog.at_level("INFO", "model.transcriber"):
        loaded = load(tiny_folder, quantization="auto")
    assert loaded.precision.arithmetic is Arithmetic.BF16_A8
    assert (
        "encoder bfloat16 products, decoder 8-bit weights and activations (bf16-a8, ch" in loaded.arithmetic
    )
    assert f"{tiny_folder} computes on a CPU: {loaded.arithmetic}" in caplog.messages
    assert load(tiny_folder, quantization="none").arithmetic.startswith(
        "encoder and decoder float32 (none, as"
    )


def test_as_many_calls_are_worth_making_as_there_are_cores_or_as_is_asked_for(tiny_folder: Path) -> None:
    assert load(tiny_folder).max_concurrent_calls == len(os.sched_getaffinity(0))
    assert load(tiny_folder, parallel_batches=3).max_concurrent_calls == 3


def test_without_timestamps_a_window_is_one_segment(tiny: WhisperTranscriber) -> None:
    (result,) = tiny.transcribe(requests_of([noise(3)], ["en"], timestamps=False))
    assert not result.timestamped
    assert [(s.start, s.stop) for s in result.segments] in ([(0, 48_000)], [])


def sampled_requests(language: str, *, words: bool = True) -> list[Request]:
    """Windows of which the tiny model writes many tokens in Japanese, where each is a word."""
    return [
        Request(noise(5, seed), language, temperature=1.0, seed=seed, word_timestamps=words)
        for seed in (5, 20)
    ]


@pytest.mark.parametrize("language", ["en", "ja"])
def test_words_are_the_text_in_order_and_inside_the_window(tiny: WhisperTranscriber, language: str) -> None:
    n_words = 0
    for result in tiny.transcribe(sampled_requests(language)):
        last = 0
        for segment in result.segments:
            assert "".join(word.text for word in segment.words) == segment.text
            for word in segment.words:
                assert last <= word.start <= word.stop <= 80_000
                assert 0 < word.probability < 1
                last = word.stop
                n_words += 1
        assert last > 0
    assert n_words >= {"en": 4, "ja": 8}[language]


def test_word_times_change_neither_text_nor_times_of_segments(tiny: WhisperTranscriber) -> None:
    plain = tiny.transcribe(sampled_requests("ja", words=False))
    with_words = tiny.transcribe(sampled_requests("ja"))
    for without, result in zip(plain, with_words, strict=True):
        assert not any(segment.words for segment in without.segments)
        assert all(segment.words for segment in result.segments)
        bare = tuple(replace(segment, words=()) for segment in result.segments)
        assert replace(result, segments=bare) == without


def silence_rows(transcriber: WhisperTranscriber, rows: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the model write nothing of the windows in these rows of a batch."""
    advance = transcriber._programs.advance

    def silenced(kind: BatchKind, batch: Batch, **limits: int) -> tuple[Batch, Written]:
        batch, written = advance(kind, batch, **limits)
        n_tokens = np.where(np.isin(np.arange(len(written.n_tokens)), rows), 0, written.n_tokens)
        return batch, written._replace(n_tokens=jnp.asarray(n_tokens))

    monkeypatch.setattr(transcriber._programs, "advance", silenced)


@pytest.mark.parametrize("silent", [0, 1])
def test_a_window_without_text_has_no_words_and_harms_no_other(
    tiny: WhisperTranscriber, silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = tiny.transcribe(sampled_requests("ja"))
    silence_rows(tiny, [silent], monkeypatch)
    results = tiny.transcribe(sampled_requests("ja"))
    assert results[silent].segments == ()
    assert results[1 - silent] == expected[1 - silent]


def test_without_any_text_nothing_is_aligned(
    tiny: WhisperTranscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    silence_rows(tiny, [0, 1], monkeypatch)
    monkeypatch.setattr(tiny._programs, "align", lambda *_: pytest.fail("it was aligned"))
    assert [result.segments for result in tiny.transcribe(sampled_requests("ja"))] == [(), ()]


@pytest.mark.parametrize(
    ("windows", "languages", "message"),
    [
        ([noise(0)], ["en"], r"1 to 480000 samples, not shape \(0,\)"),
        ([noise(30.1)], ["en"], r"1 to 480000 samples, not shape \(481600,\)"),
        ([np.full(10, np.nan, np.float32)], ["en"], "NaN or infinite"),
        ([np.full(10, np.inf, np.float32)], ["en"], "NaN or infinite"),
        ([noise(1)], ["xx"], "language 'xx' is unknown to this model; it knows en, zh"),
    ],
)
def test_invalid_requests_are_reported(
    tiny: WhisperTranscriber, windows: list[NDArray[np.float32]], languages: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        tiny.transcribe(requests_of(windows, languages))


def fake_mesh(platform: str, *stats: dict[str, int] | None) -> Any:  # noqa: ANN401  # stands in for a mesh
    """Devices of a platform, along `data`, that have this memory."""
    client = SimpleNamespace(platform_version="PJRT C API\ncuda 12090" if platform == "gpu" else "")

    def device(n_bytes: dict[str, int] | None) -> SimpleNamespace:
        return SimpleNamespace(
            platform=platform, client=client, compute_capability="7.5", memory_stats=lambda: n_bytes
        )

    devices = np.array([[device(one)] for one in stats or (None,)], object)
    return SimpleNamespace(devices=devices, size=len(devices), shape={DATA: len(devices), MODEL: 1})


@pytest.mark.parametrize(
    ("platform", "options", "dtype", "attention"),
    [
        ("cpu", {}, "float32", "by-head"),
        ("gpu", {}, "float16", "blocked"),  # of cards that cuDNN does not know
        ("tpu", {}, "bfloat16", "blocked"),
        ("gpu", {"dtype": "bfloat16"}, "bfloat16", "blocked"),
        ("gpu", {"quantization": "w8"}, "float16", "blocked"),
        ("cpu", {"dtype": "float16"}, "float16", "by-head"),
    ],
)
def test_precision_of_a_platform(platform: str, options: dict[str, str], dtype: str, attention: str) -> None:
    found = precision_of(ModelOptions(**options), fake_mesh(platform), BASE)  # type: ignore[arg-type]
    assert (found.dtype, found.attention) == (dtype, attention)
    if platform != "cpu":
        assert found.arithmetic == options.get("quantization", "none")


@pytest.mark.parametrize(
    ("mesh", "options", "rows"),
    [
        (fake_mesh("cpu"), {"beam_size": 1}, 8),
        (fake_mesh("cpu"), {}, 4),
        (fake_mesh("cpu", None, None, None), {}, 6),
        (fake_mesh("gpu", None, None), {}, 16),  # memory is unknown
        (fake_mesh("gpu", {"bytes_limit": 60 * 10**9}), {}, 64),
        (fake_mesh("gpu", {"bytes_limit": 60 * 10**9, "bytes_in_use": 57 * 10**9}), {}, 8),
        (fake_mesh("gpu", {"bytes_limit": 60 * 10**9}, {"bytes_limit": 2 * 10**9}), {}, 32),  # one lane
        (fake_mesh("gpu", {"bytes_limit": 0}), {}, 8),
        (fake_mesh("tpu", {"bytes_limit": 16 * 10**9}), {"beam_size": 1}, 64),
    ],
)
def test_default_rows_fit_the_memory(mesh: Any, options: dict[str, int], rows: int) -> None:  # noqa: ANN401
    chosen = ModelOptions(**options)  # type: ignore[arg-type]
    assert default_batch_size(chosen, mesh, BASE, precision_of(chosen, mesh, BASE)) == rows


def test_an_unknown_dtype(tiny_folder: Path) -> None:
    with pytest.raises(ValueError, match="dtype 'float8' is unknown; use auto, float32, bfloat16, float16"):
        load(tiny_folder, dtype="float8")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_runs(tiny_folder: Path, dtype: str) -> None:
    (result,) = load(tiny_folder, dtype=dtype).transcribe(requests_of([noise(2)], ["en"]))
    assert np.isfinite(result.avg_logprob)


@pytest.mark.parametrize(("quantization", "beam_size"), [("a8", 1), ("bf16-a8", 2), ("w8", 1)])
def test_each_arithmetic_says_about_the_same(
    tiny: WhisperTranscriber, tiny_folder: Path, quantization: str, beam_size: int
) -> None:
    rounded = load(tiny_folder, quantization=quantization, beam_size=beam_size, max_new_tokens=8)
    windows = [noise(2), noise(1.5, seed=1)]
    exact, close = tiny.encode(windows), rounded.encode(windows)
    assert 0 < np.linalg.norm(close - exact) / np.linalg.norm(exact) < 0.1 or quantization == "w8"
    for result, reference in zip(
        rounded.transcribe(requests_of(windows, ["en"] * 2)),
        tiny.transcribe(requests_of(windows, ["en"] * 2)),
        strict=True,
    ):
        assert np.isfinite(result.avg_logprob)
        assert result.no_speech_prob == pytest.approx(reference.no_speech_prob, rel=0.5)


def test_weights_that_are_not_finite_are_an_error_and_no_text(tmp_path: Path) -> None:
    weights = tiny_weights()
    weights["model.decoder.layer_norm.bias"][3] = np.nan
    with pytest.raises(ValueError, match="probabilities are not finite"):
        load(save_huggingface(tmp_path / "nan", weights)).transcribe(requests_of([noise(2)], ["en"]))


def test_compiled_programs_are_kept(tiny_folder: Path, tmp_path: Path) -> None:
    program = (
        "import sys, numpy as np; from model.interface import ModelOptions, Request;"
        "from model.transcriber import load_transcriber;"
        "t = load_transcriber(ModelOptions(model=sys.argv[1], batch_size=1, beam_size=1));"
        "t.transcribe([Request(np.ones(100, np.float32), 'en')])"
    )
    places = ("JAX_COMPILATION_CACHE_DIR", "WHISPER_BEAM_CACHE")
    environment = {k: v for k, v in os.environ.items() if k not in places}
    environment["XDG_CACHE_HOME"] = str(tmp_path)
    subprocess.run([sys.executable, "-c", program, str(tiny_folder)], env=environment, check=True)
    assert list((tmp_path / "whisper-beam" / "programs").glob("*/*.program"))


def test_sampling_goes_by_the_seed(tiny: WhisperTranscriber) -> None:
    def sampled(seed: int) -> object:
        (result,) = tiny.transcribe([Request(noise(5), "en", temperature=1.0, seed=seed)])
        return result.segments

    assert sampled(2**64 - 1) == sampled(2**64 - 1)
    assert len({str(sampled(seed)) for seed in range(4)}) > 1


def test_the_task_changes_the_text(tiny: WhisperTranscriber) -> None:
    transcribed, translated = tiny.transcribe(
        [Request(noise(5), "ja"), Request(noise(5), "ja", task="translate")]
    )
    assert transcribed.avg_logprob != translated.avg_logprob


def test_an_unknown_task_is_refused(tiny: WhisperTranscriber) -> None:
    with pytest.raises(ValueError, match="task 'summarise' is unknown; use transcribe or translate"):
        tiny.transcribe([Request(noise(1), task="summarise")])


def test_prompts_reach_the_decoder(tiny: WhisperTranscriber) -> None:
    plain, prompted = tiny.transcribe([Request(noise(5), "en"), Request(noise(5), "en", prompt="Dear sir")])
    assert plain.no_speech_prob != prompted.no_speech_prob
    (alone,) = tiny.transcribe([Request(noise(5), "en")])
    assert plain.segments == alone.segments


@pytest.mark.weights
def test_an_english_only_model_does_not_translate(packaged: Callable[[str], Checkpoint]) -> None:
    packaged("openai/whisper-tiny.en")
    model = load("openai/whisper-tiny.en")
    with pytest.raises(ValueError, match="knows English only: it cannot translate"):
        model.transcribe([Request(noise(1), task="translate")])
