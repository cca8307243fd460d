from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from model.interface import SAMPLE_RATE, SPEECH_CHUNK, Samples
from tests.support.detectors import NowAndThen
from transforms.checkpoint.spans import Begun, Ended, Step, Unit
from transforms.core.progress import PROGRESS
from transforms.core.recording_parts import chosen, whole
from transforms.core.sections import Chapters
from transforms.core.types import AudioSource, AudioSpan, Damage, Failure, RecordingPart
from transforms.core.uris import audio_source
from transforms.dofns.tags import FAILURES, PARTS
from transforms.fetch.policy import CAREFUL
from transforms.reading.span_reader import UnitReading
from transforms.windows.plan import WindowPlan

LANGUAGES = ("en", "fr", "de")
PLAN = WindowPlan(30, 5)
SOURCE = audio_source("x")
KNOWN = Unit("key", AudioSpan(SOURCE))


@pytest.fixture(autouse=True)
def _fresh() -> None:
    PROGRESS.reset()


def wav(path: Path, seconds: float) -> Path:
    soundfile.write(path, np.full(int(seconds * SAMPLE_RATE), 0.1, np.float32), SAMPLE_RATE)
    return path


def steps_of(unit: Unit, plan: WindowPlan = PLAN, span_s: int = 1800) -> list[tuple[str, Step]]:
    """Every span of its reading has a name, a beginning and an end."""
    steps = list(UnitReading(unit, plan, CAREFUL, span_s).steps())
    names = list(dict.fromkeys(name for name, _ in steps))
    for name in names:
        first, *between, last = (step for of, step in steps if of == name)
        assert isinstance(first, Begun)
        assert isinstance(last, Ended)
        assert not any(isinstance(step, Begun | Ended) for step in between)
    assert [name for name, _ in steps] == sorted((name for name, _ in steps), key=names.index)
    return steps


def reading(
    span: AudioSpan, plan: WindowPlan = PLAN, span_s: int = 1800, known: Unit | None = None
) -> dict[str, list[Any]]:
    """What is read of a span: windows with their sources, parts, failures, and where its spans begin."""
    found: dict[str, list[Any]] = {"main": [], "begun": [], PARTS: [], FAILURES: []}
    unit = Unit("key", span) if known is None else replace(known, span=span)
    for _, step in steps_of(unit, plan, span_s):
        match step:
            case RecordingPart():
                found[PARTS].append(step)
            case Failure():
                found[FAILURES].append(step)
            case Begun():
                found["begun"].append(step)
            case Ended():
                pass
            case _:
                found["main"].append(step)
    return found


def test_a_file_gives_its_windows_then_what_it_is(tmp_path: Path) -> None:
    source = audio_source(str(wav(tmp_path / "a.wav", 70)))
    found = reading(AudioSpan(source, "fr"))
    assert [(window.index, window.pieces, window.language) for _, window in found["main"]] == [
        (0, ((0, 30 * SAMPLE_RATE),), "fr"),
        (1, ((25 * SAMPLE_RATE, 55 * SAMPLE_RATE),), "fr"),
        (2, ((50 * SAMPLE_RATE, 70 * SAMPLE_RATE),), "fr"),
    ]
    (part,) = found[PARTS]
    assert part.source.audio_id == source.audio_id
    assert (part.n_samples, part.n_windows) == (70 * SAMPLE_RATE, 3)
    assert found[FAILURES] == []
    assert PROGRESS.tally().recordings == 1
    assert PROGRESS.tally().audio_s == pytest.approx(70.0)  # shared seconds are counted once


class Now:
    """A detector that takes one fifth of each 3.2 s for speech."""

    n_heard = 0

    def __call__(self, samples: Samples) -> Samples:
        numbers = np.arange(self.n_heard // SPEECH_CHUNK, (self.n_heard + len(samples)) // SPEECH_CHUNK)
        self.n_heard += len(samples)
        return (numbers % 100 < 20).astype(np.float32)

    def finish(self) -> Samples:
        return np.zeros(int(self.n_heard % SPEECH_CHUNK > 0), np.float32)


def test_silence_that_no_window_holds_is_progress_too(tmp_path: Path) -> None:
    source = audio_source(str(wav(tmp_path / "a.wav", 8)))
    found = reading(AudioSpan(source), WindowPlan(30, 5, Now))
    ((_, window),) = found["main"]
    assert len(window.pieces) == 3
    assert window.pieces[-1][1] < 8 * SAMPLE_RATE
    assert PROGRESS.tally().audio_s == pytest.approx(8.0)


def test_a_payload_goes_no_further_than_the_reader(tmp_path: Path) -> None:
    payload = wav(tmp_path / "a.wav", 1).read_bytes()
    found = reading(AudioSpan(audio_source("dataset://d/0", payload)))
    assert [source.payload for source, _ in found["main"]] == [None]
    assert found[PARTS][0].source.payload is None


def test_a_second_look_gives_the_windows_wanted_and_is_counted_nowhere(tmp_path: Path) -> None:
    source = audio_source(str(wav(tmp_path / "a.wav", 70)))
    found = reading(AudioSpan(source, "en", frozenset({1})))
    assert [window.index for _, window in found["main"]] == [1]
    assert found[PARTS] == []
    assert (PROGRESS.tally().recordings, PROGRESS.tally().audio_s) == (0, 0.0)


def test_what_cannot_be_read_is_a_failure(tmp_path: Path) -> None:
    source = audio_source(str(tmp_path / "missing.wav"))
    found = reading(AudioSpan(source))
    (failure,) = found[FAILURES]
    assert (failure.audio_id, failure.stage, failure.kind) == (source.audio_id, "fetch", "not_found")
    assert found["main"] == []
    assert PROGRESS.tally().recordings == 1


def two_speakers(path: Path, *channels: float) -> Path:
    """A second for each channel: its level, the same in all its samples."""
    data = np.stack([np.full(SAMPLE_RATE, level, np.float32) for level in channels], axis=1)
    soundfile.write(path, data, SAMPLE_RATE, subtype="FLOAT")
    return path


def test_split_makes_a_recording_of_each_channel(tmp_path: Path) -> None:
    source = audio_source(str(two_speakers(tmp_path / "a.wav", 0.1, 0.2, 0.3)))
    found = reading(AudioSpan(source, split=True))
    ids = [f"{source.audio_id}-{channel}" for channel in range(3)]
    assert [(one.audio_id, one.channel, one.uri) for one, _ in found["main"]] == [
        (ids[channel], channel, source.uri) for channel in range(3)
    ]
    assert [window.audio_id for _, window in found["main"]] == ids
    assert [window.samples[0] for _, window in found["main"]] == pytest.approx([0.1, 0.2, 0.3])
    assert [part.source.audio_id for part in found[PARTS]] == ids
    assert (PROGRESS.tally().recordings, PROGRESS.tally().audio_s) == (1, pytest.approx(3.0))


def test_a_file_of_one_channel_splits_into_one(tmp_path: Path) -> None:
    source = audio_source(str(wav(tmp_path / "a.wav", 1)))
    found = reading(AudioSpan(source, split=True))
    assert [part.source.channel for part in found[PARTS]] == [0]


def test_a_channel_alone_is_the_file(tmp_path: Path) -> None:
    source = audio_source(str(two_speakers(tmp_path / "a.wav", 0.1, 0.2)))
    found = reading(AudioSpan(replace(source, channel=1)))
    ((one, window),) = found["main"]
    assert (one.audio_id, one.channel) == (source.audio_id, 1)
    assert window.samples[0] == pytest.approx(0.2)


def test_a_channel_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    source = audio_source(str(wav(tmp_path / "a.wav", 1)))
    found = reading(AudioSpan(replace(source, channel=1)))
    (failure,) = found[FAILURES]
    assert (failure.audio_id, failure.stage, failure.kind) == (source.audio_id, "decode", "no_such_channel")
    assert "the file has 1" in failure.message
    assert found["main"] == []


def test_one_broken_channel_costs_the_others_nothing(tmp_path: Path) -> None:
    source = audio_source(str(two_speakers(tmp_path / "a.wav", np.nan, 0.2)))
    found = reading(AudioSpan(source, split=True))
    (failure,) = found[FAILURES]
    assert (failure.audio_id, failure.kind) == (f"{source.audio_id}-0", "not_finite")
    assert [part.source.channel for part in found[PARTS]] == [1]


def test_a_file_that_cannot_be_read_is_one_failure_however_it_is_split() -> None:
    source = audio_source("x", b"<html>")
    found = reading(AudioSpan(source, split=True))
    (failure,) = found[FAILURES]
    assert (failure.audio_id, failure.kind) == (source.audio_id, "not_audio")


def test_a_part_of_a_file_is_read_and_no_more(tmp_path: Path) -> None:
    source = replace(audio_source(str(wav(tmp_path / "a.wav", 70))), start_s=20.0, end_s=60.0)
    found = reading(AudioSpan(source, "fr"))
    assert [window.pieces for _, window in found["main"]] == [
        ((0, 30 * SAMPLE_RATE),), ((25 * SAMPLE_RATE, 40 * SAMPLE_RATE),),
    ]  # fmt: skip
    (part,) = found[PARTS]
    assert (part.n_samples, part.damage) == (40 * SAMPLE_RATE, Damage())


def test_a_second_look_begins_late_and_is_no_part(tmp_path: Path) -> None:
    source = audio_source(str(wav(tmp_path / "a.wav", 400)))
    plan = replace(PLAN, chapters=Chapters(120))
    found = reading(AudioSpan(source, "en", frozenset({11})), plan)
    assert [(window.index, window.pieces[0][0]) for _, window in found["main"]] == [(11, 275 * SAMPLE_RATE)]
    assert found["begun"] == [Begun("key")]


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> AudioSource:
    """Five minutes and a half of somebody who speaks now and then, and not at all in the middle."""
    rng = np.random.default_rng(0)
    samples = rng.uniform(-0.5, 0.5, 330 * SAMPLE_RATE).astype(np.float32)
    samples[150 * SAMPLE_RATE : 215 * SAMPLE_RATE] = 0
    path = tmp_path_factory.mktemp("talk") / "a.wav"
    soundfile.write(path, samples, SAMPLE_RATE)
    return audio_source(str(path))


PLANS = [
    replace(plan, chapters=Chapters(120))
    for plan in (WindowPlan(30, 5, NowAndThen), WindowPlan(30, 5, NowAndThen, over_speech=False), PLAN)
]


def windows_of(found: dict[str, list[Any]]) -> list[tuple[int, bytes]]:
    return [(window.index, window.samples.tobytes()) for _, window in found["main"]]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("span_s", [30, 60, 90, 120, 240, 3600])
def test_the_same_is_read_whatever_the_length_of_spans(
    talk: AudioSource, plan: WindowPlan, span_s: int
) -> None:
    expected = reading(AudioSpan(talk), plan)
    found = reading(AudioSpan(talk), plan, span_s)
    assert windows_of(found) == windows_of(expected)
    assert whole(found[PARTS]) == whole(expected[PARTS])
    assert chosen(found[PARTS]) == found[PARTS]
    starts = [begun.place[1] for begun in found["begun"]]
    assert starts == list(range(0, 330, span_s))
    assert [begun.key for begun in found["begun"]][1:] == [f"key/0/{start_s}" for start_s in starts[1:]]
    assert PROGRESS.tally().audio_s == pytest.approx(2 * 330)


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("span_s", [60, 120, 210])
def test_the_same_is_read_by_many_that_share_it(talk: AudioSource, plan: WindowPlan, span_s: int) -> None:
    expected = reading(AudioSpan(talk), plan)
    shares = [
        reading(AudioSpan(talk, start_s=start_s, stop_s=start_s + span_s), plan, span_s)
        for start_s in range(0, 421 + span_s, span_s)  # and some of them find that it ends before
    ]
    assert [one for share in shares for one in windows_of(share)] == windows_of(expected)
    parts = [part for share in shares for part in share[PARTS]]
    assert whole(chosen(parts) or []) == whole(expected[PARTS])
    assert len(parts) == -(-330 // span_s)
    assert all(share[FAILURES] == [] for share in shares)


@pytest.mark.parametrize("plan", PLANS)
def test_what_was_done_before_is_not_read_again(talk: AudioSource, plan: WindowPlan) -> None:
    expected = reading(AudioSpan(talk), plan, 60)
    done = ((0, (60, 120)), (0, (240, 300)))
    found = reading(AudioSpan(talk), plan, 60, known=replace(KNOWN, done=done, attempts={"key": 2}))
    assert [(part.start_s, part.stop_s) for part in found[PARTS]] == [
        (0, 60), (120, 180), (180, 240), (300, None),
    ]  # fmt: skip
    assert found[PARTS] == [part for part in expected[PARTS] if part.start_s not in (60, 240)]
    kept = set(windows_of(found))
    assert kept < set(windows_of(expected))
    assert [begun.attempt for begun in found["begun"]] == [2, 1, 1, 1]


def test_reading_stops_where_nothing_more_is_missing(talk: AudioSource) -> None:
    done = ((0, (60, None)),)
    reading(AudioSpan(talk), PLANS[0], 60, known=replace(KNOWN, done=done))
    assert PROGRESS.tally().audio_s == 60.0
    found = reading(AudioSpan(talk, stop_s=60), PLANS[0], 60)
    assert [(part.start_s, part.stop_s, part.n_samples) for part in found[PARTS]] == [(0, 60, None)]


def test_a_recording_that_is_shorter_than_what_was_done_of_it_is_a_failure(tmp_path: Path) -> None:
    source = audio_source(str(wav(tmp_path / "a.wav", 70)))
    found = reading(
        AudioSpan(source),
        span_s=60,
        known=replace(KNOWN, done=((0, (0, 60)), (0, (60, 120)))),
    )
    (failure,) = found[FAILURES]
    assert (failure.stage, failure.kind) == ("decode", "changed")
    assert "ends before second 120" in failure.message
    assert found[PARTS] == []


def test_what_cannot_be_opened_is_a_failure_of_what_is_missing(tmp_path: Path) -> None:
    source = audio_source(str(tmp_path / "missing.wav"))
    found = reading(AudioSpan(source), span_s=60, known=replace(KNOWN, done=((0, (0, 60)),)))
    assert [begun.place for begun in found["begun"]] == [(0, 60)]
    assert [failure.kind for failure in found[FAILURES]] == ["not_found"]
    split = AudioSpan(source, split=True)
    found = reading(
        split,
        span_s=60,
        known=replace(KNOWN, done=((0, (0, None)), (1, (0, 60))), n_channels=2),
    )
    assert [begun.key for begun in found["begun"]] == ["key/1/60"]


def test_channels_that_are_missing_are_read_alone(tmp_path: Path) -> None:
    source = audio_source(str(two_speakers(tmp_path / "a.wav", 0.1, 0.2, 0.3)))
    found = reading(
        AudioSpan(source, split=True),
        known=replace(KNOWN, done=((0, (0, None)), (2, (0, None))), n_channels=3),
    )
    assert [one.channel for one, _ in found["main"]] == [1]
    assert [begun.key for begun in found["begun"]] == ["key/1/0"]
    steps = steps_of(Unit("key", AudioSpan(source, split=True)))
    assert [step.n_channels for _, step in steps if isinstance(step, Ended)] == [3, 3, 3]


def test_a_surprise_on_the_way_ends_the_span_it_meets(talk: AudioSource) -> None:
    class Surprised(NowAndThen):
        def __call__(self, samples: Samples) -> Samples:
            if not samples.any():
                raise ZeroDivisionError("silence")
            return super().__call__(samples)

    found = reading(AudioSpan(talk), replace(PLANS[1], detector=Surprised), 60)
    assert [part.start_s for part in found[PARTS]] == [0]
    (failure,) = found[FAILURES]
    assert (failure.stage, failure.kind) == ("decode", "unexpected")
    assert [begun.place[1] for begun in found["begun"]] == [0, 60]
