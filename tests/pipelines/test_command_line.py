from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from pipelines.command_line import check_beam_flags, options_table, parse
from pipelines.options import OptionsError, TranscribeOptions

README = Path(__file__).parents[2] / "README.md"
REQUIRED = ["--input", "a.wav", "--output", "out"]
OPTIONS = TranscribeOptions(input=("a.wav",), output="out")


def test_the_command_line_and_python_have_the_same_defaults() -> None:
    assert parse(REQUIRED) == (OPTIONS, [])


def test_every_option_can_be_given_on_the_command_line() -> None:
    given = {
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
        "model": "openai/whisper-tiny.en",
        "dtype": "bfloat16",
        "quantization": "none",
        "language": "en",
        "task": "translate",
        "channels": "split",
        "return_timestamps": False,
        "chunk_length_s": 20.0,
        "stride_length_s": 2.5,
        "windows": "grid",
        "word_timestamps": True,
        "initial_prompt": "Dear sir,",
        "hotwords": "Guttenberg, Caxton",
        "beam_size": 3,
        "patience": 2.0,
        "length_penalty": 0.6,
        "suppress_tokens": (-1, 220),
        "max_new_tokens": 100,
        "max_span_s": 600.0,
        "vad": False,
        "temperature": (0.0, 0.5),
        "compression_ratio_threshold": 2.8,
        "logprob_threshold": -0.8,
        "no_speech_threshold": 0.5,
        "hallucination_filters": ("rate",),
        "redecode_boundaries": 0.7,
        "seed": 11,
        "batch_size": 4,
        "parallel_batches": 1,
        "mesh": "data=2,model=2",
        "runner": "FlinkRunner",
        "accelerator": "type:nvidia-l4;count:1",
        "min_ram": "16GB",
        "dry_run": True,
    }
    assert set(given) == {option.name for option in fields(TranscribeOptions)}
    argv = ["--input", "a.wav", "b c.wav", "--input=d.wav", "--overwrite", "--retry_failed"]
    argv += ["--no-return_timestamps"]
    argv += ["--format=parquet,srt", "--word_timestamps", "--no-vad", "--temperature=0,0.5"]
    argv += ["--allow_private_hosts", "--trust_manifests", "--max_span_s=600", "--dry_run"]
    argv += ["--suppress_tokens=-1,220", "--hallucination_filters=rate"]
    for name, value in given.items():
        if not isinstance(value, tuple | bool):
            argv += [f"--{name}", str(value)]
    assert parse(argv) == (TranscribeOptions(**given), [])


def test_what_is_not_ours_is_left_for_beam() -> None:
    _, rest = parse([*REQUIRED, "--direct_num_workers", "2", "--project=p"])
    assert rest == ["--direct_num_workers", "2", "--project=p"]


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
    ("flag", "said"),
    [
        ("--vad=yes", "--vad yes: give true or false, or no value for true"),
        ("--vad=", "--vad : give true or false"),
        ("--no-vad=true", "--no-vad true: takes no value"),
        ("--no-overwrite", None),
    ],
)
def test_switches_take_no_other_value(flag: str, said: str | None) -> None:
    if said is None:  # Beam is asked for it, and does not know it
        assert parse([*REQUIRED, flag])[1] == [flag]
        return
    with pytest.raises(OptionsError, match=re.escape(said)):
        parse([*REQUIRED, flag])


def test_flags_are_not_abbreviated() -> None:
    assert parse([*REQUIRED, "--lang", "fr"]) == (OPTIONS, ["--lang", "fr"])


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "required: --output"),
        (["--output", "out"], "give --input or --dataset"),
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
def test_bad_command_lines_are_told(argv: list[str], said: str) -> None:
    with pytest.raises(OptionsError, match=re.escape(said)):
        parse(argv)


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
    assert "| `--mesh` |  | devices" in table


def test_the_readme_has_the_table_of_the_options() -> None:
    written = re.search(r"<!-- options -->\n+(.*?)\n+<!-- /options -->", README.read_text("utf-8"), re.DOTALL)
    assert written, "README.md has no table between <!-- options --> and <!-- /options -->"
    assert written[1] == options_table(), (
        'paste: python -c "from pipelines.command_line import options_table; print(options_table())"'
    )
