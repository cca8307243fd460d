from __future__ import annotations

import io
import struct

import pytest

from tests.support.encoding import decoded, encoded, ffmpeg_encoded, patched, siren
from transforms.audio.ffmpeg import MAX_INDEX_SAMPLES
from transforms.audio.mp4_counts import declared_samples, is_mp4
from transforms.core.errors import AudioError


def box(name: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + name + body


def long_box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 1) + name + struct.pack(">Q", 16 + len(content)) + content


FTYP = box(b"ftyp", b"M4A ", bytes(4))


def sizes(size: int, count: int) -> bytes:
    return box(b"stsz", struct.pack(">III", 0, size, count))


def durations(*entries: tuple[int, int]) -> bytes:
    return box(b"stts", struct.pack(">II", 0, len(entries)), *(struct.pack(">II", *one) for one in entries))


def track(*content: bytes) -> bytes:
    return box(b"trak", box(b"mdia", box(b"minf", box(b"stbl", *content))))


def fragment(flags: int, count: int) -> bytes:
    return box(b"moof", box(b"traf", box(b"trun", struct.pack(">III", flags, count, 0))))


@pytest.mark.parametrize(
    ("content", "n_samples"),
    [
        (FTYP + box(b"moov", track(sizes(1, 500))), 500),
        (FTYP + box(b"moov", track(sizes(0, 500))), 0),  # a size for each sample follows
        (FTYP + box(b"moov", track(sizes(4, 500)), track(box(b"stts"), sizes(2, 70))), 570),
        (FTYP + long_box(b"moov", track(sizes(1, 500))), 500),
        (FTYP + fragment(1, 300) + box(b"mdat", bytes(50)) + fragment(1, 400), 700),
        (FTYP + fragment(0x201, 300), 0),
        (FTYP + box(b"mdat", sizes(1, 500)), 0),
        (FTYP + box(b"moov", track(durations((500, 1)), sizes(1, 500))), 0),  # an entry for each chunk
        (FTYP + box(b"moov", track(sizes(1, 500), durations((500, 1)))), 0),
        (FTYP + box(b"moov", track(durations((500, 2)), sizes(1, 500))), 500),
        (FTYP + box(b"moov", track(durations((500, 1), (9, 1)), sizes(1, 500))), 500),
        (FTYP + box(b"moov", track(durations((1, 1))), track(durations((1, 2)), sizes(1, 500))), 500),
        (box(b"moov", track(sizes(1, 500))), 500),
        (FTYP + box(b"moov", track(sizes(1, 500)))[:-8], 0),
        (FTYP + struct.pack(">I", 9) + b"moov" + bytes(1000), 0),
        (FTYP + b"\0\0\0\x08trak" * 1000, 0),
        (FTYP + (struct.pack(">I", 1 << 30) + b"moov") * 1000, 0),  # deeper than boxes are
        (FTYP, 0),
        (b"", 0),
    ],
)
def test_samples_without_fields_are_counted(content: bytes, n_samples: int) -> None:
    assert declared_samples(io.BytesIO(content)) == n_samples


def test_files_are_recognised_by_their_first_box() -> None:
    assert is_mp4(FTYP)
    assert is_mp4(box(b"moov"))
    assert not is_mp4(encoded(siren(0.1))[:16])
    assert not is_mp4(b"")


FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}


@pytest.mark.parametrize(("name", "options", "at"), [(b"stsz", {}, 8), (b"trun", FRAGMENTS, 4)])
def test_more_samples_than_bytes_are_refused_before_memory_is_taken(
    name: bytes, options: dict[str, str], at: int
) -> None:
    data = ffmpeg_encoded(siren(1, 44_100), "mp4", "aac", 44_100, options)
    first = data.index(name) + at
    wrong = patched(patched(data, first, ">I", 1), first + 4, ">I", MAX_INDEX_SAMPLES + 1)
    with pytest.raises(AudioError, match="decode: corrupt: declares 10000001 samples"):
        decoded(wrong)


def test_samples_of_one_size_are_decoded() -> None:
    data = ffmpeg_encoded(siren(2, 16_000), "mov", "pcm_u8", 16_000, bit_rate=None)
    assert declared_samples(io.BytesIO(data)) == 0  # FFmpeg has an entry for each chunk
    decoder, _ = decoded(data)
    assert decoder.decoded_s == 2
