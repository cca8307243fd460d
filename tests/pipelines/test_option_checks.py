import re
from typing import Any

import pytest

from model.interface import DecodingOptions, ModelOptions
from pipelines.option_checks import (
    OptionsError,
    channel_number,
    check_decoding,
    check_fallback,
    check_fields,
    check_model,
    check_run,
    check_windows,
    language_code,
    nearest,
    row_formats,
)
from pipelines.option_groups import RunOptions, WindowOptions
from pipelines.options import TranscribeOptions
from transforms.recognition.fallback import FallbackPolicy


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ModelOptions(batch_size=-1), "--batch_size -1: must be at least 0"),
        (ModelOptions(length_penalty=float("nan")), "--length_penalty nan: must be between 0 and 10"),
        (ModelOptions(suppress_tokens=(1, -2)), "--suppress_tokens -2: must be at least -1"),
        (ModelOptions(dtype="float8"), "--dtype float8: not one of auto, float32"),
        (DecodingOptions(task="translation"), "(did you mean translate?)"),
        (FallbackPolicy(temperature=(0.0, 3.0)), "--temperature 3: must be between 0 and 2"),
        (FallbackPolicy(logprob_threshold=0.5), "--logprob_threshold 0.5: must be between -1000 and 0"),
    ],
)
def test_a_value_out_of_its_range_is_refused(options: object, message: str) -> None:
    with pytest.raises(OptionsError, match=re.escape(message)):
        check_fields(options)


@pytest.mark.parametrize("kind", [ModelOptions, DecodingOptions, FallbackPolicy, RunOptions, WindowOptions])
def test_defaults_are_in_their_ranges(kind: type[object]) -> None:
    check_fields(kind())


def test_a_group_is_checked_by_itself() -> None:
    check_model(ModelOptions(mesh="data=2"))
    with pytest.raises(OptionsError, match=re.escape("--mesh: batch_size 3 cannot be divided")):
        check_model(ModelOptions(mesh="data=2", batch_size=3))
    check_decoding(DecodingOptions(language="french"), 443)
    with pytest.raises(OptionsError, match=re.escape("--max_new_tokens 443: must be between 1 and 384")):
        check_decoding(DecodingOptions(hotwords="Mainz"), 443)
    with pytest.raises(OptionsError, match="no such language"):
        check_decoding(DecodingOptions(language="frensh"), 224)
    check_decoding(DecodingOptions(language="xyz", languages=()), 224, own_codes=True)
    check_decoding(DecodingOptions(languages=("xyz", "a_b-c")), 224, own_codes=True)
    for language in ("x", "x1", "x y", "-xy", "xy_", "xxxxxxxxx", "\u00e4b"):
        with pytest.raises(OptionsError, match="no such language"):
            check_decoding(DecodingOptions(language=language), 224, own_codes=True)
    with pytest.raises(OptionsError, match="give at least one"):
        check_fallback(FallbackPolicy(temperature=()))
    with pytest.raises(OptionsError, match="must be between 0 and 5"):
        check_windows(WindowOptions(chunk_length_s=10, stride_length_s=6))
    with pytest.raises(OptionsError, match="TPUs are for all workers"):
        check_run(RunOptions(accelerator="type:tpu-v5e"))


def test_values_are_parsed() -> None:
    assert (channel_number("mix"), channel_number("right"), channel_number("7")) == (None, 1, 7)
    assert (language_code("auto-per-window"), language_code("French")) == (None, "fr")
    assert row_formats(("srt", "jsonl")) == ("jsonl",)
    assert row_formats(("srt",)) == ("parquet",)


def test_the_nearest_word_is_suggested() -> None:
    assert nearest("langauge", ["language", "task"], prefix="--") == " (did you mean --language?)"
    assert nearest("xyz", ["language"]) == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"languages": ("en", "xx")}, "--languages xx: no such language"),
        ({"languages": ("auto",)}, "--languages auto: give codes or English names, such as en,de"),
        ({"languages": ("en", "auto-per-window")}, "--languages auto-per-window: give codes"),
        (
            {"languages": ("en", "de"), "language": "fr"},
            "--languages en,de: cannot be combined with --language fr; it restricts the vote of",
        ),
        (
            {"languages": ("en",), "language": "auto-per-window"},
            "cannot be combined with --language auto-per-window",
        ),
    ],
)
def test_languages_restrict_the_vote_and_nothing_else(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionsError, match=re.escape(message)):
        check_decoding(DecodingOptions(**options), 224)


def test_languages_may_be_names_and_a_single_one() -> None:
    check_decoding(DecodingOptions(languages=("en", "German", "FR")), 224)
    check_decoding(DecodingOptions(languages=("de",)), 224)


@pytest.mark.parametrize("name", ["overwrite", "retry_failed", "push_to_hub"])
def test_what_is_finished_is_written_as_it_is(name: str) -> None:
    given: dict[str, Any] = {name: "owner/name" if name == "push_to_hub" else True}
    with pytest.raises(OptionsError, match=rf"it cannot be given with --{name}"):
        TranscribeOptions(input=("a.wav",), output="out", partial=True, **given)
