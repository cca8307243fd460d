"""Recordings for measurements of speed, mono at 16 kHz in FLAC, made from `../shared/data`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf

from benchmarks.support.clips import SAMPLE_RATE, read_clip

LJ, JOINED, CLIPS = "lj", "joined", "clips"
RECORDINGS = (LJ, JOINED, CLIPS)
TITLES = {
    LJ: "a chapter of LJ Speech as it was read, all of it speech",
    JOINED: "the chapter joined with 200 crowd-sourced clips, half of it silent",
    CLIPS: "the 200 clips, a file each",
}


@dataclass(frozen=True)
class Recording:
    """A file, or a folder of files, and their duration."""

    path: Path
    duration_s: float

    @property
    def paths(self) -> list[Path]:
        """The file, or those of the folder."""
        return sorted(self.path.iterdir()) if self.path.is_dir() else [self.path]

    def split(self, n_parts: int, folder: Path) -> list[Path]:
        """Writes parts of equal lengths to a folder."""
        samples, rate = sf.read(self.path, dtype="int16")
        paths = []
        for index, part in enumerate(np.array_split(samples, n_parts)):
            paths.append(folder / f"{index}.flac")
            sf.write(paths[-1], part, rate)
        return paths


def make_recording(name: str, data: Path, folder: Path) -> Recording:
    """Writes one of `RECORDINGS` to a folder.

    Args:
        name: name of the recording.
        data: folder with `long/lj001.flac` and `crowd/`.
        folder: folder to write to.
    """
    crowd = sorted(path for path in (data / "crowd").iterdir() if path.is_file())
    if name == CLIPS:
        (folder / name).mkdir()
        parts = [join([clip], folder / name / f"{clip.stem}.flac") for clip in crowd]
        return Recording(folder / name, sum(part.duration_s for part in parts))
    clips = [data / "long" / "lj001.flac", *(crowd if name == JOINED else ())]
    return join(clips, folder / f"{name}.flac")


def join(clips: Iterable[Path], path: Path) -> Recording:
    """Writes clips one after the other, with nothing between them."""
    n_samples = 0
    with sf.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16") as file:
        for clip in clips:
            samples = read_clip(clip)
            file.write(samples)
            n_samples += len(samples)
    return Recording(path, n_samples / SAMPLE_RATE)
