"""Decodes hostile files in this process and prints what each costs.

    python -m tests.support.hostile_files

Prints a line of JSON per file: name, outcome, seconds of CPU time, and MB by which it raised peak memory.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator
from time import process_time

import numpy as np

from benchmarks.support.processes import peak_mb
from tests.support.encoding import encoded, ffmpeg_encoded, patched, siren
from tests.support.fuzzing import outcome
from tests.support.timed_files import gap, remuxed


def hostile_files() -> Iterator[tuple[str, bytes]]:
    """Yields the files, each with a name that says what is wrong with it."""
    wav, flac = encoded(siren(1)), encoded(siren(1), fmt="FLAC")
    yield "0 bytes", b""
    yield "WAV, header only", wav[:44]
    yield "FLAC, header only", flac[:42]
    yield "MP4, header only", ffmpeg_encoded(siren(1, 44_100), "ipod", "aac", 44_100)[:40]
    yield "Ogg, header only", encoded(siren(1), fmt="OGG", subtype="OPUS")[:50]
    yield "1 sample", encoded(siren(1)[:1])
    for name, value in {"NaN": np.nan, "infinite": np.inf, "absurd": 1e38}.items():
        samples = siren(1)
        yield f"all {name}", encoded(np.full_like(samples, value), subtype="FLOAT")
        samples[5_000] = value
        yield f"one {name}", encoded(samples, subtype="FLOAT")
    yield "HTML", b"<!DOCTYPE html><html><body>404</body></html>" * 1000
    yield "2^36 samples", flac[:21] + bytes([flac[21] | 0x0F]) + b"\xff" * 4 + flac[26:]
    yield "2^31 samples", patched(patched(wav, 4, "<I", 0x7FFE_FFFF), 40, "<I", 0x7FFE_FFF0)
    yield "1 Hz", patched(wav, 24, "<I", 1)
    yield "2^32 Hz", patched(wav, 24, "<I", 0xFFFF_FFFF)
    yield "1,024 channels", patched(patched(wav, 22, "<H", 1024), 32, "<H", 2048)
    yield "0 channels", patched(wav, 22, "<H", 0)
    yield "chunk of 2^32 bytes", wav[:12] + b"LIST\xff\xff\xff\xff" + wav[12:]
    yield "CAF of a million chunks", b"caff\0\1\0\0" + (b"free" + bytes(8)) * 1_000_000
    yield "MP4 of 100,000 boxes", b"\0\0\0\x10ftypM4A \0\0\0\0" + b"\0\0\0\x08free" * 100_000
    yield "ID3 tag of 256 MB", b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + bytes(1000)
    yield "zeros", bytes(10_000_000)
    m4a = ffmpeg_encoded(siren(1, 44_100), "ipod", "aac", 44_100)
    sizes = m4a.index(b"stsz") + 8
    yield "MP4 of 10^8 samples", patched(patched(m4a, sizes, ">I", 1), sizes + 4, ">I", 10**8)
    alac = ffmpeg_encoded(siren(1, 44_100), "ipod", "alac", 44_100, bit_rate=None)
    yield "ALAC, frames of 2^24 samples", patched(alac, alac.rindex(b"alac") + 8, ">I", 1 << 24)
    matroska = ffmpeg_encoded(siren(1), "matroska", "aac", 16_000)
    duration = matroska.index(b"\x44\x89\x88") + 3
    yield "Matroska of 10^10 s", patched(matroska, duration, ">d", 1e13)
    yield "Matroska, gap of 10^9 s", remuxed(siren(1), "matroska", "aac", shift_s=gap(0.5, 1e9))
    mp3 = encoded(siren(1), fmt="MP3", subtype="MPEG_LAYER_III")
    frames = max(mp3.find(tag) for tag in (b"Xing", b"Info")) + 8
    yield "MP3 of 2^32 frames", patched(mp3, frames, ">I", 0xFFFF_FFFF)
    caf = encoded(np.stack([siren(1)] * 3, axis=1), fmt="CAF")
    labels = b"".join(struct.pack(">II", label, 0) + bytes(12) for label in (4, 1, 2))
    layout = b"chan" + struct.pack(">qIII", 12 + len(labels), 0, 0, 3) + labels
    yield "CAF, channels in another order", caf.replace(b"data", layout + b"data", 1)


def main() -> None:
    """Decodes the files in turn, after an intact one, so that libraries are loaded before."""
    outcome(encoded(siren(1)))
    for name, data in hostile_files():
        before_mb, started = peak_mb(), process_time()
        found = outcome(data)
        cost = {"seconds": process_time() - started, "mb": peak_mb() - before_mb}
        sys.stdout.write(json.dumps({"name": name, "outcome": found, **cost}) + "\n")


if __name__ == "__main__":
    main()
