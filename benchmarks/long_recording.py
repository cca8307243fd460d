"""Memory needed to read a recording and to cut it into windows, by its length.

    python -m benchmarks.long_recording --minutes 10
    python -m benchmarks.long_recording --minutes 600 --channels 2

The recording is a WAV file at 44.1 kHz, generated while it is read: one minute of bursts of noise, repeated.
Speech is detected by Silero VAD unless `--no-vad` is given; each window is dropped as soon as it is cut, and
the model is not used. Prints the seconds taken and the peak memory of the process, as JSON.
"""

from __future__ import annotations

import argparse
import io
import json
import struct
from time import perf_counter
from typing import BinaryIO, cast

import numpy as np

from benchmarks.support.processes import peak_mb
from model.interface import SAMPLE_RATE
from transforms.core.types import AudioSource, AudioSpan
from transforms.windows.clipped_detector import MakeDetector
from transforms.windows.plan import WindowPlan
from transforms.windows.window_stream import WindowStream

RATE = 44_100  # Hz
HEADER = 44  # bytes


class EndlessWav(io.RawIOBase):
    """A WAV file of any length, of which one minute is in memory."""

    def __init__(self, minutes: int, channels: int = 1) -> None:
        noise = np.random.default_rng(0).standard_normal((60 * RATE, channels)) * 3000
        bursts = np.arange(60 * RATE) // RATE % 3 > 0  # 1 s of silence, 2 s of noise
        self._minute = (noise * bursts[:, None]).astype("<i2").tobytes()
        n_bytes = minutes * len(self._minute)
        sizes = (
            min(n_bytes + 36, 0xFFFF_FFFF),
            min(n_bytes, 0xFFFF_FFFF),
        )  # too long: as writers to pipes have it
        form = struct.pack(
            "<4sIHHIIHH", b"fmt ", 16, 1, channels, RATE, 2 * channels * RATE, 2 * channels, 16
        )
        self._header = (
            b"RIFF" + struct.pack("<I", sizes[0]) + b"WAVE" + form + b"data" + struct.pack("<I", sizes[1])
        )
        self._size, self._at = HEADER + n_bytes, 0

    def read(self, size: int = -1) -> bytes:
        """Returns the next bytes, at most those of a minute."""
        wanted = self._size - self._at if size < 0 else min(size, self._size - self._at)
        if self._at < HEADER:
            content = self._header[self._at : self._at + wanted]
        else:
            start = (self._at - HEADER) % len(self._minute)
            content = self._minute[start : start + max(wanted, 0)]
        self._at += len(content)
        return content

    def seek(self, offset: int, whence: int = 0) -> int:
        """See `io.IOBase`."""
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        """See `io.IOBase`."""
        return self._at


def read_all(minutes: int, channels: int, detector: MakeDetector | None) -> tuple[float, int]:
    """Reads such a recording and drops its windows; returns its minutes and the number of windows."""
    file = cast(BinaryIO, EndlessWav(minutes, channels))
    reading = WindowStream(file, AudioSpan(AudioSource("id", "generated")), WindowPlan(30.0, 5.0, detector))
    n_windows = sum(1 for _ in reading.windows())
    return reading.n_samples / SAMPLE_RATE / 60, n_windows


def main() -> None:
    """Reads a recording and prints the measurements."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--vad", action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args()
    detector = None
    if args.vad:
        from pipelines.backend import WHISPER  # imports the model's package, which --no-vad does not need

        detector = WHISPER.detector
    started = perf_counter()
    read_minutes, n_windows = read_all(args.minutes, args.channels, detector)
    figures = {
        "minutes": read_minutes,
        "windows": n_windows,
        "seconds": round(perf_counter() - started, 2),
        "peak_mb": round(peak_mb(), 1),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
