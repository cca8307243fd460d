from __future__ import annotations

from dataclasses import replace

from transforms.core.types import Boundary, CutKind, Segment, Transcript, Untranscribed, Word
from transforms.merging.time_shift import shifted

SEGMENT = Segment(1.0, 2.0, " so", 0.0, 0.0, 1.0, 0.0, words=(Word(1.0, 1.5, " so", 0.9),))
TRANSCRIPT = Transcript(
    "id", "a.wav", 3.0, False, "en", "transcribe", "so", (SEGMENT,), "m",
    skipped=((2.0, 3.0),), boundaries=(Boundary(1.5, CutKind.RUN, 1.0),),
    untranscribed=(Untranscribed(0.5, 1.0, "rate", " so so"),),
)  # fmt: skip


def test_every_time_is_moved_and_the_duration_is_not() -> None:
    word = Word(11.0, 11.5, " so", 0.9)
    assert shifted(TRANSCRIPT, 10.0) == replace(
        TRANSCRIPT,
        segments=(replace(SEGMENT, start_s=11.0, end_s=12.0, words=(word,)),),
        skipped=((12.0, 13.0),),
        boundaries=(Boundary(11.5, CutKind.RUN, 1.0),),
        untranscribed=(Untranscribed(10.5, 11.0, "rate", " so so"),),
    )
    assert shifted(TRANSCRIPT, 0.0) is TRANSCRIPT
