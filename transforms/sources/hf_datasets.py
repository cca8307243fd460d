"""Lists the files of Hugging Face datasets, read without torch: Parquet, audio folders and WebDataset.

The `datasets` library resolves the files of a split once, in the launcher (those on the Hub pinned to a
revision). Its own `Audio` feature requires torch for data that is not Parquet, and its streams would query
the Hub again on each worker.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Sequence

from transforms.core.errors import AudioError, DatasetError
from transforms.core.types import AudioSource, Failure
from transforms.core.uris import audio_id_of
from transforms.fetch.policy import DEFAULT_POLICY, FetchPolicy
from transforms.sources.archives import ArchiveShard
from transforms.sources.file_shards import grouped, to_work
from transforms.sources.file_types import is_archive
from transforms.sources.manifests import ManifestShard, manifest_shards, read_manifest_shard
from transforms.sources.parquet import DatasetShard, parquet_shards, read_shard
from transforms.sources.work_items import Work

METADATA_FILES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Files in an audio folder with a row for each recording, whose relative path is in `file_name`."""

FILE_NAME_COLUMN = "file_name"


def dataset_work(
    name: str,
    split: str,
    audio_column: str | None = None,
    text_column: str | None = None,
    policy: FetchPolicy = DEFAULT_POLICY,
) -> Iterator[Work]:
    """Lists the work items of a split of a dataset.

    Args:
        name: a local folder, Parquet file or archive, or a name on the Hub; `NAME:CONFIG` if the dataset has
            several configurations.
        split: a name, such as `train`; a single file belongs to any split.
        audio_column: for Parquet, the column of encoded audio (bytes, or structs of `bytes` and `path`) or of
            paths; None for the first with a usual name.
        text_column: the column with the reference; None for the first with a usual name, if any.
        policy: which URIs may be fetched, and which the dataset may name.

    Raises:
        InputError: no such dataset, split or column, or its files contain no audio.
    """
    if os.path.exists(name):
        name = os.path.abspath(name)
    kind, paths = ("parquet", [name]) if os.path.isfile(name) else _files_of(name, split)
    archives = [path for path in paths if is_archive(path)]
    yield from (ArchiveShard(path, text_column) for path in archives)
    rest = [path for path in paths if not is_archive(path)]
    if rest and kind == "parquet":
        yield from parquet_shards(name, split, rest, audio_column, text_column, policy)
    elif rest:
        yield from _audio_folder(name, split, rest, text_column, policy)


def _audio_folder(
    name: str, split: str, paths: Sequence[str], text_column: str | None, policy: FetchPolicy
) -> Iterator[Work]:
    """Yields the files that metadata files list, then the others."""
    lists = [path for path in paths if posixpath.basename(path) in METADATA_FILES]
    seen: set[int] = set()  # 64 bits of each id, as there may be millions
    for path in lists:
        for shard in _metadata(name, split, path, text_column, policy):
            seen.update(int(source.audio_id, 16) for source in _sources(shard, policy))
            yield shard
    unlisted = (path for path in paths if path not in lists and int(audio_id_of(path), 16) not in seen)
    for group in grouped(unlisted, len):
        yield to_work(group)


def _metadata(
    name: str, split: str, path: str, text_column: str | None, policy: FetchPolicy
) -> Iterator[ManifestShard | DatasetShard]:
    if path.endswith(".parquet"):
        yield from parquet_shards(name, split, [path], FILE_NAME_COLUMN, text_column, policy)
    else:
        yield from manifest_shards(path, FILE_NAME_COLUMN, text_column, policy, has_clips=False)


def _sources(shard: ManifestShard | DatasetShard, policy: FetchPolicy) -> Iterator[AudioSource]:
    try:
        if isinstance(shard, ManifestShard):
            found = read_manifest_shard(shard, policy)
        else:
            found = read_shard(shard, policy)
        yield from (source for source in found if not isinstance(source, Failure))
    except AudioError as error:
        raise DatasetError(f"{shard} cannot be read: {error.message}") from error


def _files_of(name: str, split: str) -> tuple[str, list[str]]:
    """Returns the type of a dataset, and the files of a split."""
    import datasets  # slow to import, and not needed on workers

    path, _, config = (name, "", "") if os.path.exists(name) else name.partition(":")
    try:
        builder = datasets.load_dataset_builder(path, config or None)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise DatasetError(
            f"cannot open the dataset {name!r}: {error}; --dataset takes a local folder, Parquet file or "
            "archive, or a name on the Hub (NAME:CONFIG where it has several)"
        ) from error
    files = {str(key): list(paths) for key, paths in (builder.config.data_files or {}).items()}
    if builder.name not in ("parquet", "audiofolder", "webdataset"):
        raise DatasetError(
            f"the dataset {name!r} is made of {builder.name} files; Parquet, audio folders and WebDataset "
            "are read; name its audio files with --input, or convert it"
        )
    if split not in files:
        raise DatasetError(f"the dataset {name!r} has no split {split!r}; there are {', '.join(files)}")
    return builder.name, files[split]
