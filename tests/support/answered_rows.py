"""Rows of recordings and requests for them, for the tests of the server's answers."""

from __future__ import annotations

from typing import Any

from pipelines.server.request import TranscriptionRequest
from transforms.core.types import Segment, Transcript, Word
from transforms.writing.rows import transcript_row

TEXTS = (" Grüße, 世界.", " Second \u2028 one.")
DURATION_S = 8.47


def request_of(response_format: str = "json", **fields: Any) -> TranscriptionRequest:  # noqa: ANN401
    """A request for a transcription, in segments."""
    defaults: dict[str, Any] = {
        "model": "openai/whisper-base",
        "task": "transcribe",
        "language": None,
        "languages": (),
        "prompt": None,
        "hotwords": None,
        "clip_timestamps": (),
        "temperature": 0.0,
        "words": False,
        "segments": True,
        "stream": False,
        "url": None,
    }
    return TranscriptionRequest(response_format=response_format, **(defaults | fields))


def row_of(*texts: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401  # the fields of a transcript
    """The row of a recording of two seconds for each of the texts, each with its words."""
    segments = tuple(_segment(2.0 * n, text) for n, text in enumerate(texts))
    defaults: dict[str, Any] = {
        "audio_id": "id0",
        "uri": "/talks/0.wav",
        "duration_s": DURATION_S,
        "truncated": False,
        "language": "de",
        "task": "transcribe",
        "text": "".join(texts).strip(),
        "segments": segments,
        "model": "openai/whisper-base",
    }
    return transcript_row(Transcript(**(defaults | fields)))


def token_ids(text: str) -> list[int]:
    """The ids of a tokenizer of bytes."""
    return list(text.encode("utf-8", "replace"))


def _segment(start_s: float, text: str) -> Segment:
    words = tuple(
        Word(start_s + 0.1 * n, start_s + 0.1 * n + 0.1, f" {word}", 0.9)
        for n, word in enumerate(text.split())
    )
    return Segment(start_s, start_s + 1.5, text, -0.25, 0.1, 1.2, 0.2, "de", words=words)
