from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from apache_beam.pvalue import TaggedOutput
from apache_beam.utils.shared import Shared

from model.interface import SAMPLE_RATE, Samples, Segment, TranscriberSettings, WindowResult
from transforms import types
from transforms.transcribe import ModelError, TranscribeBatches, to_window_transcript, transcribe_each
from transforms.types import AudioSource, Window

POISON = 0.5


class FakeTranscriber:
    """Says which window it heard: its first sample, in thousandths."""

    batch_size = 8

    def __init__(self) -> None:
        self.calls: list[int] = []

    def transcribe(self, windows: Sequence[Samples], languages: Sequence[str | None]) -> list[WindowResult]:
        self.calls.append(len(windows))
        if any(window[0] == np.float32(POISON) for window in windows):
            raise ValueError("poisoned")
        return [
            WindowResult((Segment(0, window.size, f" {round(window[0] * 1000)}"),), language or "en")
            for window, language in zip(windows, languages, strict=True)
        ]


class ForgetfulTranscriber(FakeTranscriber):
    def transcribe(self, windows: Sequence[Samples], languages: Sequence[str | None]) -> list[WindowResult]:
        return super().transcribe(windows, languages)[:-1]


def window(index: int, first: float | None = None, language: str | None = None) -> Window:
    samples = np.full(SAMPLE_RATE, index / 1000 if first is None else first, np.float32)
    return Window(f"id{index}", index, 25 * SAMPLE_RATE * index, samples, samples.size, language)


def texts(results: Sequence[WindowResult | Exception]) -> list[str]:
    return [str(r) if isinstance(r, Exception) else r.segments[0].text.strip() for r in results]


def test_a_good_batch_is_one_call() -> None:
    model = FakeTranscriber()
    assert texts(transcribe_each(model, [window(i) for i in range(5)])) == ["0", "1", "2", "3", "4"]
    assert model.calls == [5]


@pytest.mark.parametrize("bad", [{0}, {7}, {3, 4}, {0, 2, 7}, set(range(8))])
def test_bad_windows_stand_alone_and_the_others_are_transcribed(bad: set[int]) -> None:
    windows = [window(i, POISON if i in bad else None) for i in range(8)]
    expected = ["poisoned" if i in bad else str(i) for i in range(8)]
    assert texts(transcribe_each(FakeTranscriber(), windows)) == expected


def test_a_model_that_gives_too_few_results_is_found_out() -> None:
    (result,) = transcribe_each(ForgetfulTranscriber(), [window(1)])
    assert "0 results for 1 windows" in str(result)


def load_fake(settings: TranscriberSettings) -> FakeTranscriber:
    LOADED.append(settings)
    return FakeTranscriber()


LOADED: list[TranscriberSettings] = []


def test_a_process_loads_one_model_at_its_first_batch() -> None:
    LOADED.clear()
    shared = Shared()
    settings = TranscriberSettings("m")
    first, second = (TranscribeBatches(settings, load_fake, shared) for _ in range(2))
    assert LOADED == []
    for do_fn in (first, second, first):
        assert len(list(do_fn.process([(AudioSource("id1", "u"), window(1))]))) == 1
    assert [settings] == LOADED


def test_a_batch_gives_keyed_transcripts_and_failures_that_name_the_seconds() -> None:
    do_fn = TranscribeBatches(TranscriberSettings("m"), load_fake, Shared())
    source = AudioSource("id2", "https://me:pw@host/a.mp3")
    batch = [(AudioSource("id1", "u"), window(1, language="fr")), (source, window(2, POISON))]
    good, bad = do_fn.process(batch)
    assert isinstance(good, tuple)
    assert (good[0], good[1].index, good[1].language) == ("id1", 1, "fr")
    assert isinstance(bad, TaggedOutput)
    failure: Any = bad.value
    assert (failure.audio_id, failure.uri) == ("id2", "https://host/a.mp3")
    assert (failure.stage, failure.kind) == ("transcribe", "model_error")
    assert "seconds 50.00 to 51.00 are missing" in failure.message
    assert "ValueError: poisoned" in failure.message


def test_samples_become_seconds_of_the_recording() -> None:
    result = WindowResult(
        (Segment(0, 8_000, " a"), Segment(8_000, 16_000, " b")),
        language="fr",
        language_probs={"fr": 0.8},
        avg_logprob=-0.3,
        no_speech_prob=0.2,
        compression_ratio=1.5,
        temperature=0.4,
        timestamped=False,
    )
    said = to_window_transcript(window(2), [(0, result)])
    assert said == types.WindowTranscript(
        audio_id="id2",
        index=2,
        start_s=50.0,
        end_s=51.0,
        segments=(
            types.Segment(50.0, 50.5, " a", -0.3, 0.2, 1.5, 0.4),
            types.Segment(50.5, 51.0, " b", -0.3, 0.2, 1.5, 0.4),
        ),
        language="fr",
        language_probs={"fr": 0.8},
        no_speech_prob=0.2,
        timestamped=False,
    )


def test_no_segment_ends_after_its_window() -> None:
    said = to_window_transcript(window(0), [(0, WindowResult((Segment(10_000, 480_000, " a"),), "en"))])
    assert [(segment.start_s, segment.end_s) for segment in said.segments] == [(0.625, 1.0)]
    beyond = to_window_transcript(window(0), [(0, WindowResult((Segment(20_000, 30_000, " a"),), "en"))])
    assert [(segment.start_s, segment.end_s) for segment in beyond.segments] == [(1.0, 1.0)]


def test_a_second_look_counts_from_where_it_began_and_keeps_its_scores() -> None:
    first = WindowResult((Segment(0, 4_000, " a"),), "en", avg_logprob=-0.1, no_speech_prob=0.3)
    second = WindowResult((Segment(1_000, 8_000, " b"),), "en", avg_logprob=-0.7)
    said = to_window_transcript(window(2), [(0, first), (8_000, second)])
    assert [(s.start_s, s.end_s, s.text, s.avg_logprob) for s in said.segments] == [
        (50.0, 50.25, " a", -0.1),
        (50.5625, 51.0, " b", -0.7),
    ]
    assert said.no_speech_prob == 0.3


class StoppingTranscriber(FakeTranscriber):
    """Stops after the first second of whatever it hears; fails on a remainder that begins with poison."""

    def transcribe(self, windows: Sequence[Samples], languages: Sequence[str | None]) -> list[WindowResult]:
        self.calls.append(len(windows))
        if any(abs(window[0]) == np.float32(POISON) for window in windows):
            raise ValueError("poisoned")
        return [WindowResult((Segment(0, SAMPLE_RATE, f" {w.size}"),), "en") for w in windows]


def speaking(seconds: float, poison_at_s: float | None = None) -> Window:
    samples = (np.random.default_rng(0).standard_normal(int(seconds * SAMPLE_RATE)) * 0.1).astype(np.float32)
    samples[::2000] = 0.0
    for start in range(
        0, len(samples), SAMPLE_RATE
    ):  # a pause in each second, so that there is a noise level
        samples[start + 8_000 : start + 12_000] *= 0.001
    if poison_at_s is not None:
        samples[int(poison_at_s * SAMPLE_RATE)] = POISON
    return Window("id", 0, 0, samples, samples.size)


def run_bundle(model: FakeTranscriber, windows: Sequence[Window]) -> list[Any]:
    settings = TranscriberSettings("m", batch_size=2)
    do_fn = TranscribeBatches(settings, lambda _: model, Shared())
    do_fn.start_bundle()
    outputs = list(do_fn.process([(AudioSource("id", "u"), window) for window in windows]))
    return outputs + [getattr(late, "value", late) for late in do_fn.finish_bundle()]


def failure_of(output: object) -> types.Failure:
    value = getattr(output, "value", output)
    return value if isinstance(value, types.Failure) else failure_of(value)


def test_what_the_model_left_out_is_decoded_from_where_it_stopped() -> None:
    model = StoppingTranscriber()
    ((key, said),) = run_bundle(model, [speaking(3.5)])
    assert key == "id"
    assert [(s.start_s, s.text) for s in said.segments] == [(0.0, " 56000"), (1.0, " 40000"), (2.0, " 24000")]


def test_remainders_of_windows_fill_batches() -> None:
    model = StoppingTranscriber()
    assert len(run_bundle(model, [speaking(2.5), speaking(2.5)])) == 2
    assert model.calls == [2, 2]


def test_a_remainder_that_fails_leaves_what_was_said_before_it() -> None:
    failure, (_, said) = run_bundle(StoppingTranscriber(), [speaking(3.0, poison_at_s=1.0)])
    assert "seconds 1.00 to 3.00 are missing" in failure_of(failure).message
    assert [s.text for s in said.segments] == [" 48000"]


def test_a_bundle_begins_with_nothing_left_of_the_one_before() -> None:
    do_fn = TranscribeBatches(TranscriberSettings("m"), lambda _: StoppingTranscriber(), Shared())
    do_fn.start_bundle()
    assert list(do_fn.process([(AudioSource("id", "u"), speaking(3.0))])) == []
    do_fn.start_bundle()
    assert list(do_fn.finish_bundle()) == []


class BrokenTranscriber(FakeTranscriber):
    def transcribe(self, windows: Sequence[Samples], languages: Sequence[str | None]) -> list[WindowResult]:
        raise MemoryError("out of memory")


def test_a_model_that_cannot_even_do_silence_ends_the_run() -> None:
    with pytest.raises(ModelError, match=r"MemoryError: out of memory; .* smaller --batch_size"):
        run_bundle(BrokenTranscriber(), [speaking(1.0)])


def test_windows_that_all_fail_do_not_end_the_run_of_a_model_that_works() -> None:
    outputs = run_bundle(FakeTranscriber(), [window(1, POISON), window(2, POISON)])
    assert [failure_of(output).kind for output in outputs] == ["model_error", "model_error"]
