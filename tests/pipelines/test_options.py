from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from pipelines.options import (
    OptionsError,
    TranscribeOptions,
    check_beam_flags,
    check_model_fits,
    language_code,
    options_table,
    parse,
)
from transforms.hallucinations import FILTERS

README = Path(__file__).parents[2] / "README.md"
REQUIRED = ["--input", "a.wav", "--output", "out"]


def options(**changed: Any) -> TranscribeOptions:  # noqa: ANN401  # of whatever type the option is
    return TranscribeOptions(**{"input": ("a.wav",), "output": "out", **changed})


def test_the_command_line_and_python_have_the_same_defaults() -> None:
    assert parse(REQUIRED) == (options(), [])


def test_every_option_can_be_given_on_the_command_line() -> None:
    given = {
        "input": ("a.wav", "b c.wav", "d.wav"),
        "dataset": "set",
        "dataset_split": "test",
        "audio_column": "sound",
        "text_column": "said",
        "output": "gs://bucket/out",
        "format": ("jsonl",),
        "num_shards": 7,
        "overwrite": True,
        "model": "openai/whisper-tiny.en",
        "dtype": "bfloat16",
        "language": "en",
        "task": "translate",
        "return_timestamps": False,
        "chunk_length_s": 20.0,
        "stride_length_s": 2.5,
        "word_timestamps": True,
        "initial_prompt": "Dear sir,",
        "hotwords": "Guttenberg, Caxton",
        "beam_size": 3,
        "patience": 2.0,
        "length_penalty": 0.6,
        "suppress_tokens": (-1, 220),
        "max_new_tokens": 100,
        "vad": False,
        "temperature": (0.0, 0.5),
        "compression_ratio_threshold": 2.8,
        "logprob_threshold": -0.8,
        "no_speech_threshold": 0.5,
        "hallucination_filters": ("rate",),
        "redecode_boundaries": 0.7,
        "seed": 11,
        "batch_size": 3,
        "runner": "FlinkRunner",
    }
    assert set(given) == {option.name for option in fields(TranscribeOptions)}
    argv = ["--input", "a.wav", "b c.wav", "--input=d.wav", "--overwrite", "--no-return_timestamps"]
    argv += ["--format=jsonl", "--word_timestamps", "--no-vad", "--temperature=0,0.5"]
    argv += ["--suppress_tokens=-1,220", "--hallucination_filters=rate"]
    for name, value in given.items():
        if not isinstance(value, tuple | bool):
            argv += [f"--{name}", str(value)]
    assert parse(argv) == (TranscribeOptions(**given), [])


def test_what_is_not_ours_is_left_for_beam() -> None:
    _, rest = parse([*REQUIRED, "--direct_num_workers", "2", "--project=p"])
    assert rest == ["--direct_num_workers", "2", "--project=p"]


def test_flags_are_not_abbreviated() -> None:
    assert parse([*REQUIRED, "--lang", "fr"]) == (options(), ["--lang", "fr"])


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "required: --output"),
        (["--output", "out"], "give --input or --dataset"),
        ([*REQUIRED, "--batch_size", "x"], "invalid int value: 'x'"),
        ([*REQUIRED, "--format", "parquet,tsv"], "--format tsv: not one of parquet, jsonl"),
        ([*REQUIRED, "--dtype", "bfloat"], "float16 (did you mean bfloat16?)"),
    ],
)
def test_bad_command_lines_are_told(argv: list[str], said: str) -> None:
    with pytest.raises(OptionsError, match=re.escape(said)):
        parse(argv)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"chunk_length_s": 31.0}, "--chunk_length_s 31: must be between 1 and 30"),
        ({"chunk_length_s": 0.5}, "--chunk_length_s 0.5: must be"),
        ({"chunk_length_s": float("nan")}, "--chunk_length_s nan: must be"),
        ({"stride_length_s": -1.0}, "--stride_length_s -1: must be between 0 and 15"),
        ({"stride_length_s": 15.5}, "--stride_length_s 15.5: must be between 0 and 15"),
        ({"stride_length_s": 6.0, "chunk_length_s": 10.0}, "--stride_length_s 6: must be between 0 and 5"),
        ({"batch_size": 0}, "--batch_size 0: must be at least 1"),
        ({"num_shards": 0}, "--num_shards 0: must be at least 1"),
        ({"task": "summarise"}, "--task summarise: not one of transcribe, translate"),
        ({"language": "frensh"}, "--language frensh: no such language (did you mean french?)"),
        ({"input": ()}, "give --input or --dataset"),
    ],
)
def test_impossible_values_are_told(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionsError, match=re.escape(said)):
        options(**changed)


@pytest.mark.parametrize("stride_length_s", [0.0, 15.0])
def test_a_stride_of_none_to_half_of_the_window_fits(stride_length_s: float) -> None:
    assert options(stride_length_s=stride_length_s).stride_length_s == stride_length_s


@pytest.mark.parametrize(
    ("given", "code"),
    [("auto", None), ("fr", "fr"), ("FR", "fr"), ("French", "fr"), (" haitian creole ", "ht")],
)
def test_a_language_goes_by_code_or_name(given: str, code: str | None) -> None:
    assert language_code(given) == code


def test_a_model_is_not_asked_for_what_it_does_not_know() -> None:
    check_model_fits(options(language="English"), ["en"])
    check_model_fits(options(language="fr", task="translate"), ["en", "fr"])
    with pytest.raises(OptionsError, match="--language fr: openai/whisper-base knows en alone"):
        check_model_fits(options(language="fr"), ["en"])
    with pytest.raises(OptionsError, match="--task translate: openai/whisper-base knows en alone"):
        check_model_fits(options(task="translate"), ["en"])


@pytest.mark.parametrize(
    ("rest", "unknown", "said"),
    [
        (["--langauge", "fr"], ["langauge"], "--langauge: no such option (did you mean --language?)"),
        (["--projct=p"], ["projct"], "--projct: no such option (did you mean --project?)"),
        (["--xyzzy"], ["xyzzy"], "--xyzzy: no such option; --help"),
        (["stray"], [], "stray: belongs to no option"),
        (["--project=p", "stray"], [], "stray: belongs to no option"),
        (["--project", "p", "stray"], [], "stray: belongs to no option"),
    ],
)
def test_what_nobody_knows_is_told_with_the_nearest(rest: list[str], unknown: list[str], said: str) -> None:
    with pytest.raises(OptionsError, match=re.escape(said)):
        check_beam_flags(rest, ["project", "region"], unknown)


def test_beams_own_flags_pass() -> None:
    check_beam_flags(["--project", "p", "--streaming", "--region=r"], ["project", "region", "streaming"], [])


def test_the_table_names_every_option_with_default_and_choices() -> None:
    table = options_table()
    assert table.count("\n| `--") == len(fields(TranscribeOptions))
    assert "| `--stride_length_s` | `5` |" in table
    assert "| `--return_timestamps` `--no-return_timestamps` | on |" in table
    assert "`transcribe`, `translate` |" in table


def test_the_readme_has_the_table_of_the_options() -> None:
    written = re.search(r"<!-- options -->\n+(.*?)\n+<!-- /options -->", README.read_text("utf-8"), re.DOTALL)
    assert written, "README.md has no table between <!-- options --> and <!-- /options -->"
    assert written[1] == options_table(), (
        'paste: python -c "from pipelines.options import options_table; print(options_table())"'
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"temperature": ()}, "--temperature: give at least one"),
        ({"temperature": (0.0, 2.5)}, "--temperature 2.5: must be between 0 and 2"),
        ({"temperature": (-0.1,)}, "--temperature -0.1: must be between"),
        ({"beam_size": 0}, "--beam_size 0: must be between 1 and 100"),
        ({"patience": 0.0}, "--patience 0: must be between"),
        ({"length_penalty": -1.0}, "--length_penalty -1: must be"),
        ({"max_new_tokens": 444}, "--max_new_tokens 444: must be between 1 and 443"),
        ({"max_new_tokens": 400, "hotwords": "Mainz"}, "--max_new_tokens 400: must be between 1 and 384"),
        ({"suppress_tokens": (5, -2)}, "--suppress_tokens -2: must be at least -1"),
        ({"logprob_threshold": 0.5}, "--logprob_threshold 0.5: must be"),
        ({"no_speech_threshold": 1.5}, "--no_speech_threshold 1.5: must be between 0 and 1"),
        ({"redecode_boundaries": float("nan")}, "--redecode_boundaries nan: must be"),
        ({"seed": -1}, "--seed -1: must be at least 0"),
        ({"hallucination_filters": ("none", "rate")}, "none goes with no other"),
        ({"hallucination_filters": ("rates",)}, "did you mean rate?"),
    ],
)
def test_impossible_decoding_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionsError, match=re.escape(said)):
        options(**changed)


def test_each_filter_can_be_switched_off() -> None:
    assert options().filters() == tuple(FILTERS)
    assert options(hallucination_filters=("repeats", "no_speech")).filters() == ("no_speech", "repeats")
    assert options(hallucination_filters="none").filters() == ()


def test_one_temperature_may_be_a_number() -> None:
    assert options(temperature=0.0).temperature == (0.0,)


@pytest.mark.parametrize("language", ["auto", "auto-per-window", "Auto-Per-Window"])
def test_the_languages_that_are_found_out(language: str) -> None:
    assert options(language=language).language_code() is None
