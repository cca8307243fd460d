"""The Python API on tones: results, streams, errors, progress, cancellation, threads."""

from __future__ import annotations

import io
import logging
import os
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from model.config import CheckpointDefaults
from model.interface import SAMPLE_RATE
from pipelines.audio_input import AudioInputError, from_file
from pipelines.inference import Inference, OptionsError, Result, TranscriptionError, to_result
from tests.support.inference_backends import Observed
from tests.support.tone_backend import (
    FRENCH,
    LANGUAGES_REQUESTED,
    LOADED,
    REQUESTS,
    TONES,
    expected_text,
    tone,
    write_sparse,
    write_talk,
)
from transforms.core.metrics import CountingMetrics
from transforms.recognition.lanes import ModelError


def n_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_recording_has_a_text_and_segments_of_four_keys(inference: Inference, tmp_path: Path) -> None:
    result = inference(write_talk(tmp_path / "a.wav", 3))
    assert result["segments"] == [
        {"id": 0, "start": 0.0, "end": 1.0, "text": " en0"},
        {"id": 1, "start": 1.0, "end": 2.0, "text": " en1"},
        {"id": 2, "start": 2.0, "end": 3.0, "text": " en2"},
    ]
    assert (result["text"], result["language"], result["duration"]) == ("en0 en1 en2", "en", 3.0)
    assert (result["problem"], result["failures"]) == (None, [])
    assert result["row"]["uri"] == str(tmp_path / "a.wav")


def test_the_model_is_loaded_once_with_its_options() -> None:
    with Inference("tiny", backend=TONES, batch_size=4, beam_size=2, dtype=np.float32) as inference:
        (options,) = LOADED
        assert (options.model, options.batch_size, options.beam_size) == ("openai/whisper-tiny", 4, 2)
        assert options.dtype == "float32"
        assert (inference.batch_size, inference.languages) == (4, ("en", "fr", "de"))
        assert inference.token_ids("ab") == [97, 98]
        inference.warm_up()
    assert len(LOADED) == 1


@pytest.mark.parametrize("channels", ["mix", "right"])  # which a recording of one channel does not have
def test_a_warm_up_transcribes_a_recording(channels: str) -> None:
    with Inference("m", backend=TONES, vad=False, channels=channels) as inference:
        inference.warm_up()
    assert [request.samples.size for request in REQUESTS] == [SAMPLE_RATE] * (channels == "mix")


def test_options_of_a_call_reach_the_model(tmp_path: Path) -> None:
    path = write_talk(tmp_path / "a.wav", 3)
    with Inference("m", backend=TONES, language="fr", initial_prompt="Dear sir") as inference:
        assert inference(path)["text"] == "fr0 fr1 fr2"
        assert (
            inference(path, language="German", task="translate", initial_prompt=None)["text"] == "de0 de1 de2"
        )
        assert inference(path, language=None)["language"] == "en"
        assert inference(path, return_timestamps="word", hotwords="Mainz")["segments"][0]["words"] == []
        assert "words" not in inference(path)["segments"][0]
    first, second, _, words, last = REQUESTS
    assert (first.prompt, first.word_timestamps, first.timestamps) == ("Dear sir", False, True)
    assert (second.task, second.prompt) == ("translate", "")
    assert (words.word_timestamps, words.hotwords) == (True, "Mainz")
    assert (last.language, last.prompt, last.hotwords) == ("fr", "Dear sir", "")


def test_calls_follow_what_the_checkpoint_is_configured_for(tmp_path: Path) -> None:
    path = write_talk(tmp_path / "a.wav", 3)
    backend = replace(TONES, defaults=lambda _: CheckpointDefaults("fr", "translate"))
    with Inference("m", backend=backend) as inference:
        assert inference(path)["text"] == "fr0 fr1 fr2"
        assert inference(path, language=None)["language"] == "en"
        assert inference(path, task="transcribe", languages=["en", "de"])["language"] == "en"
    assert [request.task for request in REQUESTS] == ["translate", "translate", "transcribe"]
    with Inference("m", backend=backend, language="de") as inference:
        assert inference(path)["text"] == "de0 de1 de2"


def test_without_timestamps_a_window_is_a_segment(inference: Inference, tmp_path: Path) -> None:
    inference(write_talk(tmp_path / "a.wav", 3), return_timestamps=False)
    assert [request.timestamps for request in REQUESTS] == [False]


def test_chunks_have_the_length_that_is_asked_for(inference: Inference, talk: Path) -> None:
    inference(talk, chunk_length_s=10, stride_length_s=2, windows="grid", language="en")
    assert max(request.samples.size for request in REQUESTS) == 10 * SAMPLE_RATE
    assert len(REQUESTS) >= 100 / 8


def test_clips_may_be_chosen(inference: Inference, tmp_path: Path) -> None:
    path = write_talk(tmp_path / "a.wav", 20)
    for clips in ("3,5,12.0,13,18", [3, 5, 12.0, 13, 18]):
        result = inference(path, clip_timestamps=clips, language="en")
        assert result["text"] == "en3 en4 en12 en18 en19"
        assert [segment["start"] for segment in result["segments"]] == [3.0, 4.0, 12.0, 18.0, 19.0]
        assert result["row"]["clips"] == [
            {"start": 3.0, "end": 5.0}, {"start": 12.0, "end": 13.0}, {"start": 18.0, "end": 20.0},
        ]  # fmt: skip
    with pytest.raises(
        TranscriptionError, match="no_such_clip: the clip begins after the end of the recording"
    ):
        inference(path, clip_timestamps=[20, 21])


def test_a_channel_may_be_chosen(inference: Inference) -> None:
    both = np.stack([tone(3), tone(40)], axis=1)
    assert inference((both, SAMPLE_RATE), channels="left")["text"] == "en3"
    assert inference((both, SAMPLE_RATE), channels=1)["text"] == "en40"
    assert inference((both, SAMPLE_RATE), channels=1)["row"]["channel"] == 1


@pytest.mark.parametrize("given", [{}, {"language": None}, {"language": "auto"}])
def test_the_language_is_a_vote_of_all_windows(
    inference: Inference, tmp_path: Path, given: dict[str, Any]
) -> None:
    path = write_talk(tmp_path / "a.wav", 80, french_from=76)
    result = inference(path, **given)
    assert (result["language"], result["text"]) == ("en", expected_text("en", 80))
    assert None in LANGUAGES_REQUESTED
    assert "en" in LANGUAGES_REQUESTED


def test_the_vote_may_be_restricted(inference: Inference, tmp_path: Path) -> None:
    path = write_talk(tmp_path / "a.wav", 3)  # in English with 0.9, German with 0.1
    for languages, expected in ((["fr", "de"], "de"), (("en", "de"), "en"), ("French", "fr")):
        result = inference(path, languages=languages)
        assert (result["language"], result["text"]) == (expected, expected_text(expected, 3))
        assert result["row"]["language_probs"][0]["language"] == expected
    with pytest.raises(OptionsError, match="languages it: m knows only en, fr, de"):
        inference(path, languages=["it"])


@pytest.mark.parametrize("form", ["path", "bytes", "file", "array"])
def test_the_same_samples_have_the_same_text_in_any_form(
    inference: Inference, tmp_path: Path, form: str
) -> None:
    samples = np.concatenate([tone(second) for second in range(40)])
    soundfile.write(tmp_path / "a.wav", samples, SAMPLE_RATE, subtype="FLOAT")
    content = (tmp_path / "a.wav").read_bytes()
    forms = {
        "path": tmp_path / "a.wav", "bytes": content, "file": io.BytesIO(content), "array": samples
    }  # fmt: skip
    result = inference(forms[form], sampling_rate=SAMPLE_RATE)
    reference = inference(str(tmp_path / "a.wav"))
    assert result["segments"] == reference["segments"]
    assert {**result["row"], "audio_id": "", "uri": ""} == {**reference["row"], "audio_id": "", "uri": ""}


def streamed(inference: Inference, audio: object, **given: Any) -> tuple[list[Any], Result]:  # noqa: ANN401
    stream = inference.stream(audio, **given)
    segments = []
    while True:
        try:
            segments.append(next(stream))
        except StopIteration as stop:
            return segments, stop.value


@pytest.mark.parametrize("given", [{}, {"language": "fr"}, {"return_timestamps": "word", "language": "en"}])
def test_a_stream_yields_the_segments_of_the_result_and_returns_it(
    inference: Inference, talk: Path, given: dict[str, Any]
) -> None:
    segments, result = streamed(inference, talk, **given)
    assert segments == result["segments"]
    assert result == inference(talk, **given)


def test_segments_come_while_the_recording_is_read(inference: Inference, tmp_path: Path) -> None:
    read: list[float] = []
    path = write_talk(tmp_path / "long.wav", 600)
    stream = inference.stream(path, language="en", on_progress=read.append)
    assert next(stream)["text"] == " en0"
    assert 0 < read[-1] < 400
    stream.close()
    late = inference.stream(path, on_progress=read.append)
    next(late)
    assert read[-1] == 600
    late.close()


def test_closing_a_stream_cancels(observed: Observed, tmp_path: Path) -> None:
    path = write_talk(tmp_path / "long.wav", 600)
    with Inference("m", backend=observed.backend(), batch_size=1) as inference:
        list(inference.stream(path, language="en"))
        n_threads, n_open, n_whole = threading.active_count(), n_files(), observed.n_windows
        stream = inference.stream(path, language="en")
        next(stream)
        assert n_files() > n_open
        observed.gate.clear()
        stream.close()
        n_decoded = observed.n_windows
        assert n_files() == n_open
        observed.gate.set()
        assert inference(np.concatenate([tone(1)]), sampling_rate=SAMPLE_RATE)["text"] == "en1"
        assert observed.n_windows == n_decoded + 1 < 2 * n_whole
        assert threading.active_count() == n_threads


def test_an_exception_thrown_into_a_stream_closes_the_file(inference: Inference, tmp_path: Path) -> None:
    n_open = n_files()
    stream = inference.stream(write_talk(tmp_path / "long.wav", 600), language="en")
    next(stream)
    with pytest.raises(ZeroDivisionError) as caught:
        stream.throw(ZeroDivisionError())
    assert n_files() == n_open  # although the traceback still refers to the stream
    assert caught.value.__traceback__ is not None


def test_a_stream_that_is_dropped_has_opened_nothing(inference: Inference, talk: Path) -> None:
    n_open = n_files()
    stream = inference.stream(talk, language="en")
    assert n_files() == n_open
    del stream
    assert REQUESTS == []


def test_options_of_a_stream_are_checked_at_once(inference: Inference, talk: Path) -> None:
    with pytest.raises(OptionsError, match="langage: no such option"):
        inference.stream(talk, langage="en")
    with pytest.raises(AudioInputError):
        inference.stream(None)
    with pytest.raises(OptionsError, match="beam_size: is an option of the model"):
        inference((tone(1), SAMPLE_RATE), beam_size=2)  # of which no copy is left: see the warnings


def test_a_language_or_task_that_the_model_lacks_is_refused(talk: Path) -> None:
    with pytest.raises(OptionsError, match="language it: m knows only en, fr, de"):
        Inference("m", backend=TONES, language="it")
    assert LOADED == []
    with Inference("m.en", backend=TONES) as inference:
        with pytest.raises(OptionsError, match=r"task translate: m\.en knows only en"):
            inference(talk, task="translate")
        assert inference(talk)["language"] == "en"
        assert LANGUAGES_REQUESTED[0] == "en"


def errors_of(inference: Inference, audio: object, **given: Any) -> tuple[str, str, bool]:  # noqa: ANN401
    n_open = n_files()
    with pytest.raises(TranscriptionError) as caught:
        inference(audio, **given)
    assert n_files() == n_open
    return caught.value.stage, caught.value.kind, caught.value.retryable


def test_recordings_without_a_transcript_are_errors(inference: Inference, tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "page.mp3").write_bytes(b"<html>")
    whole = write_talk(tmp_path / "cut.flac", 3).read_bytes()
    assert errors_of(inference, tmp_path / "none.wav") == ("fetch", "not_found", False)
    assert errors_of(inference, tmp_path) == ("fetch", "not_a_file", False)
    assert errors_of(inference, tmp_path / "empty.wav") == ("fetch", "empty", False)
    assert errors_of(inference, b"") == ("fetch", "empty", False)
    assert errors_of(inference, tmp_path / "page.mp3") == ("decode", "not_audio", False)
    assert errors_of(inference, whole[:40]) == ("decode", "corrupt", False)
    assert errors_of(inference, whole, channels=3) == ("decode", "no_such_channel", False)
    assert errors_of(inference, "http://127.0.0.1:9/a.wav") == ("fetch", "forbidden_host", False)


def test_a_window_that_the_model_fails_on_leaves_a_failure_and_the_rest(
    inference: Inference, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_talk(tmp_path / "poisoned.wav", 90, poison=70)
    with caplog.at_level(logging.WARNING, "pipelines.inference"):
        result = inference(path)
    assert result["text"].startswith("en0 en1 en2")
    assert "en70" not in result["text"]
    (failure,) = result["failures"]
    assert (failure["stage"], failure["kind"], failure["uri"]) == ("transcribe", "model_error", str(path))
    assert "the model choked" in caplog.text


def test_damage_is_a_problem_of_the_result(inference: Inference, tmp_path: Path) -> None:
    path = write_talk(tmp_path / "cut.wav", 40)
    path.write_bytes(path.read_bytes()[: 44 + 2 * 33 * SAMPLE_RATE])
    result = inference(path)
    assert result["duration"] == 33.0
    assert result["problem"] is not None


def test_silence_is_an_empty_text(inference: Inference, tmp_path: Path) -> None:
    result = inference(write_sparse(tmp_path / "silent.wav"))
    assert (result["text"], result["segments"], result["language"]) == ("", [], None)
    assert REQUESTS == []


def test_a_model_that_does_not_work_is_an_error_of_its_own(tmp_path: Path) -> None:
    class Broken:
        max_concurrent_calls, batch_size, compile_s, arithmetic = 1, 2, 0.0, ""
        batch_group = staticmethod(lambda request: None)
        token_ids = staticmethod(list)

        def new_batch(self, group: object, n_rows: int | None = None) -> None:
            raise MemoryError("out of memory")

    backend = TONES.__class__(lambda _: Broken(), TONES.languages, TONES.detector)  # type: ignore[arg-type, return-value]
    path = write_talk(tmp_path / "a.wav", 3)
    with Inference("m", backend=backend) as inference:
        for _ in range(2):
            with pytest.raises(ModelError, match="out of memory"):
                inference(path)


def test_the_server_runs_calls_of_its_own_files(inference: Inference, talk: Path) -> None:
    metrics = CountingMetrics()
    with talk.open("rb") as file:
        audio = from_file(file, digest="ab" * 32, name="upload.wav")
        call = inference.call(audio, None, threading.Event(), metrics, language="en", batch_size=1)
        rows, stop = [], None
        with closing(inference.run(call)) as segments:
            while stop is None:
                try:
                    rows.append(next(segments))
                except StopIteration as end:
                    stop = end
        assert not file.closed
    result = to_result(stop.value, has_words=False)
    assert rows == result["row"]["segments"]
    assert (result["row"]["uri"], result["row"]["audio_id"]) == ("upload.wav", "ab" * 8)
    assert metrics.counters["windows"] == len(REQUESTS)


def test_a_call_without_a_transcript_is_an_error_for_the_server_too(inference: Inference) -> None:
    with pytest.raises(TranscriptionError, match="empty"):
        list(inference.run(inference.call(from_file(io.BytesIO()))))


def test_a_loud_recording_is_french(inference: Inference) -> None:
    assert inference((tone(2, FRENCH), SAMPLE_RATE))["text"] == "fr2"
