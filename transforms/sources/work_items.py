"""What the launcher lists and ships to workers, and how a worker gets recordings out of it."""

from __future__ import annotations

import bz2
import io
import pickle
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace

from transforms.core.types import AudioSource, Failure
from transforms.core.uris import audio_id_of, file_stamp
from transforms.fetch.policy import DEFAULT_POLICY, FetchPolicy
from transforms.sources.archives import ArchiveShard, read_archive
from transforms.sources.file_shards import FileShard, read_files
from transforms.sources.manifests import ManifestShard, read_manifest_shard
from transforms.sources.parquet import DatasetShard, read_shard

Work = AudioSource | FileShard | ManifestShard | ArchiveShard | DatasetShard
"""A recording; some files; lines of a manifest; an archive; a file of a dataset."""


def serialize(work: Iterable[Work]) -> bytes:
    """All that was listed as few bytes, for they are a part of the graph, and runners limit its size.

    Names and lines of all shards are compressed as one text: shard by shard they take up to twice as much.
    """
    packed = io.BytesIO()
    with bz2.BZ2File(packed, "wb") as file:
        for one in work:
            pickle.dump(_plain(one), file)
    return packed.getvalue()


def deserialize(packed: bytes) -> Iterator[Work]:
    """What was packed, in the same order, one at a time."""
    with bz2.BZ2File(io.BytesIO(packed)) as file:
        while file.peek(1):
            yield _deflated(pickle.load(file))


def _plain(work: Work) -> Work:
    if isinstance(work, FileShard | ManifestShard) and work.packed is not None:
        return replace(work, packed=zlib.decompress(work.packed))
    return work


def _deflated(work: Work) -> Work:
    if isinstance(work, FileShard | ManifestShard) and work.packed is not None:
        return replace(work, packed=zlib.compress(work.packed))
    return work


def open_work(work: Work, policy: FetchPolicy = DEFAULT_POLICY) -> Iterator[AudioSource | Failure]:
    """The recordings of what was listed, one at a time, and a failure for each that cannot be told.

    Args:
        work: what was listed.
        policy: what may be fetched, and what a list may name.

    Raises:
        AudioError: with stage `list`: it cannot be read, or not to its end.
    """
    match work:
        case AudioSource():
            return iter([work])
        case FileShard():
            return read_files(work)
        case ManifestShard():
            return read_manifest_shard(work, policy)
        case ArchiveShard():
            return read_archive(work, policy)
        case DatasetShard():
            return read_shard(work, policy)


def failure_source(work: Work) -> AudioSource:
    """What a failure calls it: a shard as a whole goes by its description."""
    return work if isinstance(work, AudioSource) else AudioSource(audio_id="", uri=str(work))


def origin_of(source: AudioSource, work: Work) -> Work:
    """What to open to read a recording once more: only bytes that cannot be fetched need what held them."""
    return source if source.payload is None else work


def n_recordings(work: Iterable[Work]) -> int | None:
    """How many recordings there are in all; None where that is not known before they are read."""
    total = 0
    for one in work:
        match one:
            case AudioSource():
                total += 1
            case FileShard():
                total += one.n_files
            case ManifestShard():
                total += one.n_records
            case _:
                return None
    return total


def fingerprint(work: Work) -> str:
    """What a run is known again by: names and hints, sizes and times of local files, the text of lists.

    The local files that a manifest names are known by their names alone.
    """
    if isinstance(work, FileShard):
        return str(work)
    if isinstance(work, ManifestShard):
        return f"{audio_id_of(work.uri)}:{work.number} {work.digest} {work.audio_column} {work.text_column}"
    if isinstance(work, ArchiveShard):
        return f"{audio_id_of(work.uri)} {file_stamp(work.uri)} {work.text_column}"
    if isinstance(work, DatasetShard):
        return f"{work!r} {file_stamp(work.path)}"
    stamp = file_stamp(work.uri)
    hints = "".join(f" {hint!r}" for hint in (work.prompt, work.hotwords) if hint)
    return f"{work.audio_id}{hints}" if stamp is None else f"{work.audio_id} {stamp}{hints}"
