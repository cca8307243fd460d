from __future__ import annotations

from typing import Any

import pytest

from transforms.writing.subtitles import RENDERERS, to_srt, to_tsv, to_txt, to_vtt


def row(*segments: tuple[float, float, str]) -> dict[str, Any]:
    return {"segments": [{"start": start, "end": end, "text": text} for start, end, text in segments]}


TALK = row((0.0, 2.48, " Grüße, 世界."), (62.5, 3723.0007, " Second line."))


def test_srt() -> None:
    assert to_srt(TALK) == (
        "1\n00:00:00,000 --> 00:00:02,480\nGrüße, 世界.\n\n2\n00:01:02,500 --> 01:02:03,001\nSecond line.\n\n"
    )


def test_vtt() -> None:
    assert to_vtt(TALK) == (
        "WEBVTT\n\n00:00.000 --> 00:02.480\nGrüße, 世界.\n\n01:02.500 --> 01:02:03.001\nSecond line.\n\n"
    )


def test_tsv() -> None:
    assert to_tsv(TALK) == "start\tend\ttext\n0\t2480\tGrüße, 世界.\n62500\t3723001\tSecond line.\n"


def test_txt() -> None:
    assert to_txt(TALK) == "Grüße, 世界.\nSecond line.\n"


def test_recording_without_speech_is_an_empty_file() -> None:
    empty = {name: render(row()) for name, render in RENDERERS.items()}
    assert empty == {"srt": "", "vtt": "WEBVTT\n\n", "tsv": "start\tend\ttext\n", "txt": ""}


HOSTILE = " a\n\n2\n00:00:09,000 --> 00:00:10,000\r\nb\u2028c\td\x85\x00 "


def test_text_cannot_contain_line_breaks_or_cues() -> None:
    talk = row((0, 1, HOSTILE), (1, 2, "next"))
    assert to_srt(talk).split("\n") == [
        *("1", "00:00:00,000 --> 00:00:01,000", "a 2 00:00:09,000 -> 00:00:10,000 b c d", ""),
        *("2", "00:00:01,000 --> 00:00:02,000", "next", "", ""),
    ]
    assert to_vtt(talk).count("-->") == 2
    assert len(to_vtt(talk).splitlines()) == 8
    assert [line.count("\t") for line in to_tsv(talk).splitlines()] == [2, 2, 2]
    assert to_txt(talk).splitlines()[1] == "next"


def test_markup_is_escaped_in_vtt_only() -> None:
    talk = row((0, 1, '<i>R&D</i> --> "x"'))
    assert '&lt;i&gt;R&amp;D&lt;/i&gt; --&gt; "x"' in to_vtt(talk)
    assert "<i>R&D</i>" in to_srt(talk)


@pytest.mark.parametrize("text", ["", "  ", "\n\t\n", "\x00"])
def test_segment_without_text_is_left_out(text: str) -> None:
    talk = row((0, 1, text), (1, 2, "said"))
    assert to_srt(talk).startswith("1\n00:00:01,000")
    assert to_txt(talk) == "said\n"


def test_cue_ends_after_its_start() -> None:
    talk = row((1.0, 1.0004, "short"))
    assert "00:00:01,000 --> 00:00:01,001" in to_srt(talk)
    assert "00:01.000 --> 00:01.001" in to_vtt(talk)
