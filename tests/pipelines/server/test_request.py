from __future__ import annotations

from typing import get_args

from openai.types import AudioResponseFormat

from pipelines.server.request import RESPONSE_FORMATS, STREAMED_FORMATS


def test_formats_are_those_of_openai_without_speakers() -> None:
    assert set(get_args(AudioResponseFormat)) - {"diarized_json"} == set(RESPONSE_FORMATS)


def test_subtitles_are_not_streamed() -> None:
    assert set(RESPONSE_FORMATS) - set(STREAMED_FORMATS) == {"srt", "vtt"}
