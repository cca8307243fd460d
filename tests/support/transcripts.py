"""Transcripts of a segment each, for the tests of writing."""

from __future__ import annotations

from transforms.core.types import Segment, Transcript

TEXT = "Grüße, 世界"


def transcript(number: int, text: str = f" {TEXT}") -> Transcript:
    """The transcript of `/talks/<number>.wav`."""
    segment = Segment(
        0.0, 2.5, text, avg_logprob=-0.25, no_speech_prob=0.1, compression_ratio=1.2, temperature=0
    )
    return Transcript(
        audio_id=f"id{number}",
        uri=f"/talks/{number:03d}.wav",
        duration_s=2.5,
        truncated=False,
        language="de",
        task="transcribe",
        text=text.strip(),
        segments=(segment,),
        model="openai/whisper-base",
        reference=None if number % 2 else "Grüße",
    )
