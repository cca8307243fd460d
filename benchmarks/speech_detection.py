"""Words and commands that voice activity detection keeps, at several levels, and what it takes for speech.

    pip install -e '.[local,bench]'
    python -m benchmarks.speech_detection --data ../shared/data

`--data` is a folder with recordings, and with `reference/openai-whisper-base-greedy-words.json`, whose times
say where words are. Recordings are made quieter, and rounded to 16 bits. With and without the filter and the
gain of `model/detector_input.py`, prints words whose middle lies in what is kept, commands without speech,
and seconds of generated sound without speech (`benchmarks/support/wordless_audio.py`) taken for speech.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.support.clips import read_clip
from benchmarks.support.wordless_audio import write_recordings
from model.detector_input import DetectorInput, Floats
from model.interface import SAMPLE_RATE, SPEECH_CHUNK, SpeechDetector
from model.voice_activity import make_detector
from transforms.core.types import Intervals
from transforms.windows.speech_intervals import speech_intervals

LEVELS_DB = (0, -40, -50, -60)
SETS = ("english", "long", "languages")
REFERENCE = "reference/openai-whisper-base-greedy-words.json"


class Unprepared(DetectorInput):
    """Leaves the audio as it is."""

    def __call__(self, chunks: Floats) -> tuple[Floats, Floats]:
        """Returns the chunks, and a gain of 1."""
        return chunks, np.ones(len(chunks), np.float32)

    def finish(self) -> tuple[Floats, Floats]:
        """Returns nothing: no chunk is held back."""
        return self(np.empty((0, SPEECH_CHUNK), np.float32))


def unprepared_detector() -> SpeechDetector:
    """Returns a detector without filter and gain."""
    detector = make_detector()
    detector._prepare = Unprepared()  # type: ignore[attr-defined]
    return detector


DETECTORS: dict[str, Callable[[], SpeechDetector]] = {"without": unprepared_detector, "with": make_detector}


def main() -> None:
    """Prints tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10.0, help="of sound without speech")
    args = parser.parse_args()
    reference = json.loads((args.data / REFERENCE).read_text("utf-8"))
    clips = {name: read_clip(args.data / name) for name in reference}
    commands = [read_clip(path) for path in sorted((args.data / "crowd").iterdir())]
    print(f"| filter and gain | level | {' | '.join(SETS)} | commands lost |\n|---|---|---|---|---|---|")
    for name, make in DETECTORS.items():
        for level_db in LEVELS_DB:
            kept = [words_kept(make, clips, reference, of, level_db) for of in SETS]
            n_lost = sum(not speech(make, quieter(clip, level_db)) for clip in commands)
            shares = " | ".join(f"{share:.1%}" for share in kept)
            print(f"| {name} | {level_db} dB | {shares} | {n_lost} of {len(commands)} |", flush=True)
    print("\n| filter and gain | level | seconds taken for speech, by sound |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        kinds = write_recordings(Path(folder), args.minutes, 0)
        sounds = {str(path): read_clip(Path(path)) for path in kinds}
        for name, make in DETECTORS.items():
            for level_db in (0, -20, -40, -55):
                found = {
                    Path(path).stem: speech_s(make, quieter(clip, level_db)) for path, clip in sounds.items()
                }
                text = (
                    ", ".join(f"{kind} {seconds:.1f}" for kind, seconds in found.items() if seconds) or "none"
                )
                print(f"| {name} | {level_db} dB | {text} |", flush=True)


def quieter(samples: NDArray[np.float32], level_db: float) -> NDArray[np.float32]:
    """Returns the samples at a lower level, in 16 bits."""
    scaled = samples.astype(np.float64) * 10 ** (level_db / 20)
    return np.asarray(np.round(scaled * 32_768) / 32_768, np.float32)


def speech(make: Callable[[], SpeechDetector], samples: NDArray[np.float32]) -> Intervals:
    """Returns the intervals of speech, in samples."""
    detector = make()
    return tuple(speech_intervals(np.concatenate((detector(samples), detector.finish())), len(samples)))


def speech_s(make: Callable[[], SpeechDetector], samples: NDArray[np.float32]) -> float:
    """Returns the seconds of speech."""
    return sum(stop - start for start, stop in speech(make, samples)) / SAMPLE_RATE


def words_kept(
    make: Callable[[], SpeechDetector],
    clips: dict[str, NDArray[np.float32]],
    reference: dict[str, dict[str, list[dict[str, object]]]],
    group: str,
    level_db: float,
) -> float:
    """Returns the share of the words of a set whose middle lies in speech."""
    kept: list[bool] = []
    for name, clip in clips.items():
        if name.startswith(f"{group}/"):
            found = speech(make, quieter(clip, level_db))
            middles = [SAMPLE_RATE * middle for middle in middles_of(reference[name]["segments"])]
            kept += [any(start <= middle < stop for start, stop in found) for middle in middles]
    return sum(kept) / len(kept)


def middles_of(segments: list[dict[str, object]]) -> Iterator[float]:
    """Yields the middle of each word in seconds."""
    for segment in segments:
        words = segment["words"]
        assert isinstance(words, list)
        for word in words:
            yield (word["start"] + word["end"]) / 2


if __name__ == "__main__":
    main()
