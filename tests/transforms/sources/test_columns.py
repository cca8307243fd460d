from __future__ import annotations

import json

import pytest

from transforms.core.clips import ClipTimes
from transforms.core.types import AudioSource, media_fragment
from transforms.sources.columns import ColumnError, apply_row, choose_listed_audio, encode_metadata
from transforms.writing.rows import metadata_text


def test_metadata_is_preserved() -> None:
    row = {"a": 'ü\n"x"', "b": 1, "c": None, "d": [1.5, {"e": True}], "bad\udce9": "\udce9"}
    text = metadata_text(encode_metadata(row))
    assert text is not None
    assert json.loads(text) == row
    assert metadata_text(()) is None


def test_nan_and_infinity_become_null_at_any_depth() -> None:
    row = {"a": float("inf"), "b": [float("nan")], "c": {"d": float("-inf")}}
    assert encode_metadata(row) == (("a", "null"), ("b", "[null]"), ("c", '{"d": null}'))


def test_hints_are_no_metadata() -> None:
    row = {"language": "de-AT", "initial_prompt": "", "hotwords": "x", "path": "a.wav", "more": 1}
    source = apply_row(AudioSource("id", "a.wav"), row, {"path"})
    assert (source.language, source.prompt, source.hotwords) == ("de", None, "x")
    assert source.metadata == (("more", "1"),)


@pytest.mark.parametrize(
    ("value", "clips"),
    [
        ("0,12.5,60", ((0.0, 12.5), (60.0, None))),
        ([3, 4.5], ((3.0, 4.5),)),
        (7, ((7.0, None),)),
        ("0", ((0.0, None),)),  # all of it, whatever the option says
        (None, ()),
        ("", ()),
        ([], ()),
    ],
)
def test_clips_are_a_column(value: object, clips: ClipTimes) -> None:
    source = apply_row(AudioSource("id", "a.wav"), {"clip_timestamps": value}, ())
    assert (source.clip_timestamps, source.metadata, source.audio_id) == (clips, (), "id")


@pytest.mark.parametrize("value", ["5,3", "abc", [1, 2, 0, 3], {"start": 1}, float("nan"), -1])
def test_clips_that_cannot_be_used_are_an_error(value: object) -> None:
    with pytest.raises(ColumnError, match="clip_timestamps: "):
        apply_row(AudioSource("id", "a.wav"), {"clip_timestamps": value}, ())


@pytest.mark.parametrize("language", ["Klingon", "kab", 3, ["en", "de"]])
def test_unknown_language_is_metadata_with_a_remark(language: object) -> None:
    source = apply_row(AudioSource("id", "a.wav"), {"language": language}, ())
    assert source.language is None
    metadata = {name: json.loads(value) for name, value in source.metadata}
    (remark,) = metadata.pop("remarks")
    assert remark.startswith(f"language is {str(language)!r}, which is no code, tag or name of a language")
    assert metadata == {"language": language}


def test_a_language_that_only_the_model_has_is_no_metadata() -> None:
    for given, code in (("XYZ", "xyz"), ("hak", "hak"), ("German", "de"), ("fr", "fr")):
        row = {"language": given}
        source = apply_row(AudioSource("id", "a.wav"), row, (), languages=("de", "hak", "xyz"))
        assert (source.language, source.metadata) == (code, ())


@pytest.mark.parametrize("language", ["und", "mul", "auto", "Unknown", "", None, float("nan")])
def test_undetermined_language_is_no_remark(language: object) -> None:
    source = apply_row(AudioSource("id", "a.wav"), {"language": language}, ())
    assert source.language is None
    assert [name for name, _ in source.metadata] == ["language"]


def test_remarks_have_a_name_that_the_row_does_not_have() -> None:
    row = {"remarks": "noisy", "language": "Klingon"}
    source = apply_row(AudioSource("id", "a.wav"), row, (), ["a remark"])
    assert [name for name, _ in source.metadata] == ["remarks", "language", "_remarks"]
    assert json.loads(source.metadata[-1][1])[0] == "a remark"


@pytest.mark.parametrize(
    ("columns", "wanted", "column"),
    [
        (("text", "path", "audio"), None, "audio"), (("text", "file_name"), None, "file_name"),
        (("x_file_name", "text"), None, "x_file_name"), (("x_file_name", "y_file_name"), None, None),
        (("x_file_name", "audio_file_name"), None, "audio_file_name"), (("text",), None, None),
        (("path", "clip"), "clip", "clip"), (("path", "x_file_name"), "clip", None),
        (("path", "audio_file_name"), "file_name", "audio_file_name"),
        (("id;speaker;audio_file_name",), None, None), (("id,x_file_name",), None, None),
        (("id\tx_file_name", "text"), None, None),
    ],
)  # fmt: skip
def test_column_of_the_audio_of_a_list(
    columns: tuple[str, ...], wanted: str | None, column: str | None
) -> None:
    assert choose_listed_audio(columns, wanted) == column


def test_media_fragment() -> None:
    parts = [(None, None), (1.5, None), (None, 2.0), (10.0, 20.25), (1e-4, 123456.789)]
    assert [media_fragment(*part) for part in parts] == [
        "", "#t=1.5", "#t=,2", "#t=10,20.25", "#t=0.0001,123456.789",
    ]  # fmt: skip
    assert AudioSource("id", "a.wav", start_s=1.0).name == "a.wav#t=1"
