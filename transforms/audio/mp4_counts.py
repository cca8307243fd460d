"""Counts of samples that the boxes of an MP4 declare: FFmpeg allocates its index by them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

_CONTAINERS = (
    b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"udta", b"edts", b"dinf", b"mvex",
    b"tref",
)  # fmt: skip
_FIRST_BOXES = (b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"sidx", b"wide", b"free", b"skip", b"pnot")
_MAX_BOXES = 200_000  # looked at per file: those of 100 hours in fragments of several seconds
_MAX_DEPTH = 8


class _Box(NamedTuple):
    """A box: its name, where its content begins and ends, and where that of its parent ends."""

    name: bytes
    start: int
    stop: int
    parent_stop: int = 0


def is_mp4(head: bytes) -> bool:
    """Whether a file that begins like this consists of the boxes of MP4 and QuickTime."""
    return head[4:8] in _FIRST_BOXES


def declared_samples(file: BinaryIO) -> int:
    """Returns how many samples an MP4 declares without a field for each.

    These are the counts that cost a file nothing: of samples of one size (`stsz`), and of fragments whose
    samples have the size of all (`trun`). Not counted are samples that all last one unit of time (`stts`), as
    of PCM and ADPCM in QuickTime: FFmpeg has an entry for each chunk of these.
    """
    in_fragments, in_tracks = 0, dict[int, int]()
    is_indexed = dict[int, bool]()  # by the end of their parent, as those above
    for box in _boxes(file, file.seek(0, 2)):
        if box.name == b"stts":
            is_indexed[box.parent_stop] = is_indexed.get(box.parent_stop, False) or not _is_by_unit(file, box)
        elif box.name == b"stsz":
            in_tracks[box.parent_stop] = in_tracks.get(box.parent_stop, 0) + _samples_of(file, box)
        else:
            in_fragments += _samples_of(file, box)
    return in_fragments + sum(count for parent, count in in_tracks.items() if is_indexed.get(parent, True))


def _boxes(file: BinaryIO, size: int) -> Iterator[_Box]:
    """Walks the boxes in depth."""
    pending = [_Box(b"", 0, size)]
    for _ in range(_MAX_BOXES):
        while pending and pending[-1].start + 8 > pending[-1].stop:
            pending.pop()
        if not pending:
            return
        parent = pending.pop()
        file.seek(parent.start)
        header = file.read(16)
        n_header = 16 if header[:4] == b"\0\0\0\1" else 8
        n_bytes = int.from_bytes(header[8:16] if n_header == 16 else header[:4], "big")
        stop = parent.stop if n_bytes < n_header else min(parent.start + n_bytes, parent.stop)
        pending.append(parent._replace(start=stop))
        box = _Box(header[4:8], parent.start + n_header, stop, parent.stop)
        if box.name in _CONTAINERS and len(pending) < _MAX_DEPTH:
            pending.append(box)
        else:
            yield box


def _is_by_unit(file: BinaryIO, box: _Box) -> bool:
    """Whether all samples last one unit of time: one entry, of a count and a duration of 1."""
    file.seek(box.start)
    content = file.read(16)
    return int.from_bytes(content[4:8], "big") == 1 and int.from_bytes(content[12:16], "big") == 1


def _samples_of(file: BinaryIO, box: _Box) -> int:
    if box.name not in (b"stsz", b"trun"):
        return 0
    file.seek(box.start)
    content = file.read(12)
    flags, first, count = (int.from_bytes(content[at : at + 4], "big") for at in (0, 4, 8))
    if box.name == b"stsz":
        return count if first else 0
    return first if not flags & 0xF00 else 0
