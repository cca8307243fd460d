from __future__ import annotations

import pickle
from dataclasses import fields

from apache_beam.coders import FastPrimitivesCoder

from transforms.core.damage import Damage
from transforms.core.types import (
    AudioSource,
    AudioSpan,
    Failure,
    RecordingPart,
    Segment,
    WindowTranscript,
    Word,
)

SOURCE = AudioSource("id", "/a.wav", reference="spoken", start_s=1.0, metadata=(("speaker", "1"),))
SEGMENT = Segment(0.0, 1.5, " a", -0.25, 0.1, 1.2, 0.2, "en", "logprob", (Word(0.0, 1.5, " a", 0.5),))
RECORDS = (
    SOURCE,
    AudioSpan(SOURCE, "en", frozenset({3}), ((4, 16_000),), split=True, start_s=30, stop_s=60),
    RecordingPart(SOURCE, 30, 60, 2, 1, 100, (0, 5), ((7, 9),), Damage(n_invalid=3, is_cut=True), 800, 0.5),
    WindowTranscript("id", 2, 0.0, 1.5, (SEGMENT,), "en", {"en": 0.9}, 0.1, False, ((0.0, 1.0),)),
    Failure("id", "/a.wav", "fetch", "not_found", "gone", retryable=True, attempts=2),
)


def test_records_are_pickled_without_field_names() -> None:
    """For short recordings, field names would be more than half of the bytes that cross groupings."""
    for record in RECORDS:
        encoded = FastPrimitivesCoder().encode(record)
        assert FastPrimitivesCoder().decode(encoded) == record == pickle.loads(pickle.dumps(record))
        names = {field.name for kind in (record, SOURCE, SEGMENT, Damage()) for field in fields(kind)}
        assert not [
            name
            for name in names - {"text", "source", "index", "split", "damage"}
            if name.encode() in encoded
        ]
