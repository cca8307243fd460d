from __future__ import annotations

import gc
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Event, get_ident
from time import sleep
from typing import Any

import numpy as np
import pytest
from apache_beam.pvalue import TaggedOutput
from apache_beam.utils.shared import Shared

from model.interface import SAMPLE_RATE, Request, Segment, TranscriberSettings, WindowResult, Word
from tests.support.executors import InlineExecutor
from transforms.checkpoint.commit_log import leave_all, read_index
from transforms.checkpoint.spans import Begun, Ended, Step
from transforms.core import types
from transforms.core.cancellation import StopRequestedError
from transforms.core.progress import PROGRESS
from transforms.core.types import AudioSource, Window
from transforms.dofns import transcribe
from transforms.dofns.transcribe import TranscribeWindows
from transforms.recognition.fallback import Fallback
from transforms.recognition.hallucinations import FILTERS
from transforms.recognition.loaded_model import LoadTranscriber
from transforms.recognition.model_calls import ModelError, transcribe_each
from transforms.recognition.window_decode import Look
from transforms.recognition.window_transcript import to_window_transcript, within_speech

POISON = 0.5


class FakeTranscriber:
    """Says which window it heard: its first sample, in thousandths."""

    n_lanes = 1
    compile_s = 0.0

    def __init__(self, batch_size: int = 8) -> None:
        self.batch_size = batch_size
        self.calls: list[int] = []

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        self.calls.append(len(requests))
        if any(request.samples[0] == np.float32(POISON) for request in requests):
            raise ValueError("poisoned")
        return [self.hear(request) for request in requests]

    def hear(self, request: Request) -> WindowResult:
        text = f" {round(request.samples[0] * 1000)}"
        return WindowResult((Segment(0, request.samples.size, text),), request.language or "en")


class ForgetfulTranscriber(FakeTranscriber):
    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        return super().transcribe(requests)[:-1]


def window(index: int, first: float | None = None, language: str | None = None) -> Window:
    samples = np.full(SAMPLE_RATE, index / 1000 if first is None else first, np.float32)
    start = 25 * SAMPLE_RATE * index
    return Window(f"id{index}", index, ((start, start + SAMPLE_RATE),), samples, samples.size, language)


def requests(windows: Sequence[Window]) -> list[Request]:
    return [Request(window.samples, window.language) for window in windows]


def texts(results: Sequence[WindowResult | Exception]) -> list[str]:
    return [str(r) if isinstance(r, Exception) else r.segments[0].text.strip() for r in results]


def test_a_good_batch_is_one_call() -> None:
    model = FakeTranscriber()
    assert texts(transcribe_each(model, requests([window(i) for i in range(5)]))) == ["0", "1", "2", "3", "4"]
    assert model.calls == [5]


@pytest.mark.parametrize("bad", [{0}, {7}, {3, 4}, {0, 2, 7}, set(range(8))])
def test_bad_windows_stand_alone_and_the_others_are_transcribed(bad: set[int]) -> None:
    windows = [window(i, POISON if i in bad else None) for i in range(8)]
    expected = ["poisoned" if i in bad else str(i) for i in range(8)]
    assert texts(transcribe_each(FakeTranscriber(), requests(windows))) == expected


def test_a_model_that_gives_too_few_results_is_found_out() -> None:
    (result,) = transcribe_each(ForgetfulTranscriber(), requests([window(1)]))
    assert "0 results for 1 windows" in str(result)


def windows_of(
    load: LoadTranscriber,
    shared: Shared | None = None,
    fallback: Fallback | None = None,
    filters: tuple[str, ...] = tuple(FILTERS),
    log: str | None = None,
) -> TranscribeWindows:
    return TranscribeWindows(
        TranscriberSettings("m"), load, shared or Shared(), fallback or Fallback(), filters, log
    )


Element = tuple[AudioSource, Window]


def begun(do_fn: TranscribeWindows, elements: Iterable[Element]) -> list[Any]:
    """What comes out by the time that the last of the elements has been taken in."""
    return [output for element in elements for step in steps(*element) for output in do_fn.process(step)]


def steps(source: AudioSource, window: Window) -> list[tuple[str, Step]]:
    """Those of reading a recording that has this one window."""
    name = uuid.uuid4().hex
    return [(name, Begun(f"key of {source.audio_id}")), (name, (source, window)), (name, Ended())]


def ended(do_fn: TranscribeWindows) -> list[Any]:
    """What comes out at the end of the bundle, without the windows of Beam about it."""
    return [unwindowed(output) for output in do_fn.finish_bundle()]


def unwindowed(output: Any) -> Any:  # noqa: ANN401  # Beam's outputs are of any type
    if isinstance(output, TaggedOutput):
        return TaggedOutput(output.tag, output.value.value)
    return output.value


def bundle(do_fn: TranscribeWindows, elements: Iterable[Element]) -> list[Any]:
    do_fn.start_bundle()
    return begun(do_fn, elements) + ended(do_fn)


def load_fake(settings: TranscriberSettings) -> FakeTranscriber:
    LOADED.append(settings)
    return FakeTranscriber()


LOADED: list[TranscriberSettings] = []


def test_a_process_loads_one_model_at_its_first_window() -> None:
    LOADED.clear()
    shared = Shared()
    first, second = (windows_of(load_fake, shared) for _ in range(2))
    assert bundle(first, []) == []
    assert LOADED == []
    for do_fn in (first, second, first):
        do_fn.start_bundle()
        begun(do_fn, [(AudioSource("id1", "u"), window(1))])
        assert [TranscriberSettings("m")] == LOADED
        assert len(ended(do_fn)) == 1
    assert [TranscriberSettings("m")] == LOADED


def test_a_batch_gives_keyed_transcripts_and_failures_that_name_the_seconds() -> None:
    source = AudioSource("id2", "https://me:pw@host/a.mp3")
    batch = [(AudioSource("id1", "u"), window(1, language="fr")), (source, window(2, POISON))]
    good, bad = bundle(windows_of(load_fake), batch)
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
    said = to_window_transcript(window(2), [Look(0, result, "loop")])
    assert said == types.WindowTranscript(
        audio_id="id2",
        index=2,
        start_s=50.0,
        end_s=51.0,
        segments=(
            types.Segment(50.0, 50.5, " a", -0.3, 0.2, 1.5, 0.4, "fr", "loop"),
            types.Segment(50.5, 51.0, " b", -0.3, 0.2, 1.5, 0.4, "fr", "loop"),
        ),
        language="fr",
        language_probs={"fr": 0.8},
        no_speech_prob=0.2,
        timestamped=False,
    )


def test_no_segment_ends_after_its_window() -> None:
    said = to_window_transcript(window(0), [Look(0, WindowResult((Segment(10_000, 480_000, " a"),), "en"))])
    assert [(segment.start_s, segment.end_s) for segment in said.segments] == [(0.625, 1.0)]
    beyond = to_window_transcript(window(0), [Look(0, WindowResult((Segment(20_000, 30_000, " a"),), "en"))])
    assert [(segment.start_s, segment.end_s) for segment in beyond.segments] == [(1.0, 1.0)]


def test_a_second_look_counts_from_where_it_began_and_keeps_its_scores() -> None:
    first = WindowResult((Segment(0, 4_000, " a"),), "en", avg_logprob=-0.1, no_speech_prob=0.3)
    second = WindowResult((Segment(1_000, 8_000, " b"),), "en", avg_logprob=-0.7)
    said = to_window_transcript(window(2), [Look(0, first), Look(8_000, second)])
    assert [(s.start_s, s.end_s, s.text, s.avg_logprob) for s in said.segments] == [
        (50.0, 50.25, " a", -0.1),
        (50.5625, 51.0, " b", -0.7),
    ]
    assert said.no_speech_prob == 0.3


SPLICED = Window(
    "id", 0, ((80_000, 112_000), (1_600_000, 1_648_000)), np.zeros(80_000, np.float32), 80_000,
    speech=((0, 32_000), (32_000, 80_000)),
)  # fmt: skip


def spliced(*segments: Segment) -> types.WindowTranscript:
    return to_window_transcript(SPLICED, [Look(0, WindowResult(segments, "en"))])


def test_times_of_a_spliced_window_are_those_of_the_recording() -> None:
    said = spliced(Segment(0, 32_000, " a"), Segment(32_000, 48_000, " b"))
    assert (said.start_s, said.end_s) == (5.0, 103.0)
    assert said.speech == ((5.0, 7.0), (100.0, 103.0))
    assert [(s.start_s, s.end_s) for s in said.segments] == [(5.0, 7.0), (100.0, 101.0)]


def test_what_reaches_over_a_splice_has_its_real_times() -> None:
    words = (
        Word(16_000, 24_000, " a", 0.5),
        Word(24_000, 33_000, " b", 0.5),
        Word(40_000, 48_000, " c", 0.5),
    )
    (segment,) = spliced(Segment(16_000, 48_000, " a b c", words=words)).segments
    assert (segment.start_s, segment.end_s) == (6.0, 101.0)
    assert [(w.start_s, w.end_s) for w in segment.words] == [(6.0, 6.5), (6.5, 7.0), (100.5, 101.0)]


def test_a_segment_holds_its_words_where_only_one_of_both_is_moved_over_a_splice() -> None:
    words = (Word(28_000, 33_000, " a", 0.5), Word(33_000, 64_000, " b", 0.5))
    (segment,) = spliced(Segment(28_000, 64_000, " a b", words=words)).segments
    assert (segment.start_s, segment.end_s) == (6.75, 102.0)
    assert (segment.words[0].start_s, segment.words[0].end_s) == (6.75, 7.0)


def test_a_second_look_counts_on_in_the_pieces() -> None:
    looks = [Look(0, WindowResult((Segment(0, 16_000, " a"),), "en"))]
    looks.append(Look(24_000, WindowResult((Segment(0, 8_000, " b"), Segment(8_000, 99_999, " c")), "en")))
    said = to_window_transcript(SPLICED, looks)
    assert [(s.start_s, s.end_s) for s in said.segments] == [(5.0, 6.0), (6.5, 7.0), (100.0, 103.0)]


class StoppingTranscriber(FakeTranscriber):
    """Stops after the first second of whatever it hears; fails on a remainder that begins with poison."""

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        self.calls.append(len(requests))
        if any(abs(request.samples[0]) == np.float32(POISON) for request in requests):
            raise ValueError("poisoned")
        return [WindowResult((Segment(0, SAMPLE_RATE, f" {r.samples.size}"),), "en") for r in requests]


def speaking(seconds: float, poison_at_s: float | None = None) -> Window:
    samples = (np.random.default_rng(0).standard_normal(int(seconds * SAMPLE_RATE)) * 0.1).astype(np.float32)
    samples[::2000] = 0.0
    for start in range(
        0, len(samples), SAMPLE_RATE
    ):  # a pause in each second, so that there is a noise level
        samples[start + 8_000 : start + 12_000] *= 0.001
    if poison_at_s is not None:
        samples[int(poison_at_s * SAMPLE_RATE)] = POISON
    return Window("id", 0, ((0, samples.size),), samples, samples.size)


SOURCE = AudioSource("id", "u")


def run_bundle(model: FakeTranscriber, windows: Sequence[Window]) -> list[Any]:
    return bundle(windows_of(lambda _: model), [(SOURCE, window) for window in windows])


def failure_of(output: object) -> types.Failure:
    assert isinstance(output, TaggedOutput)
    assert isinstance(output.value, types.Failure)
    return output.value


def test_what_the_model_left_out_is_decoded_from_where_it_stopped() -> None:
    model = StoppingTranscriber()
    ((key, said),) = run_bundle(model, [speaking(3.5)])
    assert key == "id"
    assert [(s.start_s, s.text) for s in said.segments] == [(0.0, " 56000"), (1.0, " 40000"), (2.0, " 24000")]


def test_remainders_of_windows_fill_batches() -> None:
    model = StoppingTranscriber(batch_size=2)
    assert len(run_bundle(model, [speaking(2.5), speaking(2.5)])) == 2
    assert model.calls == [2, 2]


def test_a_remainder_that_fails_leaves_what_was_said_before_it() -> None:
    (_, said), failure = run_bundle(StoppingTranscriber(), [speaking(3.0, poison_at_s=1.0)])
    assert "seconds 1.00 to 3.00 are missing" in failure_of(failure).message
    assert [s.text for s in said.segments] == [" 48000"]


def test_a_bundle_begins_with_nothing_left_of_the_one_before() -> None:
    do_fn = windows_of(lambda _: StoppingTranscriber())
    do_fn.start_bundle()
    assert begun(do_fn, [(SOURCE, speaking(3.0))]) == []
    assert bundle(do_fn, []) == []


def test_what_is_left_of_a_bundle_that_failed_cannot_touch_the_next() -> None:
    do_fn = windows_of(load_fake)
    do_fn.start_bundle()
    begun(do_fn, [(SOURCE, window(1))])
    suspended = do_fn.finish_bundle()
    next(suspended)  # and whoever it went to raised an exception, which holds on to it
    do_fn.start_bundle()
    outputs = begun(do_fn, [(SOURCE, window(2))])
    suspended.close()  # type: ignore[attr-defined]
    outputs += ended(do_fn)
    assert [said.segments[0].text for _, said in outputs] == [" 2"]


def in_log(
    do_fn: TranscribeWindows, source: AudioSource, window: Window, *, alone: bool = False
) -> list[Any]:
    """What comes out while a span of one window is read."""
    begin, *rest = steps(source, window)
    begun_again = (begin[0], Begun(f"key of {source.audio_id}", alone=alone))
    return [output for step in (begun_again, *rest) for output in do_fn.process(step)]


def test_a_span_is_committed_before_it_is_given_on(tmp_path: Path) -> None:
    do_fn = windows_of(load_fake, log=str(tmp_path))
    do_fn.start_bundle()
    assert in_log(do_fn, AudioSource("id1", "u"), window(1)) == []
    index = read_index(str(tmp_path))
    assert (index.n_open["key of id1"], len(index)) == (1, 0)
    outputs = do_fn.finish_bundle()
    next(outputs)
    assert [one["audio_id"] for one in read_index(str(tmp_path)).read("key of id1")["windows"]] == ["id1"]
    assert list(outputs) == []
    do_fn.teardown()


def test_what_was_begun_is_left_when_the_bundle_is_given_up(tmp_path: Path) -> None:
    do_fn = windows_of(load_fake, log=str(tmp_path))
    do_fn.start_bundle()
    in_log(do_fn, AudioSource("id1", "u"), window(1))
    do_fn.teardown()
    index = read_index(str(tmp_path))
    assert (index.n_open["key of id1"], len(index)) == (0, 0)


def test_a_recording_that_is_named_twice_is_begun_once(tmp_path: Path) -> None:
    do_fn = windows_of(load_fake, log=str(tmp_path))
    do_fn.start_bundle()
    for _ in range(3):
        in_log(do_fn, AudioSource("id1", "u"), window(1))
    assert read_index(str(tmp_path)).n_open["key of id1"] == 1
    do_fn.teardown()
    assert read_index(str(tmp_path)).n_open["key of id1"] == 0


def test_what_may_kill_the_process_is_worked_on_alone(tmp_path: Path) -> None:
    model = FakeTranscriber()
    do_fn = windows_of(lambda _: model, log=str(tmp_path))
    do_fn.start_bundle()
    for number in (1, 2):
        assert in_log(do_fn, AudioSource(f"id{number}", "u"), window(number)) == []
    suspect = in_log(do_fn, AudioSource("id3", "u"), window(3), alone=True)
    assert [key for key, _ in suspect] == ["id1", "id2", "id3"]  # those before it first, and then itself
    assert in_log(do_fn, AudioSource("id4", "u"), window(4)) == []
    assert [key for key, _ in ended(do_fn)] == ["id4"]
    assert model.calls == [2, 1, 1]
    do_fn.teardown()


class NotedTranscriber(FakeTranscriber):
    """Notes in each call what the log says to be under way."""

    def __init__(self, log: str) -> None:
        super().__init__(batch_size=1)
        self.log = log
        self.open: list[tuple[int, set[str]]] = []

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        sleep(0.01)
        under_way = +read_index(self.log).n_open
        self.open.append((round(requests[0].samples[0] * 1000), set(under_way)))
        return super().transcribe(requests)


def test_what_may_kill_the_process_is_alone_among_the_bundles_of_all_threads(tmp_path: Path) -> None:
    shared, model, start = Shared(), NotedTranscriber(str(tmp_path)), Barrier(3)

    def work(first: int) -> int:
        do_fn = windows_of(lambda _: model, shared, log=str(tmp_path))
        do_fn.start_bundle()
        start.wait(30)
        n_outputs = 0
        for number in range(first, first + 12):
            source = AudioSource(f"id{number}", "u")
            n_outputs += len(in_log(do_fn, source, window(number), alone=number % 10 == 5))
        n_outputs += len(ended(do_fn))
        do_fn.teardown()
        return n_outputs

    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(work, (0, 20, 40))) == [12, 12, 12]
    beside = {heard: keys for heard, keys in model.open if heard % 10 == 5}
    assert beside == {number: {f"key of id{number}"} for number in (5, 25, 45)}
    assert any(len(keys) > 1 for _, keys in model.open)


def test_a_bundle_that_beam_forgets_keeps_nobody_from_being_alone(tmp_path: Path) -> None:
    do_fn = windows_of(load_fake, log=str(tmp_path))
    do_fn.start_bundle()
    in_log(do_fn, AudioSource("id1", "u"), window(1))
    del do_fn
    gc.collect()
    suspect = windows_of(load_fake)
    transcribe.ROOM.enter(suspect, alone=True, check=pytest.fail)
    transcribe.ROOM.leave(suspect)
    leave_all()


class BusyTranscriber(FakeTranscriber):
    """Works until it is told to end, and notes which threads it works in."""

    def __init__(self, batch_size: int) -> None:
        super().__init__(batch_size)
        self.started, self.go_on = Event(), Event()
        self.threads: set[int] = set()

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        self.threads.add(get_ident())
        self.started.set()
        assert self.go_on.wait(30)
        return super().transcribe(requests)


def test_windows_are_taken_in_while_the_model_works() -> None:
    model = BusyTranscriber(batch_size=2)
    do_fn = windows_of(lambda _: model)
    do_fn.start_bundle()
    assert begun(do_fn, [(SOURCE, window(index)) for index in range(5)]) == []
    assert model.started.wait(30)
    model.go_on.set()
    assert [said.segments[0].text for _, said in ended(do_fn)] == [" 0", " 1", " 2", " 3", " 4"]
    assert model.calls == [2, 2, 1]
    assert get_ident() not in model.threads


@pytest.fixture
def _stop_requested() -> Iterator[None]:
    yield
    PROGRESS.reset()


@pytest.mark.usefixtures("_stop_requested")
@pytest.mark.parametrize("full", [True, False])
def test_once_a_stop_is_requested_no_further_batch_is_begun(full: bool) -> None:
    model = BusyTranscriber(batch_size=1)
    do_fn = windows_of(lambda _: model)
    do_fn.start_bundle()
    begun(do_fn, [(SOURCE, window(index)) for index in range(2)])
    assert model.started.wait(30)
    PROGRESS.request_stop()
    with pytest.raises(StopRequestedError):
        begun(do_fn, [(SOURCE, window(2))]) if full else ended(do_fn)
    model.go_on.set()
    PROGRESS.reset()
    assert len(bundle(do_fn, [(SOURCE, window(3))])) == 1
    assert model.calls == [1, 1]  # the one that was under way, and that of the next bundle


@pytest.mark.usefixtures("_stop_requested")
def test_calls_that_are_queued_when_a_stop_is_requested_end_by_themselves() -> None:
    model, shared = BusyTranscriber(batch_size=1), Shared()
    do_fn = windows_of(lambda _: model, shared)
    do_fn.start_bundle()
    begun(do_fn, [(SOURCE, window(index)) for index in range(2)])
    assert model.started.wait(30)
    PROGRESS.request_stop()
    model.go_on.set()
    lane = shared.acquire(lambda: None).executor
    lane.submit(int).result(30)  # behind the queued call
    assert model.calls == [1]


@pytest.mark.usefixtures("_stop_requested")
def test_no_model_is_loaded_once_a_stop_is_requested() -> None:
    LOADED.clear()
    PROGRESS.request_stop()
    with pytest.raises(StopRequestedError):
        bundle(windows_of(load_fake), [(SOURCE, window(1))])
    assert LOADED == []


def test_a_bundle_that_is_given_up_begins_no_further_batch() -> None:
    model = BusyTranscriber(batch_size=1)
    do_fn = windows_of(lambda _: model)
    do_fn.start_bundle()
    begun(do_fn, [(SOURCE, window(index)) for index in range(2)])
    assert model.started.wait(30)
    do_fn.teardown()
    model.go_on.set()
    assert ended(do_fn) == []
    assert len(bundle(do_fn, [(SOURCE, window(3))])) == 1
    assert model.calls == [1, 1]


class SideBySideTranscriber(FakeTranscriber):
    """Has calls in two threads begin before any ends."""

    n_lanes = 2

    def __init__(self) -> None:
        super().__init__(batch_size=2)
        self.together = Event()
        self.threads: set[int] = set()

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        self.threads.add(get_ident())
        if len(self.threads) == 2:
            self.together.set()
        assert self.together.wait(30)
        return super().transcribe(requests)


def test_batches_of_a_bundle_are_transcribed_side_by_side() -> None:
    outputs = run_bundle(SideBySideTranscriber(), [window(index) for index in range(7)])
    assert sorted(said.segments[0].text for _, said in outputs) == [f" {index}" for index in range(7)]


def test_bundles_in_several_threads_share_the_model_and_its_lanes() -> None:
    shared, model = Shared(), SideBySideTranscriber()

    def run(first: int) -> list[str]:
        do_fn = windows_of(lambda _: model, shared)
        elements = [(SOURCE, window(first + index)) for index in range(8)]
        return sorted(said.segments[0].text for _, said in bundle(do_fn, elements))

    with ThreadPoolExecutor(2) as runner:
        said = list(runner.map(run, (10, 20)))
    assert said == [[f" {first + index}" for index in range(8)] for first in (10, 20)]


class BrokenTranscriber(FakeTranscriber):
    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        raise MemoryError("out of memory")


def test_a_model_that_cannot_even_do_silence_ends_the_run() -> None:
    with pytest.raises(ModelError, match=r"MemoryError: out of memory; .* smaller --batch_size"):
        run_bundle(BrokenTranscriber(), [speaking(1.0)])


def test_windows_that_all_fail_do_not_end_the_run_of_a_model_that_works() -> None:
    outputs = run_bundle(FakeTranscriber(), [window(1, POISON), window(2, POISON)])
    assert [failure_of(output).kind for output in outputs] == ["model_error", "model_error"]


class DoubtfulTranscriber(FakeTranscriber):
    """Unsure of windows that begin below zero until it is asked at 0.4; says what it was asked at."""

    def __init__(self, batch_size: int = 8) -> None:
        super().__init__(batch_size)
        self.asked: list[list[float]] = []

    def transcribe(self, requests: Sequence[Request]) -> list[WindowResult]:
        self.asked.append([request.temperature for request in requests])
        return super().transcribe(requests)

    def hear(self, request: Request) -> WindowResult:
        unsure = request.samples[0] < 0 and request.temperature < 0.4
        text = f" at {request.temperature:g}"
        return WindowResult(
            (Segment(0, request.samples.size, text),),
            "en",
            avg_logprob=-2.0 if unsure else -0.2,
            temperature=request.temperature,
        )


def test_windows_that_fail_wait_for_others_and_hold_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcribe, "ThreadPoolExecutor", lambda *_, **__: InlineExecutor())
    model = DoubtfulTranscriber(batch_size=4)
    do_fn = windows_of(lambda _: model)
    do_fn.start_bundle()
    sure, unsure = window(1), window(2, first=-0.1)
    first = [(SOURCE, sure), (SOURCE, unsure), (SOURCE, sure), (SOURCE, unsure)]
    assert len(begun(do_fn, first)) == 2
    assert model.asked == [[0, 0, 0, 0]]
    outputs = begun(do_fn, first)
    assert model.asked[1:] == [[0, 0, 0, 0], [0.2] * 4, [0.4] * 4]
    segments = [segment for _, said in outputs for segment in said.segments]
    assert [(s.text, s.temperature, s.fallback) for s in segments] == [
        *[(" at 0", 0.0, None)] * 2,
        *[(" at 0.4", 0.4, "avg_logprob")] * 4,
    ]


def test_windows_that_still_wait_are_decoded_at_the_end_of_the_bundle() -> None:
    model = DoubtfulTranscriber()
    ((_, said),) = run_bundle(model, [window(2, first=-0.1)])
    assert said.segments[0].temperature == 0.4
    assert model.asked == [[0], [0.2], [0.4]]


def test_one_temperature_is_no_fallback() -> None:
    model = DoubtfulTranscriber()
    do_fn = windows_of(lambda _: model, fallback=Fallback(temperatures=(0.0,)))
    ((_, said),) = bundle(do_fn, [(SOURCE, window(2, first=-0.1))])
    assert said.segments[0].fallback is None
    assert model.asked == [[0]]


def test_segments_are_moved_into_the_speech_that_they_hear() -> None:
    spoken = replace(window(2), speech=((4_000, 6_000), (9_000, 12_000)))
    result = WindowResult((Segment(0, 10_000, " a"), Segment(10_000, 16_000, " b")), "en")
    said = within_speech(to_window_transcript(spoken, [Look(0, result)]))
    assert [(s.start_s - 50, s.end_s - 50) for s in said.segments] == [(0.25, 0.625), (0.625, 0.75)]
    assert said.speech == ((50.25, 50.375), (50.5625, 50.75))
    timed = WindowResult((Segment(0, 10_000, " a", words=(Word(100, 200, " a", 0.5),)),), "en")
    (segment,) = within_speech(to_window_transcript(spoken, [Look(0, timed)])).segments
    assert (segment.start_s, segment.end_s) == (50.0, 50.625)  # words know better
    assert segment.words == (types.Word(50.00625, 50.0125, " a", 0.5),)


def test_filters_run_on_what_was_said() -> None:
    silent = replace(window(2), speech=((0, 1_000),))
    model = FakeTranscriber()
    model.hear = lambda request: WindowResult((Segment(8_000, 16_000, " thanks"),), "en")  # type: ignore[method-assign]
    for filters, n_segments in ((("no_speech",), 0), ((), 1)):
        ((_, said),) = bundle(windows_of(lambda _: model, filters=filters), [(SOURCE, silent)])
        assert len(said.segments) == n_segments
