"""Speed of seeking to a late position of a recording, by format.

    python -m benchmarks.seeking
    python -m benchmarks.seeking --minutes 10

Writes a recording in each format to a temporary folder, and prints a table: the speed of reading all of it,
as times real time, and the time to seek to its last minute and read the first samples there.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import av
import numpy as np
from av.audio.stream import AudioStream

from transforms.audio.decoder import AudioDecoder

FRAME = 1024  # samples


class Format(NamedTuple):
    """A format: its name, FFmpeg's names of container and codec, sample rate in Hz, and bit rate if any."""

    name: str
    container: str
    codec: str
    rate: int
    bit_rate: int | None = None


FORMATS = (
    Format("WAV", "wav", "pcm_s16le", 44_100),
    Format("FLAC", "flac", "flac", 44_100),
    Format("MP3", "mp3", "libmp3lame", 44_100, 128_000),
    Format("M4A (AAC)", "ipod", "aac", 44_100, 128_000),
    Format("Ogg (Opus)", "ogg", "libopus", 48_000, 64_000),
)


def write(path: Path, form: Format, minutes: int) -> None:
    """Writes one minute of bursts of noise, repeated, in one channel."""
    noise = np.random.default_rng(0).standard_normal(60 * form.rate // FRAME * FRAME).astype(np.float32)
    minute = (0.1 * noise * (np.arange(len(noise)) // form.rate % 3 > 0)).reshape(-1, 1, FRAME)
    with av.open(path, "w", format=form.container) as container:
        stream = container.add_stream(form.codec, rate=form.rate, layout="mono")
        assert isinstance(stream, AudioStream)
        if form.bit_rate is not None:
            stream.bit_rate = form.bit_rate
        for number in range(minutes * 60 * form.rate // FRAME):
            frame = av.AudioFrame.from_ndarray(minute[number % len(minute)], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = form.rate, number * FRAME, Fraction(1, form.rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def read_all(path: Path) -> None:
    """Reads a whole file."""
    with path.open("rb") as file:
        for _ in AudioDecoder(file).blocks():
            pass


def reach(path: Path, time_s: int) -> None:
    """Seeks to a time and reads the first samples there."""
    with path.open("rb") as file:
        next(AudioDecoder(file, start_s=time_s).blocks())


def seconds(action: Callable[[], None], repeats: int = 3) -> float:
    """Returns the minimum duration of several calls, in seconds."""
    times = []
    for _ in range(repeats):
        started = perf_counter()
        action()
        times.append(perf_counter() - started)
    return min(times)


def main() -> None:
    """Writes the files and prints their speeds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=int, default=60)
    minutes = parser.parse_args().minutes
    late_s = 60 * (minutes - 1)
    print(
        f"{'format':12}{'all, times real time':>22}{f'to minute {minutes - 1}, s':>18}{'times real time':>18}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for form in FORMATS:
            path = Path(folder) / form.container
            write(path, form, minutes)
            all_s, late = seconds(partial(read_all, path)), seconds(partial(reach, path, late_s))
            print(f"{form.name:12}{60 * minutes / all_s:22,.0f}{late:18.3f}{late_s / late:18,.0f}")


if __name__ == "__main__":
    main()
