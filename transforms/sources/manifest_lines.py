"""The lines of a manifest as UTF-8 that ends with newlines, however the file was written.

A file that is plain already is read in place. Others are converted: gzip, UTF-16 (by its byte order mark),
lines that end with a carriage return only (Excel's "CSV (Macintosh)"), and `.json` that is one array.
"""

from __future__ import annotations

import codecs
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

from transforms.sources.columns import ColumnError

HEAD_BYTES = 64 << 10
MAX_ARRAY_BYTES = 64 << 20
"""Bytes of an array, which is parsed in memory; JSON lines have no maximum."""

MAX_RATIO, FREE_BYTES = 200, 32 << 20
"""Maximum ratio of unpacked to packed bytes, beyond the free ones: lists of similar paths have up to 50."""

MAC_ENCODING = "mac_roman"

_GZIP = b"\x1f\x8b"
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_WHITESPACE = re.compile(r"[ \t\r\n]*")


class Lines(NamedTuple):
    """The lines of a manifest.

    Attributes:
        file: readable by lines.
        is_converted: whether its bytes are others than those of the manifest.
        encoding: the encoding that was guessed, `mac_roman`; None if none was.
    """

    file: BinaryIO
    is_converted: bool
    encoding: str | None = None


def open_lines(file: BinaryIO, kind: str) -> Lines:
    """Returns the lines of a manifest.

    Args:
        file: seekable, at its start.
        kind: the manifest's extension, without `.gz`.

    Raises:
        ColumnError: it cannot be unpacked or decoded; also when the lines are read.
    """
    head = _head(file)
    blocks: Iterator[bytes] | None = None
    if head.startswith(_GZIP):
        blocks = _unpacked(file)
        head, blocks = _peeked(blocks)
    if head.startswith(_UTF16_MARKS):
        blocks = _decoded(blocks or _blocks(file))
        head, blocks = _peeked(blocks)
    encoding = None
    if b"\r" in head and b"\n" not in head:
        encoding = MAC_ENCODING if _is_mac_roman(head) else None
        blocks = _with_newlines(blocks or _blocks(file), encoding)
    if kind == ".json" and head.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"["):
        blocks = _array_items(blocks or _blocks(file))
    if blocks is None:
        return Lines(file, is_converted=False)
    return Lines(io.BufferedReader(_BlockReader(blocks)), is_converted=True, encoding=encoding)


def _head(file: BinaryIO) -> bytes:
    head = file.read(HEAD_BYTES)
    file.seek(0)
    return head


def _peeked(blocks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Returns the first block, and the blocks from the first on."""
    first = next(blocks, b"")
    return first, _chained(first, blocks)


def _chained(first: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from blocks


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(HEAD_BYTES):
        yield block


def _unpacked(file: BinaryIO) -> Iterator[bytes]:
    """Unpacks gzip of one or more members, in blocks of bounded size."""
    n_packed = n_unpacked = 0
    for packed in _members(_blocks(file)):
        n_packed += packed.n_packed
        n_unpacked += len(packed.data)
        if n_unpacked > FREE_BYTES + MAX_RATIO * n_packed:
            raise ColumnError(f"more than {n_unpacked} bytes from {n_packed}: it may be a decompression bomb")
        if packed.data:
            yield packed.data


class _Unpacked(NamedTuple):
    data: bytes
    n_packed: int


def _members(blocks: Iterable[bytes]) -> Iterator[_Unpacked]:
    unpacker = zlib.decompressobj(wbits=31)
    is_whole = False
    try:
        for block in blocks:
            n_packed, rest = len(block), block
            while rest:
                if unpacker.eof:
                    rest = rest.lstrip(b"\0")  # padding, as of tapes
                    if not rest:
                        break
                    unpacker = zlib.decompressobj(wbits=31)
                yield _Unpacked(unpacker.decompress(rest, HEAD_BYTES), n_packed)
                n_packed = 0
                rest = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
            is_whole = unpacker.eof
    except zlib.error as error:
        raise ColumnError(f"cannot be unpacked: {error}") from error
    if not is_whole:
        raise ColumnError("cannot be unpacked to its end: it was cut short")


def _decoded(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Decodes UTF-16 by its byte order mark, and encodes it as UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-16")()
    try:
        for block in blocks:
            yield decoder.decode(block).encode("utf-8", "surrogatepass")
        decoder.decode(b"", final=True)
    except UnicodeError as error:
        raise ColumnError(f"cannot be decoded as UTF-16: {error}; save it as UTF-8") from error


def _is_mac_roman(head: bytes) -> bool:
    """Whether text that is not UTF-8 has its letters where Mac Roman has them, and not Windows-1252."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return sum(0x80 <= byte < 0xA0 for byte in head) > sum(byte >= 0xC0 for byte in head)
    return False


def _with_newlines(blocks: Iterable[bytes], encoding: str | None) -> Iterator[bytes]:
    for block in blocks:
        text = block if encoding is None else block.decode(encoding).encode()
        yield text.replace(b"\r", b"\n")


def _array_items(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yields each item of a JSON array as a line."""
    data = bytearray()
    for block in blocks:
        data += block
        if len(data) > MAX_ARRAY_BYTES:
            raise ColumnError(
                f"a JSON array of more than {MAX_ARRAY_BYTES >> 20} MiB; write one object a line (.jsonl)"
            )
    text = data.decode("utf-8-sig", "surrogateescape")
    del data
    decoder = json.JSONDecoder()
    at = _after_space(text, text.index("[") + 1)
    while not text.startswith("]", at):
        try:
            _, stop = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            line = text.count("\n", 0, at) + 1
            raise ColumnError(f"not JSON: its item that begins in line {line}: {error}") from error
        yield (text[at:stop].replace("\n", " ").replace("\r", " ") + "\n").encode("utf-8", "surrogateescape")
        at = _after_space(text, stop)
        if not text.startswith((",", "]"), at):
            raise ColumnError(f"not JSON: ',' or ']' was expected in line {text.count(chr(10), 0, at) + 1}")
        at = _after_space(text, at + 1) if text[at] == "," else at
    if text[at + 1 :].strip():
        raise ColumnError(f"not JSON: more text after the array, in line {text.count(chr(10), 0, at) + 1}")


def _after_space(text: str, at: int) -> int:
    match = _WHITESPACE.match(text, at)
    return at if match is None else match.end()


class _BlockReader(io.RawIOBase):
    """A binary file made of blocks."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks, self._rest = blocks, memoryview(b"")

    def readable(self) -> bool:
        """Whether it can be read: always."""
        return True

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401  # any writable buffer
        """Fills a buffer as far as the next block goes; returns the number of bytes, 0 at the end."""
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._rest = memoryview(block)
        target = memoryview(buffer).cast("B")
        n_bytes = min(len(target), len(self._rest))
        target[:n_bytes], self._rest = self._rest[:n_bytes], self._rest[n_bytes:]
        return n_bytes
