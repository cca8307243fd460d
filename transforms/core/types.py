"""The records that flow through the pipeline. No Beam and no JAX, so that anything may import them.

Times inside a window are integer samples (`model.interface.Segment`); from `WindowTranscript` on they are
seconds of the recording. `transforms.windows.splices.in_recording` is the one place that finds one by the
other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from model.interface import Samples

Metadata = tuple[tuple[str, str], ...]
"""Names of columns, each with its value as JSON."""


class Record:
    """A frozen dataclass that is shipped as the values of its fields, in their order.

    Python would ship their names with them, in each: more than the values, of short recordings. Every byte
    that crosses a grouping is paid for, and the local runner holds it in memory.
    """

    def __reduce__(self) -> tuple[type[Any], tuple[Any, ...]]:
        return type(self), tuple(vars(self).values())


@dataclass(frozen=True)
class Damage(Record):
    """What is wrong with a part of a recording; nothing is, by default.

    Args:
        n_damaged: packets that could not be decoded, and were skipped.
        damaged_s: seconds in them, so far as they say.
        lost_s: seconds that are missing between the pages of an Ogg file.
        n_bad: samples that were no sound, and taken for silence.
        bad_s: seconds of these.
        cancelled_s: seconds for which the channels cancelled each other, and the loudest was taken.
        is_cut: the end of the file is not whole.
        broke_off: why reading ended before the file did; None where it did not.
    """

    n_damaged: int = 0
    damaged_s: float = 0.0
    lost_s: float = 0.0
    n_bad: int = 0
    bad_s: float = 0.0
    cancelled_s: float = 0.0
    is_cut: bool = False
    broke_off: str | None = None

    def __add__(self, other: Damage) -> Damage:
        """That of two parts."""
        return Damage(
            self.n_damaged + other.n_damaged,
            self.damaged_s + other.damaged_s,
            self.lost_s + other.lost_s,
            self.n_bad + other.n_bad,
            self.bad_s + other.bad_s,
            self.cancelled_s + other.cancelled_s,
            self.is_cut or other.is_cut,
            self.broke_off if self.broke_off is not None else other.broke_off,
        )


UNHARMED = Damage()


@dataclass(frozen=True)
class AudioSource(Record):
    """A recording that somebody named.

    Attributes:
        audio_id: unique in a run and the same in every run: a hash of `name`; of a channel that is a
            recording of its own, with the channel behind it (`of_channel`).
        uri: where the file is, for people and for `fetch`.
        payload: the encoded bytes, for rows of a dataset and members of an archive; else None.
        reference: what was really said, where the manifest or the dataset knows it.
        prompt: text that may have come before it, where the manifest or the dataset has one.
        hotwords: names and terms to be expected in it, where the manifest or the dataset has them.
        start_s: where in the file it starts, in seconds, more than 0; None for the file's start.
        end_s: where it ends, in seconds of the file; None for the file's end.
        language: the code that it is to be decoded in; None for the run's.
        metadata: further columns of its row, each name with its value as JSON.
        channel: the one to be transcribed, from 0; None for the mean of all.
    """

    audio_id: str
    uri: str
    payload: bytes | None = field(default=None, repr=False)
    reference: str | None = None
    prompt: str | None = None
    hotwords: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    language: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    channel: int | None = None

    @property
    def name(self) -> str:
        """The URI, and of a part of a file its seconds as a W3C media fragment: `talk.mp3#t=10,20.5`."""
        return self.uri + media_fragment(self.start_s, self.end_s)


def media_fragment(start_s: float | None, end_s: float | None) -> str:
    """`#t=START,END` in seconds, with either left out that is None; nothing where both are."""
    if start_s is None and end_s is None:
        return ""
    start, end = ("" if time_s is None else _seconds(time_s) for time_s in (start_s, end_s))
    return f"#t={start},{end}" if end else f"#t={start}"


def _seconds(time_s: float) -> str:
    return f"{time_s:.6f}".rstrip("0").rstrip(".")


def of_channel(source: AudioSource, channel: int) -> AudioSource:
    """A channel of a file, as a recording of its own."""
    return replace(source, audio_id=f"{file_id(source.audio_id)}-{channel}", channel=channel)


def file_id(audio_id: str) -> str:
    """The id of the file that a recording is, or is a channel of."""
    return audio_id.partition("-")[0]


@dataclass(frozen=True)
class AudioSpan(Record):
    """The unit of work: a range of one recording, or some windows of it, to be transcribed in one language.

    Attributes:
        language: the code to decode in, or None to let each window detect it.
        windows: indices of the windows wanted; None for all of them.
        extra: further windows, off the plan: (index, first sample) each. They are as long as windows may be,
            with nothing cut out.
        split: each channel is a recording of its own.
        start_s: where the range begins; a multiple of 30 seconds (`transforms.core.sections.BLOCK_S`).
        stop_s: where it ends, likewise; None for the recording's end.
    """

    source: AudioSource
    language: str | None = None
    windows: frozenset[int] | None = None
    extra: tuple[tuple[int, int], ...] = ()
    split: bool = False
    start_s: int = 0
    stop_s: int | None = None


Intervals = tuple[tuple[int, int], ...]
"""(start, stop) in samples, in order; one may begin where the one before it ends."""


@dataclass(frozen=True)
class Window:
    """What the model sees: at most 30 s of a recording.

    Attributes:
        index: tells the windows of a recording apart: the how-many-th of the plan, from 0.
        pieces: the stretches of the recording, in samples at 16 kHz, that it holds one behind the other; what
            is between them was cut out. They do not touch.
        samples: float32[n], 1 <= n <= 480,000, mono, 16 kHz: those of the pieces.
        n_own: how many of them, from the first on, no later window hears: all, if it shares none with the
            next.
        language: the code to decode in, or None to detect it.
        speech: where in it somebody speaks; None when nobody listened for that.
    """

    audio_id: str
    index: int
    pieces: Intervals
    samples: Samples = field(repr=False)
    n_own: int
    language: str | None = None
    speech: Intervals | None = None


@dataclass(frozen=True)
class RecordingPart(Record):
    """What is known of a range of a recording once it was read; all of them are a `Recording`.

    Windows, and intervals of speech, are of the range that they start in.

    Attributes:
        source: with `payload` None.
        start_s: where the range begins; a multiple of 30.
        stop_s: where it ends, likewise; None for the recording's end.
        n_windows: windows of the plan.
        n_skipped: see `Recording`.
        n_spoken: samples of speech; None when nobody listened for that.
        covered: the first sample that a window holds which was transcribed, and behind the last one; None
            where there is none.
        gaps: the stretches of a second and more between them that none holds, (start, stop) in samples.
        damage: what is missing or damaged in it.
        n_samples: of the recording, where it ends with this part; else None.
        declared_s: seconds that the file's header promises, likewise.
    """

    source: AudioSource
    start_s: int = 0
    stop_s: int | None = None
    n_windows: int = 0
    n_skipped: int = 0
    n_spoken: int | None = None
    covered: tuple[int, int] | None = None
    gaps: tuple[tuple[int, int], ...] = ()
    damage: Damage = field(default_factory=Damage)
    n_samples: int | None = None
    declared_s: float | None = None


@dataclass(frozen=True)
class Recording:
    """What is known of a recording once its last sample was read.

    Attributes:
        source: with `payload` None.
        duration_s: seconds that could be decoded.
        n_windows: windows of the plan. One that is packed with speech has none where nobody speaks.
        n_skipped: those of them in which nobody speaks, and that were therefore not transcribed: windows of
            the grid alone.
        speech_s: seconds in which somebody speaks; None when nobody listened for that.
        skipped: the stretches of a second and more that no window holds which was transcribed, (start, end)
            in seconds.
        truncated: less could be decoded than the file declares, or decoding broke off.
        problem: what is missing or damaged, in words; None when nothing is.
        declared_s: seconds that the file's header promises; None where it promises nothing.
    """

    source: AudioSource
    duration_s: float
    n_windows: int
    n_skipped: int = 0
    speech_s: float | None = None
    skipped: tuple[tuple[float, float], ...] = ()
    truncated: bool = False
    problem: str | None = None
    declared_s: float | None = None


@dataclass(frozen=True)
class Word(Record):
    """A word of a segment, in seconds of the recording; `text` has the space before it."""

    start_s: float
    end_s: float
    text: str
    probability: float


@dataclass(frozen=True)
class Segment(Record):
    """A stretch of a recording with its text, in seconds of the recording; scores are its window's.

    Attributes:
        language: the code it was decoded in.
        fallback: why the first decoding was not kept (`transforms.recognition.fallback`); None when it was.
        words: when word times were asked for; their texts joined are the segment's.
    """

    start_s: float
    end_s: float
    text: str
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    temperature: float
    language: str = ""
    fallback: str | None = None
    words: tuple[Word, ...] = ()


@dataclass(frozen=True)
class WindowTranscript(Record):
    """What the model said of one window, in seconds of the recording.

    Attributes:
        start_s: where the window starts.
        end_s: where it ends; never after the recording. Between the two there may be silence that the window
            does not hold.
        timestamped: the segments' times are the model's; else they are the window's bounds.
        speech: where somebody speaks in it, (start, end) in seconds of the recording; None when nobody
            listened for that.
    """

    audio_id: str
    index: int
    start_s: float
    end_s: float
    segments: tuple[Segment, ...]
    language: str
    language_probs: Mapping[str, float] = field(default_factory=dict)
    no_speech_prob: float = 0.0
    timestamped: bool = True
    speech: tuple[tuple[float, float], ...] | None = None


class CutKind(StrEnum):
    """What a boundary between two windows was cut by."""

    RUN = "run"
    """Inside two or more words in a row that both windows agree on."""
    PAUSE = "pause"
    """In a silence."""
    MIDDLE = "middle"
    """By time alone, as near the middle of the shared seconds as the words allow."""
    EMPTY = "empty"
    """One window says nothing in the shared seconds, and the other is kept whole."""
    DISJOINT = "disjoint"
    """The windows share no seconds, and both are kept whole."""


@dataclass(frozen=True)
class Boundary:
    """Where two neighbouring windows were joined.

    Attributes:
        time_s: of the cut, in seconds of the recording.
        kind: what it was cut by.
        agreement: of the words in the shared seconds, the ratio that both windows agree on, 0 to 1; 1 when
            nobody speaks there or no seconds are shared.
    """

    time_s: float
    kind: CutKind
    agreement: float


@dataclass(frozen=True)
class Transcript:
    """A recording's merged text: one row of the dataset.

    Attributes:
        language: None when nobody speaks, and none was given.
        language_probs: the outcome of the windows' vote; empty when a language was given.
        speech_s, skipped, declared_s, problem: see `Recording`.
        channel: see `AudioSource`.
        boundaries: where its windows were joined, in order.
        metadata: see `AudioSource`.
    """

    audio_id: str
    uri: str
    duration_s: float
    truncated: bool
    language: str | None
    task: str
    text: str
    segments: tuple[Segment, ...]
    model: str
    reference: str | None = None
    language_probs: Mapping[str, float] = field(default_factory=dict)
    speech_s: float | None = None
    skipped: tuple[tuple[float, float], ...] = ()
    boundaries: tuple[Boundary, ...] = ()
    channel: int | None = None
    declared_s: float | None = None
    problem: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Failure(Record):
    """A recording, or a part of one, that could not be done.

    Attributes:
        uri: without credentials.
        stage: `list`, `fetch`, `decode`, `transcribe` or `merge`.
        kind: a short word to count by: `not_found`, `empty`, `not_audio`, `corrupt`, `truncated`, ...
        message: what was wrong, with the value, and what to do; without credentials.
        retryable: whether trying again, with nothing changed, might succeed.
        attempts: how often it was tried.
    """

    audio_id: str
    uri: str
    stage: str
    kind: str
    message: str
    retryable: bool = False
    attempts: int = 1
