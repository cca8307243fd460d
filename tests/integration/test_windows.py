"""Runs that test windows, languages, silence and channels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from model.interface import SAMPLE_RATE, ModelOptions, Request, WindowResult
from pipelines.transcribe import main
from tests.support.tone_backend import (
    ENGLISH,
    FRENCH,
    LANGUAGES_REQUESTED,
    LOADED,
    REQUESTS,
    TONES,
    ToneTranscriber,
    expected_text,
    failures,
    rows,
    run,
    tone,
    write_sparse,
    write_talk,
)


def test_outvoted_windows_are_decoded_again_in_the_voted_language(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "mixed.wav", 80, french_from=76)
    write_talk(tmp_path / "french.wav", 40, french_from=0)
    assert run(tmp_path / "*.wav", out) == 0
    french, mixed = rows(out)
    assert (mixed["language"], mixed["text"]) == ("en", expected_text("en", 80))
    assert (french["language"], french["text"]) == ("fr", expected_text("fr", 40))
    assert LANGUAGES_REQUESTED.count(None) == 5
    assert [language for language in LANGUAGES_REQUESTED if language] == ["en"]
    assert len(LOADED) == 1
    assert json.loads((out / "run.json").read_text())["counts"]["windows_redone"] == 1


def test_given_language_is_used_without_detection(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "mixed.wav", 80, french_from=70)
    assert run(tmp_path / "mixed.wav", out, "--language", "French", "--task", "translate") == 0
    (row,) = rows(out)
    assert (row["language"], row["task"], row["text"]) == ("fr", "translate", expected_text("fr", 80))
    assert LANGUAGES_REQUESTED == ["fr"] * 3
    assert {request.task for request in REQUESTS} == {"translate"}


def test_english_model_has_no_language_vote(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "a.wav", 2)
    assert run(tmp_path / "a.wav", out, "--model", "openai/whisper-tiny.en") == 0
    assert LANGUAGES_REQUESTED == ["en"]


class StoppingToneTranscriber(ToneTranscriber):
    """Transcribes half of each window, so that the tail is decoded in further passes."""

    def _recognise(self, request: Request) -> WindowResult:
        whole = super()._recognise(request)
        return replace(whole, segments=whole.segments[: max(1, len(whole.segments) // 2)])


def load_stopping(settings: ModelOptions) -> StoppingToneTranscriber:
    return StoppingToneTranscriber(settings.batch_size)


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--direct_runner_bundle_repeat=1"],
        ["--direct_running_mode=multi_threading", "--direct_num_workers=2"],
    ],
)
def test_untranscribed_tail_is_decoded_in_every_local_mode(tmp_path: Path, flags: list[str]) -> None:
    talk = [tone(second) for second in range(8)]
    for second in talk:  # the detector needs pauses in the speech
        second[-1600:] *= 0.001
    soundfile.write(tmp_path / "talk.wav", np.concatenate(talk), SAMPLE_RATE)
    backend = replace(TONES, load=load_stopping)
    arguments = ["--input", str(tmp_path / "talk.wav"), "--output", str(tmp_path / "out"), *flags]
    assert main([*arguments, "--language", "en", "--batch_size", "4"], backend) == 0
    (row,) = rows(tmp_path / "out")
    assert row["text"] == " ".join(f"en{second}" for second in range(8))
    assert json.loads((tmp_path / "out" / "run.json").read_text())["counts"]["remainders"] >= 2


def test_windows_without_speech_are_skipped_counted_and_listed(tmp_path: Path, out: Path) -> None:
    assert run(write_sparse(tmp_path / "a.wav", (2, 9), (110, 115)), out, "--windows", "grid") == 0
    (row,) = rows(out)
    assert row["text"] == " ".join(f"en{second}" for second in [*range(2, 9), *range(110, 115)])
    assert row["skipped"] == [{"start": 30.0, "end": 100.0}]
    assert row["speech_s"] == pytest.approx(12, abs=2)
    report = json.loads((out / "run.json").read_text())
    assert (report["counts"]["windows"], report["counts"]["windows_skipped"]) == (2, 3)
    assert report["skipped_hours"] == pytest.approx(70 / 3600, abs=1e-4)
    assert len(LANGUAGES_REQUESTED) == 2


def test_speech_is_decoded_in_one_window_without_surrounding_silence(tmp_path: Path, out: Path) -> None:
    assert run(write_sparse(tmp_path / "a.wav", (2, 9), (110, 115)), out) == 0
    (row,) = rows(out)
    expected = [*range(2, 9), *range(110, 115)]
    # The window starts between two tones, so that a tone may be transcribed twice.
    assert list(dict.fromkeys(row["text"].split())) == [f"en{second}" for second in expected]
    for segment in row["segments"]:
        assert segment["start"] == pytest.approx(int(segment["text"].strip()[2:]), abs=1.0)
    silent = [(stretch["start"], stretch["end"]) for stretch in row["skipped"]]
    assert silent[-2:] == [pytest.approx((9, 110), abs=1.0), pytest.approx((115, 120), abs=1.0)]
    report = json.loads((out / "run.json").read_text())
    assert (report["counts"]["windows"], report["counts"]["windows_skipped"]) == (1, 0)
    assert report["skipped_hours"] * 3600 == pytest.approx(108, abs=3)
    # The tone model is not sure of the language (0.9), so the pieces of the window are decoded as well.
    assert report["counts"]["pieces"] == {"language": 2}
    assert LANGUAGES_REQUESTED == [None] * 3


def test_every_window_is_decoded_without_vad(tmp_path: Path, out: Path) -> None:
    assert run(write_sparse(tmp_path / "a.wav", (2, 9), (110, 115)), out, "--no-vad") == 0
    (row,) = rows(out)
    assert (row["speech_s"], row["skipped"]) == (None, [])
    assert len(LANGUAGES_REQUESTED) == 5


def test_silence_is_a_row_without_words_and_loads_no_model(tmp_path: Path, out: Path) -> None:
    assert run(write_sparse(tmp_path / "a.wav"), out) == 0
    (row,) = rows(out)
    assert (row["text"], row["segments"], row["language"], row["speech_s"]) == ("", [], None, 0.0)
    assert row["skipped"] == [{"start": 0.0, "end": 120.0}]
    assert LOADED == []


def test_each_window_may_keep_its_language(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "a.wav", 80, french_from=55)
    assert run(tmp_path / "a.wav", out, "--language", "auto-per-window") == 0
    (row,) = rows(out)
    assert row["language"] == "en"
    assert row["segments"][0]["language"] == "en"
    assert row["segments"][-1]["language"] == "fr"
    assert row["text"].endswith("fr79")
    assert [one["language"] for one in row["language_probs"]] == ["en", "fr", "de"]


def write_call(path: Path, seconds: int) -> Path:
    """Writes a call of two channels: tones from 0 on, and later tones from 50 on in another language."""
    left = np.concatenate([tone(second) for second in range(seconds)])
    right = np.concatenate(
        [np.zeros_like(tone(0)), *(tone(50 + second, FRENCH) for second in range(seconds - 1))]
    )
    soundfile.write(path, np.stack([left, right], axis=1), SAMPLE_RATE)
    return path


def test_each_channel_of_a_call_is_a_row(tmp_path: Path, out: Path) -> None:
    write_call(tmp_path / "call.wav", 40)
    write_talk(tmp_path / "mono.wav", 2)
    assert run(str(tmp_path / "*.wav"), out, "--channels", "split") == 0
    left, right, mono = rows(out)
    assert [(row["uri"], row["channel"]) for row in (left, right, mono)] == [
        (str(tmp_path / "call.wav"), 0), (str(tmp_path / "call.wav"), 1), (str(tmp_path / "mono.wav"), 0),
    ]  # fmt: skip
    assert left["audio_id"].partition("-")[0] == right["audio_id"].partition("-")[0]
    assert (left["text"], left["language"]) == (expected_text("en", 40), "en")
    assert (right["text"], right["language"]) == (" ".join(f"fr{second}" for second in range(50, 89)), "fr")
    counts = json.loads((out / "run.json").read_text())["counts"]
    assert (counts["recordings"], counts["transcribed"], counts["not_transcribed"]) == (3, 3, 0)


def test_outvoted_window_of_one_channel_is_decoded_again(tmp_path: Path, out: Path) -> None:
    left = np.concatenate([tone(second) for second in range(80)])
    right = np.concatenate([tone(second, FRENCH if second >= 70 else ENGLISH) for second in range(80)])
    sound = np.stack([left, right], axis=1)
    soundfile.write(tmp_path / "call.wav", sound, SAMPLE_RATE)
    assert run(tmp_path / "call.wav", out, "--channels", "split", "--windows", "grid") == 0
    assert [row["text"] for row in rows(out)] == [expected_text("en", 80)] * 2
    assert json.loads((out / "run.json").read_text())["counts"]["windows_redone"] > 0


@pytest.mark.parametrize(("channels", "text"), [("left", "en0 en1"), ("1", "fr50"), ("right", "fr50")])
def test_single_channel(tmp_path: Path, out: Path, channels: str, text: str) -> None:
    assert run(write_call(tmp_path / "call.wav", 2), out, "--channels", channels) == 0
    (row,) = rows(out)
    assert (row["text"], row["channel"]) == (text, int(channels != "left"))


def test_missing_channel_is_a_failure_with_the_number_of_channels(tmp_path: Path, out: Path) -> None:
    assert run(write_call(tmp_path / "call.wav", 2), out, "--channels", "2") == 2
    (failure,) = failures(out)
    assert failure["kind"] == "no_such_channel"
    assert "the file has 2" in failure["message"]
