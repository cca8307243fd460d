"""Records that flow through the pipeline; free of Beam and JAX, so that any module may import them.

Times inside a window are integer samples (`model.interface.Segment`); from `WindowTranscript` on they are
seconds of the recording. Only `transforms.windows.splices.in_recording` converts one to the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from model.interface import Samples
from transforms.core.damage import Damage
from transforms.core.record import Record

Metadata = tuple[tuple[str, str], ...]
"""Further columns of a row: (name, value as JSON) each."""


@dataclass(frozen=True)
class AudioSource(Record):
    """A recording to transcribe: a file, a time range of a file, or a channel of one.

    >>> AudioSource("6b1f0d2c9e8a4f35", "talk.mp3", start_s=10, end_s=20.5).name
    'talk.mp3#t=10,20.5'

    Attributes:
        audio_id: the same in every run: a hash of `name`, with the channel of a split file (`of_channel`).
        uri: location of the file, for display and for `transforms.fetch`.
        payload: the encoded bytes of a row of a dataset or a member of an archive; else None.
        reference: reference transcript, if the manifest or dataset has one.
        prompt: text that precedes the recording, if the manifest or dataset has one.
        hotwords: names and terms that may occur in it, if the manifest or dataset has them.
        start_s: start in the file, in seconds, more than 0; None for the start of the file.
        end_s: end in the file, in seconds; None for the end of the file.
        language: code of the language to decode in; None for the language of the run.
        metadata: further columns of its row, (name, value as JSON) each.
        channel: the channel to transcribe, from 0; None for a mix of all.
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
    metadata: Metadata = ()
    channel: int | None = None

    @property
    def name(self) -> str:
        """The URI, with a time range as a W3C media fragment: `talk.mp3#t=10,20.5`."""
        return self.uri + media_fragment(self.start_s, self.end_s)


def media_fragment(start_s: float | None, end_s: float | None) -> str:
    """Returns `#t=START,END` in seconds, without the one that is None; an empty string if both are None."""
    if start_s is None and end_s is None:
        return ""
    start, end = ("" if time_s is None else _seconds(time_s) for time_s in (start_s, end_s))
    return f"#t={start},{end}" if end else f"#t={start}"


def _seconds(time_s: float) -> str:
    return f"{time_s:.6f}".rstrip("0").rstrip(".")


def of_channel(source: AudioSource, channel: int) -> AudioSource:
    """Returns a channel of a file as a recording of its own."""
    return replace(source, audio_id=f"{file_id(source.audio_id)}-{channel}", channel=channel)


def file_id(audio_id: str) -> str:
    """Returns the id of the file of a recording, which may be a channel of it."""
    return audio_id.partition("-")[0]


@dataclass(frozen=True)
class AudioSpan(Record):
    """A unit of work: a range of a recording, or some of its windows, to transcribe in one language.

    Attributes:
        language: code of the language to decode in; None to detect it per window.
        windows: indices of the windows to decode; None for all.
        extra: windows outside the plan, (index, first sample) each; of the maximum length, nothing cut out.
        split: each channel is a recording of its own.
        start_s: start of the range; a multiple of 30 s (`transforms.core.sections.BLOCK_S`).
        stop_s: end of the range, likewise; None for the end of the recording.
    """

    source: AudioSource
    language: str | None = None
    windows: frozenset[int] | None = None
    extra: tuple[tuple[int, int], ...] = ()
    split: bool = False
    start_s: int = 0
    stop_s: int | None = None


Intervals = tuple[tuple[int, int], ...]
"""(start, stop) in samples, in order; an interval may begin where the one before it ends."""


@dataclass(frozen=True)
class Window:
    """The model's input: at most 30 s of a recording.

    Two seconds of a recording, with the two seconds between them cut out:

    >>> import numpy as np
    >>> stretches = ((0, 16_000), (48_000, 64_000))
    >>> window = Window("6b1f0d2c9e8a4f35", 0, stretches, np.zeros(32_000, np.float32), n_unshared=32_000)
    >>> sum(stop - start for start, stop in window.stretches) == len(window.samples)
    True

    Attributes:
        index: identifies a window of the recording: its number in the plan (`transforms.core.window_index`).
        stretches: intervals of the recording, in samples at 16 kHz, that the window contains one after the
            other; the audio between them was cut out. They do not touch.
        samples: float32[n], 1 <= n <= 480,000, mono, 16 kHz: those of the stretches.
        n_unshared: number of leading samples not covered by any later window.
        language: code of the language to decode in; None to detect it.
        speech: intervals of speech in the window, in samples of the window; None without VAD.
    """

    audio_id: str
    index: int
    stretches: Intervals
    samples: Samples = field(repr=False)
    n_unshared: int
    language: str | None = None
    speech: Intervals | None = None


@dataclass(frozen=True)
class RecordingPart(Record):
    """The result of reading a range of a recording; all parts together make a `Recording`.

    Windows and intervals of speech belong to the range in which they start.

    Attributes:
        source: with `payload` None.
        start_s: start of the range; a multiple of 30.
        stop_s: end of the range, likewise; None for the end of the recording.
        n_windows: windows of the plan.
        n_skipped: see `Recording`.
        n_speech_samples: samples of speech; None without VAD.
        covered: (start, stop) in samples, of the first to the last transcribed window; None if there is none.
        gaps: stretches of a second or more between them that none covers, (start, stop) in samples.
        damage: missing or damaged audio of the range.
        n_samples: samples of the recording, if this is its last part; else None.
        declared_s: seconds that the header of the file declares, if this is its last part; else None.
    """

    source: AudioSource
    start_s: int = 0
    stop_s: int | None = None
    n_windows: int = 0
    n_skipped: int = 0
    n_speech_samples: int | None = None
    covered: tuple[int, int] | None = None
    gaps: tuple[tuple[int, int], ...] = ()
    damage: Damage = field(default_factory=Damage)
    n_samples: int | None = None
    declared_s: float | None = None


@dataclass(frozen=True)
class Recording:
    """The result of reading a recording to its end.

    Attributes:
        source: with `payload` None.
        duration_s: seconds that could be decoded.
        n_windows: windows of the plan. Windows packed with speech do not cover non-speech.
        n_skipped: windows at a fixed stride without speech, which were not transcribed.
        speech_s: seconds of speech; None without VAD.
        skipped: stretches of a second or more that no transcribed window covers, (start, end) in seconds.
        truncated: less could be decoded than the file declares, or decoding ended with an error.
        problem: message that says what is missing or damaged; None if nothing is.
        declared_s: seconds that the header of the file declares; None if it declares none.
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
    """A word of a segment, in seconds of the recording; `text` includes its leading space."""

    start_s: float
    end_s: float
    text: str
    probability: float


@dataclass(frozen=True)
class Segment(Record):
    """A stretch of a recording with its text, in seconds of the recording; scores are its window's.

    Attributes:
        language: code of the language it was decoded in.
        fallback: why the first pass was rejected (`transforms.recognition.fallback`); None if it was kept.
        words: with word timestamps; their texts, joined, are that of the segment.
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
    """The transcript of one window, in seconds of the recording.

    >>> segment = Segment(0.0, 2.5, " Hello there.", -0.2, 0.01, 0.9, temperature=0.0, language="en")
    >>> window = WindowTranscript("6b1f0d2c9e8a4f35", 0, 0.0, 30.0, (segment,), "en")
    >>> "".join(segment.text for segment in window.segments)
    ' Hello there.'

    Attributes:
        start_s: start of the window.
        end_s: end of the window; never after the end of the recording. Audio between the two may be cut out.
        timestamped: the segments' times are those of the model; else they are the window's bounds.
        speech: intervals of speech, (start, end) in seconds of the recording; None without VAD.
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
    """How the position of a boundary between two windows was found."""

    RUN = "run"
    """Within a run of two or more words that both windows agree on."""
    PAUSE = "pause"
    """In a pause."""
    MIDDLE = "middle"
    """By time only, as near the middle of the shared seconds as the words allow."""
    EMPTY = "empty"
    """One window has no words in the shared seconds, and the other is kept entirely."""
    DISJOINT = "disjoint"
    """The windows share no seconds, and both are kept entirely."""


@dataclass(frozen=True)
class Boundary:
    """Where two neighbouring windows were joined.

    Attributes:
        time_s: in seconds of the recording.
        kind: how it was found.
        agreement: fraction of the words in the shared seconds that both windows agree on, 0 to 1; 1 without
            speech or shared seconds there.
    """

    time_s: float
    kind: CutKind
    agreement: float


@dataclass(frozen=True)
class Transcript:
    """The merged transcript of a recording: one row of the dataset.

    >>> Transcript("6b1f0d2c", "talk.mp3", 3.0, False, "en", "transcribe", "Hello.", (), "tiny").duration_s
    3.0

    Attributes:
        language: code of the language; None if there is no speech and no language was set.
        language_probs: result of the vote of the windows; empty if a language was set.
        speech_s, skipped, declared_s, problem: see `Recording`.
        channel: see `AudioSource`.
        boundaries: joins of neighbouring windows, in order.
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
    metadata: Metadata = ()


@dataclass(frozen=True)
class Failure(Record):
    """A recording, or a part of one, that could not be processed: one row of the failures.

    >>> Failure("6b1f0d2c9e8a4f35", "talk.mp3", "fetch", "not_found", "no such file: talk.mp3").retryable
    False

    Attributes:
        uri: without credentials.
        stage: `list`, `fetch`, `decode`, `transcribe` or `merge`.
        kind: short name of the kind of error: `not_found`, `empty`, `not_audio`, `corrupt`, `truncated`, ...
        message: what was wrong, with the value, and what to do; without credentials.
        retryable: whether another attempt, with nothing changed, might succeed.
        attempts: number of attempts made.
    """

    audio_id: str
    uri: str
    stage: str
    kind: str
    message: str
    retryable: bool = False
    attempts: int = 1
