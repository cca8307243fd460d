"""Records that flow through the pipeline; free of Beam and JAX, so that any module may import them.

Times inside a window are integer samples (`model.interface.Segment`); from `WindowTranscript` on they are
seconds of the recording. Only `transforms.windows.splices.in_recording` converts one to the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from model.interface import Samples
from transforms.core.audio_source import AudioSource as AudioSource
from transforms.core.audio_source import Metadata as Metadata
from transforms.core.audio_source import file_id as file_id
from transforms.core.audio_source import media_fragment as media_fragment
from transforms.core.audio_source import of_channel as of_channel
from transforms.core.audio_source import of_stream as of_stream
from transforms.core.audio_streams import StreamInfo
from transforms.core.damage import Damage
from transforms.core.record import Record


@dataclass(frozen=True)
class AudioSpan(Record):
    """A unit of work: a range of a recording, or some of its windows, to transcribe in one language.

    Attributes:
        language: code of the language to decode in; None to detect it per window.
        windows: indices of the windows to decode; None for all.
        extra: windows outside the plan, (index, first sample) each; of the maximum length, nothing cut out.
        split: each channel is a recording of its own.
        all_streams: each audio stream is a recording of its own; not with `split`.
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
    all_streams: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether all windows of the range are wanted, as in a first pass."""
        return self.windows is None and not self.extra

    @property
    def has_tracks(self) -> bool:
        """Whether each channel, or each audio stream, is a recording of its own."""
        return self.split or self.all_streams

    def track(self, number: int) -> AudioSource:
        """Returns a recording of the file, counted from 0: a channel, an audio stream, or the whole file."""
        if self.split:
            return of_channel(self.source, number)
        return of_stream(self.source, number) if self.all_streams else self.source


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
        section: number of the section that it belongs to (`transforms.core.sections`); None if it is decoded
            without the windows before it, as in a second pass.
    """

    audio_id: str
    index: int
    stretches: Intervals
    samples: Samples = field(repr=False)
    n_unshared: int
    language: str | None = None
    speech: Intervals | None = None
    section: int | None = None


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
        streams: the audio streams of a file with several.
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
    streams: tuple[StreamInfo, ...] = ()


@dataclass(frozen=True)
class Recording:
    """The result of reading a recording to its end.

    Attributes:
        source: with `payload` None.
        duration_s: seconds that could be decoded, up to the end of the last clip.
        n_windows: windows of the plan. Windows packed with speech do not cover non-speech.
        n_skipped: windows at a fixed stride without speech, which were not transcribed.
        speech_s: seconds of speech; None without VAD.
        skipped: stretches of a second or more, in its clips if it has some, that no transcribed window
            covers, (start, end) in seconds.
        truncated: less could be decoded than the file declares, or decoding ended with an error.
        problem: message that says what is missing or damaged; None if nothing is.
        declared_s: seconds that the header of the file declares; None if it declares none.
        streams: the audio streams of a file with several; empty for one.
        clips: what was to be transcribed, (start, end) in seconds, where it was not all of the recording.
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
    streams: tuple[StreamInfo, ...] = ()
    clips: tuple[tuple[float, float], ...] = ()


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


FAILED = "failed"
"""Reason of `Untranscribed`: the model raised an exception."""


@dataclass(frozen=True)
class Untranscribed(Record):
    """Seconds of a recording that were given to the model and have no text, or have lost some of it.

    Attributes:
        reason: short name of the reason: `failed`, `no_speech`, `no_text`, `remainder`, `cut_off`, or
            the name of the filter that deleted the text (`transforms.recognition.hallucinations`).
        text: the text that was deleted; empty if there was none.
    """

    start_s: float
    end_s: float
    reason: str
    text: str = ""


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
        language: code of the language that it was decoded in; empty if no decoding succeeded.
        timestamped: the segments' times are those of the model; else they are the window's bounds.
        speech: intervals of speech, (start, end) in seconds of the recording; None without VAD.
        untranscribed: seconds of the window that have no text, or have lost some of it, in order.
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
    untranscribed: tuple[Untranscribed, ...] = ()

    @property
    def is_decoded(self) -> bool:
        """Whether a decoding succeeded; else it has no text, no language, and no vote."""
        return bool(self.language)


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
        speech_s, skipped, declared_s, problem, streams, clips: see `Recording`.
        channel: see `AudioSource`.
        boundaries: joins of neighbouring windows, in order.
        untranscribed: seconds that the model was given and that have no text, or have lost some, in order.
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
    streams: tuple[StreamInfo, ...] = ()
    untranscribed: tuple[Untranscribed, ...] = ()
    clips: tuple[tuple[float, float], ...] = ()


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
