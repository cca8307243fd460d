from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from pipelines.command_line import check_beam_flags, parse
from pipelines.option_flags import options_table, with_options_table
from pipelines.options import OptionsError, TranscribeOptions, grouped_options

PAGE = Path(__file__).parents[2] / "docs" / "options.md"
REQUIRED = ["--input", "a.wav", "--output", "out"]
OPTIONS = TranscribeOptions(input=("a.wav",), output="out")


def test_the_command_line_and_python_have_the_same_defaults() -> None:
    assert parse(REQUIRED) == (OPTIONS, [])


GIVEN: dict[str, Any] = {
    "input": ("a.wav", "b c.wav", "d.wav"),
    "dataset": "set",
    "dataset_split": "test",
    "audio_column": "sound",
    "text_column": "said",
    "allow_private_hosts": True,
    "trust_manifests": True,
    "fetch_timeout_s": 60.0,
    "output": "gs://bucket/out",
    "format": ("parquet", "srt"),
    "num_shards": 7,
    "push_to_hub": "owner/name",
    "retry_failed": True,
    "overwrite": True,
    "remove_unlisted": True,
    "partial": False,  # it cannot be given with some of the others
    "model": "openai/whisper-tiny.en",
    "dtype": "bfloat16",
    "quantization": "none",
    "language": "auto",
    "languages": ("en", "de"),
    "task": "translate",
    "channels": "split",
    "audio_stream": "de",
    "clip_timestamps": (0.0, 12.5, 60.0),
    "return_timestamps": False,
    "chunk_length_s": 20.0,
    "stride_length_s": 2.5,
    "windows": "grid",
    "word_timestamps": True,
    "initial_prompt": "Dear sir,",
    "hotwords": "Guttenberg, Caxton",
    "condition_on_previous_text": True,
    "beam_size": 3,
    "patience": 2.0,
    "best_of": 4,
    "length_penalty": 0.6,
    "suppress_tokens": (-1, 220),
    "max_new_tokens": 100,
    "max_span_s": 3600.0,
    "vad": False,
    "temperature": (0.0, 0.5),
    "compression_ratio_threshold": 2.8,
    "logprob_threshold": -0.8,
    "no_speech_threshold": 0.5,
    "hallucination_filters": ("rate",),
    "redecode_boundaries": 0.7,
    "seed": 11,
    "full_windows": True,
    "batch_size": 4,
    "parallel_batches": 1,
    "mesh": "data=2,model=2",
    "runner": "FlinkRunner",
    "accelerator": "type:nvidia-l4;count:1",
    "min_ram": "16GB",
    "dry_run": True,
}
"""A value other than the default, or one that is as good, for each option."""


def test_every_option_can_be_given_on_the_command_line() -> None:
    assert set(GIVEN) == {option.name for option in fields(TranscribeOptions)}
    argv = ["--input", "a.wav", "b c.wav", "--input=d.wav", "--overwrite", "--retry_failed"]
    argv += ["--format=parquet,srt", "--word_timestamps", "--no-vad", "--temperature=0,0.5"]
    argv += ["--allow_private_hosts", "--trust_manifests", "--max_span_s=3600", "--dry_run"]
    argv += ["--condition_on_previous_text"]
    argv += ["--suppress_tokens=-1,220", "--hallucination_filters=rate", "--no-return_timestamps"]
    argv += ["--clip_timestamps=0,12.5,60", "--languages=en,de", "--remove_unlisted", "--full_windows"]
    for name, value in GIVEN.items():
        if not isinstance(value, tuple | bool):
            argv += [f"--{name}", str(value)]
    assert parse(argv) == (TranscribeOptions(**GIVEN), [])


def test_other_options_are_left_for_beam() -> None:
    _, rest = parse([*REQUIRED, "--direct_num_workers", "2", "--project=p"])
    assert rest == ["--direct_num_workers", "2", "--project=p"]


@pytest.mark.parametrize(
    ("line", "recordings", "beam_args"),
    [
        ("a.mp3 b.mp3 -o out", "a.mp3 b.mp3", ""),
        ("-o out a.mp3", "a.mp3", ""),
        ("a.mp3 -o=out b.mp3 --input c.mp3 d.mp3 --seed 0 e.mp3", "a.mp3 b.mp3 c.mp3 d.mp3 e.mp3", ""),
        ("--word-timestamps a.mp3 --no-vad b.mp3 -o out", "a.mp3 b.mp3", ""),
        ("a.mp3 -o out --flink_master localhost:8081", "a.mp3", "--flink_master localhost:8081"),
        ("a.mp3 --flink_master host:1 -o out --num -1", "a.mp3", "--flink_master host:1 --num -1"),
        ("-o out --flink_master host:1 -- a.mp3 -b.mp3", "a.mp3 -b.mp3", "--flink_master host:1"),
        ("-o out --streaming -- --c.mp3 -d", "--c.mp3 -d", "--streaming"),
        ("--streaming --input a.mp3 b.mp3 -o out", "a.mp3 b.mp3", "--streaming"),
        ("--flink_master host:1 --input=a.mp3 --language en -o out", "a.mp3", "--flink_master host:1"),
    ],
)
def test_recordings_and_the_values_of_beams_options(line: str, recordings: str, beam_args: str) -> None:
    options, rest = parse(line.split())
    assert (options.input, options.output) == (tuple(recordings.split()), "out")
    assert rest == beam_args.split()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "--runner FlinkRunner --flink_master localhost:8081 talks.mp3 -o out",
            "talks.mp3: belongs to no option; recordings stand before Beam's options, or behind -- "
            "(--flink_master is Beam's)",
        ),
        ("a.mp3 --flink_master=host:1 talks.mp3 -o out", "talks.mp3: belongs to no option"),
        ("a.mp3 --flink_master host:1 --language en talks.mp3 -o out", "talks.mp3: belongs to no option"),
        ("--streaming --vad talks.mp3 -o out", "talks.mp3: belongs to no option"),
        (
            "--langauge en talks.mp3 -o out",
            "--langauge is not an option of whisper-beam (did you mean --language?)",
        ),
        ("-output out talks.mp3", "-output is not an option of whisper-beam (did you mean --output?)"),
        (
            "--streaming talks.mp3 -o out",
            "talks.mp3 was taken for the value of --streaming: recordings stand before Beam's options",
        ),
        (
            "--word-timestamp talks.mp3 -o out",
            "--word_timestamp is not an option of whisper-beam (did you mean --word_timestamps?)",
        ),
    ],
)
def test_a_word_that_may_be_a_value_is_not_taken_for_a_recording(line: str, message: str) -> None:
    with pytest.raises(OptionsError, match=re.escape(message)):
        parse(line.split())


@pytest.mark.parametrize("text", ["- Good morning.", "-1", "", "true", "a --b"])
def test_text_that_begins_with_a_dash_is_a_value(text: str) -> None:
    assert parse([*REQUIRED, "--initial-prompt", text])[0].initial_prompt == text


@pytest.mark.parametrize(
    "flags",
    [
        ["--word-timestamps", "--no-return-timestamps", "--max-span-s", "600"],
        ["--word_timestamps", "--no_return_timestamps", "--max_span_s=600"],
        ["--word-timestamps=true", "--return-timestamps", "FALSE", "--max-span_s=600"],
    ],
)
def test_dashes_and_underscores_are_alike(flags: list[str]) -> None:
    options, rest = parse([*flags, *REQUIRED])
    assert (options.word_timestamps, options.return_timestamps, options.max_span_s) == (True, False, 600)
    assert not rest


@pytest.mark.parametrize("name", ["base", "whisper-base", "openai/whisper-base"])
def test_the_model_has_its_full_name(name: str) -> None:
    assert parse([*REQUIRED, "--model", name])[0] == OPTIONS


@pytest.mark.parametrize("line", ["--version", "a.mp3 --streaming --version"])
def test_the_version(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(line.split())
    assert not stopped.value.code
    assert re.fullmatch(r"whisper-beam \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_help_names_the_program_and_the_rule_for_recordings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"], "some-program")
    text = capsys.readouterr().out
    assert text.startswith("usage: some-program [RECORDING ...] -o DIR")
    assert "some-program -o out --flink_master localhost:8081 -- talks/*.mp3" in text


@pytest.mark.parametrize(
    ("flag", "vad"),
    [
        ("--vad", True),
        ("--vad=true", True),
        ("--vad=True", True),
        ("--vad=false", False),
        ("--no-vad", False),
    ],
)
def test_switches_may_have_a_value_as_templates_give_them(flag: str, vad: bool) -> None:
    assert parse([*REQUIRED, flag])[0].vad is vad
    assert parse([*REQUIRED, flag, "--overwrite=false"]) == parse([*REQUIRED, flag])


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--vad=yes", "--vad yes: give true or false, or no value for true"),
        ("--vad=", "--vad : give true or false"),
        ("--no-vad=true", "--no-vad true: takes no value"),
        ("--no-overwrite", None),
    ],
)
def test_switches_take_no_other_value(flag: str, message: str | None) -> None:
    if message is None:  # left for Beam, which does not know it
        assert parse([*REQUIRED, flag])[1] == [flag]
        return
    with pytest.raises(OptionsError, match=re.escape(message)):
        parse([*REQUIRED, flag])


def test_flags_are_not_abbreviated() -> None:
    assert parse([*REQUIRED, "--lang", "fr"]) == (OPTIONS, ["--lang", "fr"])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "required: --output"),
        (["--output", "out"], "give --input or --dataset"),
        ([*REQUIRED, "--clip_timestamps", "9,3"], "--clip_timestamps: the clip from 9 s ends at 3 s, which"),
        ([*REQUIRED, "--clip_timestamps", "0:10"], "--clip_timestamps: '0:10' is no number of seconds: give"),
        ([*REQUIRED, "--batch_size", "x"], "invalid int value: 'x'"),
        (
            [*REQUIRED, "--format", "parquet,tsw"],
            "--format tsw: not one of parquet, jsonl, srt, vtt, tsv, txt (did you mean tsv?)",
        ),
        ([*REQUIRED, "--dtype", "bfloat"], "float16 (did you mean bfloat16?)"),
        ([*REQUIRED, "--quantization", "int8"], "--quantization int8: not one of auto, none, a8, bf16"),
        ([*REQUIRED, "--mesh", "data"], "--mesh: mesh 'data' has data=, which must be"),
    ],
)
def test_the_message_for_an_invalid_command_line(argv: list[str], message: str) -> None:
    with pytest.raises(OptionsError, match=re.escape(message)):
        parse(argv)


@pytest.mark.parametrize(
    ("rest", "unknown", "message"),
    [
        (["--langauge", "fr"], ["langauge"], "--langauge: no such option (did you mean --language?)"),
        (["--projct=p"], ["projct"], "--projct: no such option (did you mean --project?)"),
        (["--xyzzy"], ["xyzzy"], "--xyzzy: no such option; --help"),
        (["--word-timestmps"], ["word-timestmps"], "--word-timestmps: no such option (did you mean --word_t"),
        (["-x"], [], "-x: no such option; --help"),
        (["--project=p", "stray"], [], "stray: is not the value of any of Beam's options; recordings stand"),
        (["--streaming", "stray", "--project", "p"], [], "stray: is not the value of any of Beam's options"),
    ],
)
def test_the_message_for_unknown_arguments_names_the_nearest(
    rest: list[str], unknown: list[str], message: str
) -> None:
    with pytest.raises(OptionsError, match=re.escape(message)):
        check_beam_flags(rest, ["project", "region"], unknown)


def test_beams_own_flags_pass() -> None:
    check_beam_flags(["--project", "p", "--streaming", "--region=r"], ["project", "region", "streaming"], [])


def test_the_page_has_the_table_of_the_options() -> None:
    page = PAGE.read_text("utf-8")
    assert options_table(grouped_options()) in page, "run: python -m pipelines.command_line docs/options.md"
    assert with_options_table(page, grouped_options()) == page
