from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import pytest

from model.option_fields import option_fields
from pipelines.options import OptionsError, RecordingOptions
from pipelines.server.options import ServeOptions, grouped_options


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"port": -1}, "--port -1: must be between 0 and 65535"),
        ({"port": 65_536}, "--port 65536: must be between 0 and 65535"),
        ({"host": ""}, "--host is empty"),
        ({"max_upload_mb": 0.0}, "--max_upload_mb 0: must be between 0.01 and 65536"),
        ({"max_requests": 0}, "--max_requests 0: must be between 1 and 10000"),
        ({"rate_limit": -1.0}, "--rate_limit -1: must be at least 0"),
        ({"drain_s": float("nan")}, "--drain_s nan: must be"),
        ({"channels": "split"}, "--channels split: an answer has one transcript"),
        ({"audio_stream": "all"}, "--audio_stream all: an answer has one transcript"),
        (
            {"language": "frensh"},
            "--language frensh: no such language",
        ),  # those of recordings are checked too
        ({"mesh": "date=4"}, "--mesh: mesh 'date=4' has an unknown axis"),
    ],
)
def test_impossible_values_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionsError, match=re.escape(message)):
        ServeOptions(**changed)


def test_defaults_are_safe() -> None:
    options = ServeOptions()
    assert (options.host, options.allowed_origins, options.allow_urls) == ("127.0.0.1", (), False)
    assert not options.allow_private_hosts
    assert options.max_upload_bytes == 1 << 30


def test_single_values_are_tuples_of_one() -> None:
    options = ServeOptions(api_key="secret", allowed_hosts=["a.org", "b.org"])  # type: ignore[arg-type]
    assert (options.api_key, options.allowed_hosts) == (("secret",), ("a.org", "b.org"))


def test_size_of_uploads_is_in_mebibytes() -> None:
    assert ServeOptions(max_upload_mb=25).max_upload_bytes == 26_214_400


def test_short_names_of_models() -> None:
    assert ServeOptions(model="tiny.en").model == "openai/whisper-tiny.en"


def test_options_of_recordings_are_those_of_inference() -> None:
    given = ServeOptions(language="fr", batch_size=3, host="0.0.0.0").recording_options()
    assert (given["language"], given["batch_size"]) == ("fr", 3)
    assert set(given) == {one.name for one in option_fields(RecordingOptions)}
    RecordingOptions(**given)


def test_each_option_is_in_the_help_once_except_those_without_a_use() -> None:
    shown = [one.name for _, one in grouped_options()]
    assert len(shown) == len(set(shown))
    left_out = {"task", "return_timestamps", "word_timestamps", "trust_manifests", "clip_timestamps"}
    assert {one.name for one in fields(ServeOptions)} - set(shown) == left_out
