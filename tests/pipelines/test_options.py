from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from apache_beam.transforms.resources import parse_resource_hints

from model.config import CheckpointDefaults
from model.interface import DecodingOptions, ModelOptions
from model.option_fields import option_fields, select_options
from pipelines.option_checks import language_code
from pipelines.options import (
    HELP_GROUPS,
    OptionsError,
    TranscribeOptions,
    fitted_to_model,
    grouped_options,
    shaping_options,
    with_checkpoint_defaults,
)
from transforms.core.clips import ClipTimes
from transforms.recognition.fallback import FallbackPolicy
from transforms.recognition.hallucinations import FILTERS


def options(**changed: Any) -> TranscribeOptions:  # noqa: ANN401  # of whatever type the option is
    return TranscribeOptions(**{"input": ("a.wav",), "output": "out", **changed})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"chunk_length_s": 31.0}, "--chunk_length_s 31: must be between 1 and 30"),
        ({"chunk_length_s": 0.5}, "--chunk_length_s 0.5: must be"),
        ({"chunk_length_s": float("nan")}, "--chunk_length_s nan: must be"),
        ({"stride_length_s": -1.0}, "--stride_length_s -1: must be between 0 and 15"),
        ({"stride_length_s": 15.5}, "--stride_length_s 15.5: must be between 0 and 15"),
        ({"stride_length_s": 6.0, "chunk_length_s": 10.0}, "--stride_length_s 6: must be between 0 and 5"),
        ({"batch_size": -1}, "--batch_size -1: must be at least 0"),
        ({"parallel_batches": -1}, "--parallel_batches -1: must be at least 0"),
        ({"mesh": "data=2", "parallel_batches": 2}, "--parallel_batches 2: the devices of --mesh data=2"),
        ({"num_shards": 0}, "--num_shards 0: must be at least 1"),
        ({"mesh": "date=4"}, "--mesh: mesh 'date=4' has an unknown axis 'date'"),
        (
            {"mesh": "data=3", "batch_size": 8},
            "--mesh: batch_size 8 cannot be divided over the mesh axis data=3",
        ),
        ({"task": "summarise"}, "--task summarise: not one of transcribe, translate"),
        (
            {"condition_on_previous_text": True, "max_span_s": 600.0},
            "--max_span_s 600: with --condition_on_previous_text the windows of half an hour depend on each "
            "other; give a multiple of 1800",
        ),
        (
            {"condition_on_previous_text": True, "max_new_tokens": 400},
            "--max_new_tokens 400: must be between 1 and 384",
        ),
        ({"language": "frensh"}, "--language frensh: no such language (did you mean french?)"),
        ({"input": ()}, "give --input or --dataset"),
    ],
)
def test_impossible_values_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionsError, match=re.escape(message)):
        options(**changed)


@pytest.mark.parametrize("stride_length_s", [0.0, 15.0])
def test_a_stride_is_up_to_half_of_the_window(stride_length_s: float) -> None:
    assert options(stride_length_s=stride_length_s).stride_length_s == stride_length_s


@pytest.mark.parametrize(
    ("given", "code"),
    [("auto", None), ("fr", "fr"), ("FR", "fr"), ("French", "fr"), (" haitian creole ", "ht")],
)
def test_a_language_is_named_by_code_or_name(given: str, code: str | None) -> None:
    assert language_code(given) == code


def test_an_unknown_language_or_task_of_the_model_is_refused() -> None:
    fitted_to_model(options(language="English"), ["en"])
    fitted_to_model(options(language="fr", task="translate"), ["en", "fr"])
    with pytest.raises(OptionsError, match=r"--language fr: openai/whisper-base knows only en$"):
        fitted_to_model(options(language="fr"), ["en"])
    with pytest.raises(OptionsError, match="--task translate: openai/whisper-base knows only en"):
        fitted_to_model(options(task="translate"), ["en"])
    fitted_to_model(options(task="translate"), ["ru"])  # pruned to one language, from which it translates


def test_languages_that_only_the_model_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = options(model="own", language="XYZ")
    fitted = fitted_to_model(own, ["en", "xyz"])
    assert (fitted.language, fitted.language_code(["en", "xyz"])) == ("xyz", "xyz")
    several = fitted_to_model(options(model="own", languages=("Zh-TW", "German")), ["de", "zh-tw"])
    assert several.languages == several.merge_settings(["de", "zh-tw"]).languages == ("zh-tw", "de")
    # A code of the model precedes Whisper's language that it is a dialect of.
    assert fitted_to_model(options(model="own", language="hak"), ["zh", "hak"]).language == "hak"
    assert fitted_to_model(options(model="own", language="hak"), ["zh"]).language == "zh"
    with pytest.raises(OptionsError, match=r"--language XYZ: own knows only en, fr$"):
        fitted_to_model(own, ["en", "fr"])
    with pytest.raises(
        OptionsError, match=r"--languages frensh: own knows only en, fr \(did you mean french\?\)$"
    ):
        fitted_to_model(options(model="own", languages=("frensh",)), ["en", "fr"])
    with pytest.raises(OptionsError, match="--language klingon-tlh: no such language"):  # too long for a code
        options(model="own", language="klingon-tlh")
    # OpenAI's models are known to have none.
    with pytest.raises(OptionsError, match="--language xyz: no such language"):
        options(model="turbo", language="xyz")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "turbo").mkdir()
    (tmp_path / "turbo" / "config.json").touch()
    assert options(model="turbo", language="xyz").language == "xyz"


def test_what_the_checkpoint_is_configured_for_applies_where_nothing_is_given() -> None:
    russian = CheckpointDefaults("ru", "translate")

    def language_and_task(
        given: TranscribeOptions, defaults: CheckpointDefaults
    ) -> tuple[str | None, str | None]:
        changed = with_checkpoint_defaults(given, defaults)
        return changed.language, changed.task

    assert language_and_task(options(), CheckpointDefaults()) == ("auto", "transcribe")
    assert language_and_task(options(), russian) == ("ru", "translate")
    assert language_and_task(options(language="auto", task="transcribe"), russian) == ("auto", "transcribe")
    assert language_and_task(options(languages=("en", "fr")), russian) == ("auto", "translate")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"temperature": ()}, "--temperature: give at least one"),
        ({"temperature": (0.0, 2.5)}, "--temperature 2.5: must be between 0 and 2"),
        ({"temperature": (-0.1,)}, "--temperature -0.1: must be between"),
        ({"beam_size": 0}, "--beam_size 0: must be between 1 and 100"),
        ({"best_of": 0}, "--best_of 0: must be between 1 and 100"),
        ({"best_of": 101}, "--best_of 101: must be between 1 and 100"),
        ({"patience": 0.0}, "--patience 0: must be between"),
        ({"length_penalty": -1.0}, "--length_penalty -1: must be"),
        ({"max_new_tokens": 444}, "--max_new_tokens 444: must be between 1 and 443"),
        ({"max_new_tokens": 400, "hotwords": "Mainz"}, "--max_new_tokens 400: must be between 1 and 384"),
        ({"suppress_tokens": (5, -2)}, "--suppress_tokens -2: must be at least -1"),
        ({"logprob_threshold": 0.5}, "--logprob_threshold 0.5: must be"),
        ({"no_speech_threshold": 1.5}, "--no_speech_threshold 1.5: must be between 0 and 1"),
        ({"redecode_boundaries": float("nan")}, "--redecode_boundaries nan: must be"),
        ({"seed": -1}, "--seed -1: must be at least 0"),
        ({"hallucination_filters": ("none", "rate")}, "none cannot be combined with others"),
        ({"hallucination_filters": ("rates",)}, "did you mean rate?"),
    ],
)
def test_impossible_decoding_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionsError, match=re.escape(message)):
        options(**changed)


def test_each_filter_can_be_switched_off() -> None:
    assert options().filters() == tuple(FILTERS)
    assert options(hallucination_filters=("repeats", "no_speech")).filters() == ("no_speech", "repeats")
    assert options(hallucination_filters="none").filters() == ()


def test_one_temperature_may_be_a_number() -> None:
    assert options(temperature=0.0).temperature == (0.0,)


@pytest.mark.parametrize("language", ["auto", "auto-per-window", "Auto-Per-Window"])
def test_the_languages_that_are_detected(language: str) -> None:
    assert options(language=language).language_code(["en"]) is None


def test_rows_are_written_whatever_the_formats() -> None:
    formats = {
        ("parquet", "jsonl"): (("parquet", "jsonl"), ()),
        ("jsonl", "srt"): (("jsonl",), ("srt",)),
        ("srt", "txt"): (("parquet",), ("srt", "txt")),
    }
    for given, (rows, recordings) in formats.items():
        options = TranscribeOptions(input=("a.wav",), output="out", format=given)
        assert (options.row_formats(), options.recording_formats()) == (rows, recordings)


@pytest.mark.parametrize(
    "name", ["", "a/b/c", "/a", "a/", "a b", "https://huggingface.co/a/b", "../x", "é/b"]
)
def test_an_invalid_name_of_a_dataset_is_refused(name: str) -> None:
    with pytest.raises(OptionsError, match="not the name of a dataset; give OWNER/NAME"):
        TranscribeOptions(input=("a.wav",), output="out", push_to_hub=name)


def test_the_hub_gets_parquet() -> None:
    with pytest.raises(OptionsError, match="add parquet to --format"):
        TranscribeOptions(input=("a.wav",), output="out", push_to_hub="a/b", format=("jsonl", "srt"))
    TranscribeOptions(input=("a.wav",), output="out", push_to_hub="a/b", format=("srt",))


@pytest.mark.parametrize(
    ("channels", "channel", "splits"),
    [("mix", None, False), ("split", None, True), ("left", 0, False), ("right", 1, False), ("7", 7, False)],
)
def test_channels(channels: str, channel: int | None, splits: bool) -> None:
    found = options(channels=channels)
    assert (found.channel(), found.splits_channels()) == (channel, splits)


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ("splitt", "did you mean split?"),
        ("-1", "give mix, split, left, right, or a number from 0 on"),
        ("", "--channels : give mix"),
        ("64", "--channels 64: must be between 0 and 63"),
        ("9" * 5000, "must be between 0 and 63"),
    ],
)
def test_impossible_channels_are_refused(channels: str, message: str) -> None:
    with pytest.raises(OptionsError, match=re.escape(message)):
        options(channels=channels)


@pytest.mark.parametrize(
    ("audio_stream", "stream", "takes_all"),
    [
        ("default", None, False), ("all", None, True), ("0", 0, False), ("12", 12, False),
        ("en", "en", False), ("deu", "deu", False), ("German", "German", False),
        ("pt-BR", "pt-BR", False), ("qaa", "qaa", False),
    ],
)  # fmt: skip
def test_audio_streams(audio_stream: str, stream: int | str | None, takes_all: bool) -> None:
    found = options(audio_stream=audio_stream)
    assert (found.stream(), found.takes_all_streams()) == (stream, takes_all)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"audio_stream": "defualt"}, "did you mean default?"),
        ({"audio_stream": "ALL"}, "did you mean all?"),
        ({"audio_stream": "-1"}, "--audio_stream -1: give default, all, a language such as en or deu"),
        ({"audio_stream": ""}, "--audio_stream : give default"),
        ({"audio_stream": "1000"}, "--audio_stream 1000: must be between 0 and 999"),
        ({"audio_stream": "all", "channels": "split"}, "cannot be combined with --channels split"),
    ],
)
def test_impossible_audio_streams_are_refused(given: dict[str, str], message: str) -> None:
    with pytest.raises(OptionsError, match=re.escape(message)):
        options(**given)


@pytest.mark.parametrize(
    ("given", "clips"),
    [
        ((), ()),
        ((0.0,), ()),  # all of a recording, as openai/whisper has it by default
        ((30.0,), ((30.0, None),)),
        ((0.0, 12.5, 60.0), ((0.0, 12.5), (60.0, None))),
        ([1, 2], ((1, 2),)),
        (5.5, ((5.5, None),)),
    ],
)
def test_clips(given: Any, clips: ClipTimes) -> None:  # noqa: ANN401  # as callers in Python give them
    assert options(clip_timestamps=given).clips() == clips


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((5.0, 3.0), "--clip_timestamps 5,3: the clip from 5 s ends at 3 s, which is not after its start"),
        ((5.0, 5.0), "--clip_timestamps 5,5: the clip from 5 s ends at 5 s"),
        ((0.0, 9.0, 8.0), "--clip_timestamps 0,9,8: the clip from 8 s begins before the one before it ends"),
        ((-1.0, 3.0), "--clip_timestamps -1,3: -1 is no time of a recording: give START,END,START,END,..."),
        ((float("nan"),), "--clip_timestamps nan: nan is no time"),
    ],
)
def test_impossible_clips_are_refused(given: tuple[float, ...], message: str) -> None:
    with pytest.raises(OptionsError, match=re.escape(message)):
        options(clip_timestamps=given)


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), 29.9, 0.0, 360_001.0])
def test_impossible_lengths_of_spans_are_refused(seconds: float) -> None:
    with pytest.raises(OptionsError, match="max_span_s"):
        TranscribeOptions(input=("a.wav",), output="out", max_span_s=seconds)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("accelerator", "nvidia-l4", "--accelerator nvidia-l4: give it as type:NAME;count:N"),
        ("accelerator", "type:nvidia-l4;count:é", "give it as type:NAME;count:N"),
        (
            "accelerator",
            "type:tpu-v5-lite-podslice;topology:1x1",
            "worker_accelerator=type:NAME;topology:NxM",
        ),
        ("min_ram", "16", "--min_ram 16: give a number and its unit, such as 16GB"),
        ("min_ram", "much", "--min_ram much: give a number"),
    ],
)
def test_impossible_resources_are_refused(name: str, value: str, message: str) -> None:
    with pytest.raises(OptionsError, match=re.escape(message)):
        options(**{name: value})


@pytest.mark.parametrize("ram", ["16GB", "1.5TiB", "512MB"])
def test_the_amount_of_memory_is_in_the_format_of_beam(ram: str) -> None:
    assert parse_resource_hints({"min_ram": options(min_ram=ram).min_ram})


def test_each_option_is_once_in_the_help() -> None:
    names = [option.name for _, option in grouped_options()]
    assert sorted(names) == sorted(option.name for option in option_fields(TranscribeOptions))
    assert list(dict.fromkeys(title for title, _ in grouped_options())) == list(HELP_GROUPS)


def test_parts_have_the_values_of_the_run() -> None:
    changed = options(beam_size=1, task="translate", seed=3, temperature=0)
    assert select_options(changed, ModelOptions) == ModelOptions(beam_size=1)
    assert select_options(changed, DecodingOptions) == DecodingOptions(task="translate")
    assert select_options(changed, FallbackPolicy) == FallbackPolicy(seed=3, temperature=(0,))


def test_rows_depend_on_some_options_alone() -> None:
    shaping = {"model": "m", "task": "translate", "best_of": 5}
    values = {**shaping, "batch_size": 3, "fetch_timeout_s": 9.0, "other": 1}
    assert shaping_options(values) == shaping
    assert shaping_options(values, without=("task",)) == {"model": "m", "best_of": 5}


def test_windows_are_merged_with_the_codes_of_the_languages() -> None:
    known = ("en", "de", "fr")
    assert options(languages=("German", "FR")).merge_settings(known).languages == ("de", "fr")
    assert options(languages="en").merge_settings(known).languages == ("en",)
    assert options().merge_settings(known).languages == ()
    merge = options(language="French", chunk_length_s=20.0, redecode_boundaries=0.5).merge_settings(known)
    assert (merge.language, merge.per_window, merge.window_s, merge.redecode_below) == (
        "fr",
        False,
        20.0,
        0.5,
    )
    assert options(language="auto-per-window").merge_settings(known).per_window
    assert options().merge_settings(("en",)).language == "en"
