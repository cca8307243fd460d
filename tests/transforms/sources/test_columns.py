from __future__ import annotations

import json

from transforms.core.types import AudioSource, media_fragment
from transforms.sources.columns import apply_row, encode_metadata
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


def test_unknown_language_is_metadata_and_hints_are_not() -> None:
    row = {"language": "de-AT", "initial_prompt": "", "hotwords": "x", "path": "a.wav", "more": 1}
    source = apply_row(AudioSource("id", "a.wav"), row, {"path"})
    assert (source.language, source.prompt, source.hotwords) == ("de", None, "x")
    assert source.metadata == (("more", "1"),)
    source = apply_row(AudioSource("id", "a.wav"), {"language": 3}, ())
    assert (source.language, source.metadata) == (None, (("language", "3"),))


def test_media_fragment() -> None:
    parts = [(None, None), (1.5, None), (None, 2.0), (10.0, 20.25), (1e-4, 123456.789)]
    assert [media_fragment(*part) for part in parts] == [
        "", "#t=1.5", "#t=,2", "#t=10,20.25", "#t=0.0001,123456.789",
    ]  # fmt: skip
    assert AudioSource("id", "a.wav", start_s=1.0).name == "a.wav#t=1"
