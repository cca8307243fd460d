"""Bundles of `TranscribeWindows` without a runner."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from apache_beam.pvalue import TaggedOutput
from apache_beam.utils.shared import Shared

from model.interface import DecodingOptions
from tests.support.fake_transcribers import (
    FakeTranscriber,
    window,
)
from transforms.checkpoint.spans import ReadEvent, SpanEnded, SpanStarted
from transforms.core import types
from transforms.core.types import AudioSource, Window
from transforms.dofns.transcribe import TranscribeWindows
from transforms.recognition.fallback import FallbackPolicy
from transforms.recognition.hallucinations import FILTERS
from transforms.recognition.loaded_model import LoadedModel
from transforms.recognition.recognizer import Recognizer

Element = tuple[AudioSource, Window]


def do_fn_of(
    model: FakeTranscriber,
    shared: Shared | None = None,
    fallback: FallbackPolicy | None = None,
    filters: tuple[str, ...] = tuple(FILTERS),
    log: Path | None = None,
) -> TranscribeWindows:
    new_recognizer = partial(
        Recognizer, decoding=DecodingOptions(), fallback=fallback or FallbackPolicy(), filters=filters
    )
    return TranscribeWindows(
        lambda: LoadedModel(model), shared or Shared(), new_recognizer, None if log is None else str(log)
    )


def events(source: AudioSource, window: Window, *, exclusive: bool = False) -> list[tuple[str, ReadEvent]]:
    """The events of reading a recording that has this one window."""
    name = uuid.uuid4().hex
    started = SpanStarted(f"key of {source.audio_id}", exclusive=exclusive)
    return [(name, started), (name, (source, window)), (name, SpanEnded())]


def processed(do_fn: TranscribeWindows, elements: Iterable[Element], *, exclusive: bool = False) -> list[Any]:
    """The outputs by the time that the last of the elements was processed."""
    return [
        output
        for source, window in elements
        for event in events(source, window, exclusive=exclusive)
        for output in do_fn.process(event)
    ]


def recordings(*numbers: int) -> list[Element]:
    """Recordings of one window each."""
    return [(AudioSource(f"id{number}", "u"), window(number)) for number in numbers]


def finished(do_fn: TranscribeWindows) -> list[Any]:
    """The outputs at the end of the bundle, without the windows of Beam around them."""
    return [unwindowed(output) for output in do_fn.finish_bundle()]


def unwindowed(output: Any) -> Any:  # noqa: ANN401  # Beam's outputs are of any type
    if isinstance(output, TaggedOutput):
        return TaggedOutput(output.tag, output.value.value)
    return output.value


def bundle(do_fn: TranscribeWindows, elements: Iterable[Element]) -> list[Any]:
    do_fn.start_bundle()
    return processed(do_fn, elements) + finished(do_fn)


def texts(outputs: Iterable[tuple[str, types.WindowTranscript]]) -> list[str]:
    """The text of the first segment of each window."""
    return [transcript.segments[0].text for _, transcript in outputs]
