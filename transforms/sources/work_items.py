"""Work items: listed by the launcher, shipped to workers, and opened there as recordings."""

from __future__ import annotations

import bz2
import io
import pickle
import zlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from transforms.core.metrics import NO_METRICS, Metrics
from transforms.core.types import AudioSource, Failure
from transforms.core.uris import audio_id_of, file_stamp
from transforms.fetch.policy import DEFAULT_POLICY, FetchPolicy
from transforms.sources.archives import ArchiveShard, read_archive
from transforms.sources.file_shards import FileShard, read_files
from transforms.sources.line_groups import in_reading_order
from transforms.sources.manifests import ManifestShard, read_manifest_shard
from transforms.sources.parquet import DatasetShard, read_shard

Work = AudioSource | FileShard | ManifestShard | ArchiveShard | DatasetShard
"""A work item: a recording, files, lines of a manifest, an archive, or a file of a dataset."""


def serialize(work: Iterable[Work]) -> bytes:
    """Returns all work items as few bytes, because they are part of the graph, whose size runners limit.

    Names and lines of all shards are compressed as one text: shard by shard they take up to twice as much.
    """
    packed = io.BytesIO()
    with bz2.BZ2File(packed, "wb") as file:
        for one in work:
            pickle.dump(_inflated(one), file)
    return packed.getvalue()


def deserialize(packed: bytes) -> Iterator[Work]:
    """Yields serialized work items in order, one at a time."""
    with bz2.BZ2File(io.BytesIO(packed)) as file:
        while file.peek(1):
            yield _deflated(pickle.load(file))


def _inflated(work: Work) -> Work:
    if isinstance(work, FileShard | ManifestShard) and work.packed is not None:
        return replace(work, packed=zlib.decompress(work.packed))
    return work


def _deflated(work: Work) -> Work:
    if isinstance(work, FileShard | ManifestShard) and work.packed is not None:
        return replace(work, packed=zlib.compress(work.packed))
    return work


def open_work(
    work: Work,
    policy: FetchPolicy = DEFAULT_POLICY,
    metrics: Metrics = NO_METRICS,
    languages: Collection[str] = (),
) -> Iterator[AudioSource | Failure]:
    """Yields the recordings of a work item, one at a time, and a failure for each invalid entry.

    Args:
        work: the work item.
        policy: which URIs may be fetched, and which a list may contain.
        metrics: sink of the counts of files in archives that are passed over.
        languages: codes of the languages that the model knows; rows may name those that only it knows.

    Raises:
        AudioError: with stage `list`: the work item cannot be read to its end.
    """
    match work:
        case AudioSource():
            return iter([work])
        case FileShard():
            return read_files(work)
        case ManifestShard():
            return in_reading_order(read_manifest_shard(work, policy, languages))
        case ArchiveShard():
            return read_archive(work, policy, metrics, languages)
        case DatasetShard():
            return read_shard(work, policy, languages)


def failure_source(work: Work) -> AudioSource:
    """Returns the source that a failure of the work item names; the URI of a shard is its description."""
    return work if isinstance(work, AudioSource) else AudioSource(audio_id="", uri=str(work))


def origin_of(source: AudioSource, work: Work) -> Work:
    """Returns what to open to read a recording again: the recording, or the shard with its payload."""
    return source if source.payload is None else work


def n_recordings(work: Iterable[Work]) -> int | None:
    """Returns the total number of recordings; None if it is only known once the work items are read."""
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
    """Returns a text that identifies a work item: names, hints, size and time of local files, text of lists.

    It identifies the input of a run. Local files in a manifest are identified by their names only.
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
    hints = "".join(f" {hint!r}" for hint in (work.prompt, work.hotwords, work.clip_timestamps) if hint)
    return f"{work.audio_id}{hints}" if stamp is None else f"{work.audio_id} {stamp}{hints}"
