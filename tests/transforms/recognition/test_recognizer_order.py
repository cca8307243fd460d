"""The recognizer with windows that are decoded in order, each with the text before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from model.interface import SAMPLE_RATE, DecodingOptions, Request, Segment, WindowResult
from tests.support.fake_client import FakeClient, finished, texts
from tests.support.fake_transcribers import FAILING, SOURCE, FakeTranscriber, loud_window, window
from transforms.core.types import Window
from transforms.recognition.fallback import FallbackPolicy
from transforms.recognition.hallucinations import FILTERS
from transforms.recognition.recognizer import Recognizer
from transforms.recognition.window_order import MAX_WAITING

POLICY = FallbackPolicy()
ALL_FILTERS = tuple(FILTERS)


class PreviousTranscriber(FakeTranscriber):
    """Writes a second of text for each window, and what it was given before; stops after a second of two."""

    def decode(self, request: Request) -> WindowResult:
        given = "+".join(segment.text.strip() for segment in request.previous)
        text = f" {round(request.samples[0] * 1000)}({given})"
        return WindowResult((Segment(0, SAMPLE_RATE, text, (1,)),), "en", temperature=request.temperature)


def in_order(
    windows: Sequence[Window], policy: FallbackPolicy = POLICY, transcriber: FakeTranscriber | None = None
) -> dict[str, list[str]]:
    client = FakeClient(transcriber or PreviousTranscriber(), reverse=True)
    decoding = DecodingOptions(condition_on_previous_text=True)
    recognizer = Recognizer(client, decoding, policy, ALL_FILTERS)
    for number, one in enumerate(windows):
        recognizer.submit(SOURCE, one, str(number))
    return texts(finished(recognizer))


def test_windows_of_a_section_are_decoded_in_order_each_with_the_text_before_it() -> None:
    windows = [replace(window(n), audio_id="id", section=n // 3) for n in range(4)]
    written = in_order(windows)
    assert written == {"0": [" 0()"], "1": [" 1(0())"], "2": [" 2(0()+1(0()))"], "3": [" 3()"]}


def test_windows_without_a_section_have_no_previous_text() -> None:
    written = in_order([replace(window(n), audio_id="id") for n in range(2)])
    assert written == {"0": [" 0()"], "1": [" 1()"]}


def test_text_that_a_later_window_writes_too_is_not_before_it() -> None:
    shared = replace(window(0), audio_id="id", section=0, n_unshared=SAMPLE_RATE // 2)
    written = in_order([shared, replace(window(1), audio_id="id", section=0)])
    assert written["1"] == [" 1()"]


def test_text_that_a_filter_removed_is_not_before_the_next_window() -> None:
    class Dotting(PreviousTranscriber):
        def decode(self, request: Request) -> WindowResult:
            if request.samples[0] == 0:
                return WindowResult((Segment(0, SAMPLE_RATE, " ...", (1,)),), "en")
            return super().decode(request)

    windows = [replace(window(n), audio_id="id", section=0) for n in range(2)]
    assert in_order(windows, transcriber=Dotting()) == {"0": [], "1": [" 1()"]}


def test_the_tail_of_a_window_follows_its_beginning() -> None:
    windows = [replace(loud_window(2.5), section=0), replace(loud_window(1.0), section=0)]
    written = in_order(windows)
    first, tail = written["0"]
    assert tail.endswith(f"({first.strip()})")
    assert written["1"][0].endswith(f"({first.strip()}+{tail.strip()})")


def test_windows_behind_one_that_fails_are_decoded() -> None:
    windows = [
        replace(window(n, first=FAILING if n == 1 else None), audio_id="id", section=0) for n in range(3)
    ]
    assert in_order(windows) == {"0": [" 0()"], "1": [], "2": [" 2()"]}


def test_reading_stops_while_too_many_windows_wait() -> None:
    client = FakeClient(FakeTranscriber(), needs_wait=True)
    recognizer = Recognizer(client, DecodingOptions(condition_on_previous_text=True), POLICY, ALL_FILTERS)
    n_finished = 0
    for number in range(MAX_WAITING + 10):
        recognizer.submit(SOURCE, replace(window(0), audio_id="id", section=0), str(number))
        n_finished += len(finished(recognizer, wait=False))
    assert n_finished == 10
    assert len(finished(recognizer)) == MAX_WAITING
