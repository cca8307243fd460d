"""Lists the files of Hugging Face datasets, read without torch: Parquet, Arrow, audio folders and WebDataset.

The files of a split are listed once, in the launcher. Those of a dataset on the Hub, pinned to a revision,
and splits that a `README.md` declares are found by the `datasets` library. Its own `Audio` feature requires
torch for data that is not Parquet, and its streams would query the Hub again on each worker.
"""

from __future__ import annotations

import logging
import os
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from transforms.core.errors import AudioError, DatasetError, InputError
from transforms.core.types import AudioSource, Failure
from transforms.core.uris import audio_id_of, is_url, suffix
from transforms.fetch.policy import DEFAULT_POLICY, FetchPolicy
from transforms.sources.archives import ArchiveShard
from transforms.sources.file_content import has_audio_content
from transforms.sources.file_shards import grouped, to_work
from transforms.sources.file_types import is_archive, is_audio, is_other
from transforms.sources.local_files import list_files
from transforms.sources.manifests import ManifestShard, manifest_shards, read_manifest_shard
from transforms.sources.output_folder import OutputFolder
from transforms.sources.parquet import TABLE_SUFFIXES, DatasetShard, parquet_shards, read_shard
from transforms.sources.passed_over import FOLDERS, PassedOver, format_counts
from transforms.sources.saved_datasets import other_splits, saved_files
from transforms.sources.splits import Splits, by_split
from transforms.sources.work_items import Work

METADATA_FILES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Files in an audio folder with a row for each recording, whose relative path is in `file_name`."""

FILE_NAME_COLUMNS = ("file_name", "audio_file_name", None)
"""Their columns with it: since `datasets` 4, `audio_file_name`; None for any with a usual name."""

_DECLARATIONS = ("README.md", ".huggingface.yaml")  # of a folder, which may declare its splits

logger = logging.getLogger(__name__)


def dataset_work(
    name: str,
    split: str,
    audio_column: str | None = None,
    text_column: str | None = None,
    policy: FetchPolicy = DEFAULT_POLICY,
    output: OutputFolder | None = None,
) -> Iterator[Work]:
    """Lists the work items of a split of a dataset, and logs what it leaves out.

    Args:
        name: a local folder, Parquet file, Arrow file or archive, or a name on the Hub; `NAME:CONFIG` if the
            dataset has several configurations.
        split: a name, such as `train`; a single file belongs to any split.
        audio_column: for Parquet and Arrow, the column of encoded audio (bytes, or structs of `bytes` and
            `path`), of paths or of samples; None for the first with a usual name.
        text_column: the column with the reference; None for the first with a usual name, if any.
        policy: which URIs may be fetched, and which the dataset may name.
        output: the folder that the run writes to, which is no part of a local dataset; None if there is none.

    Raises:
        InputError: no such dataset, split or column, or its files contain no audio.
    """
    if os.path.exists(name):
        name = os.path.abspath(name)
    paths = [name] if os.path.isfile(name) else _files_of(name, split, output)
    archives = [path for path in paths if is_archive(path)]
    yield from (ArchiveShard(path, text_column) for path in archives)
    rest = [path for path in paths if not is_archive(path)]
    if rest and (os.path.isfile(name) or all(map(_is_table, rest))):
        yield from parquet_shards(name, split, rest, audio_column, text_column, policy)
    elif rest:
        yield from _audio_folder(name, split, rest, text_column, policy)


def _audio_folder(
    name: str, split: str, paths: Sequence[str], text_column: str | None, policy: FetchPolicy
) -> Iterator[Work]:
    """Yields the files that metadata files list, then the others."""
    lists = [path for path in paths if _is_metadata(path)]
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
    """Yields the shards of a metadata file, by the first column with names of files that it has."""

    def shards(column: str | None) -> Iterator[ManifestShard | DatasetShard]:
        if path.endswith(".parquet"):
            yield from parquet_shards(name, split, [path], column, text_column, policy)
        else:
            yield from manifest_shards(path, column, text_column, policy, has_clips=False)

    def is_readable(column: str | None) -> bool:
        with suppress(InputError):
            next(shards(column), None)
            return True
        return False

    # If it can be read by none, the first one says why.
    yield from shards(next(filter(is_readable, FILE_NAME_COLUMNS), FILE_NAME_COLUMNS[0]))


def _sources(shard: ManifestShard | DatasetShard, policy: FetchPolicy) -> Iterator[AudioSource]:
    try:
        if isinstance(shard, ManifestShard):
            found = read_manifest_shard(shard, policy)
        else:
            found = read_shard(shard, policy)
        yield from (source for source in found if not isinstance(source, Failure))
    except AudioError as error:
        raise DatasetError(f"{shard} cannot be read: {error.message}") from error


def _files_of(name: str, split: str, output: OutputFolder | None) -> list[str]:
    """Returns the files of a split that are read, and logs what is not."""
    if os.path.isdir(name) and (saved := saved_files(name, split)) is not None:
        if others := other_splits(name, split):
            logger.warning("%s: the split %r is read, and not %s", name, split, ", ".join(others))
        return saved
    files, splits = _listed(name, output)
    if not files:
        raise DatasetError(f"cannot open the dataset {name!r}: it has no files")
    taken = splits.get(split, [])
    unread = _format_files(set(files).difference(*splits.values()))
    if not any(splits.values()):
        raise DatasetError(
            f"the dataset {name!r} is made of other files ({unread}); Parquet, Arrow, audio folders and "
            "WebDataset are read; name its audio files with --input, or convert it"
        )
    if not taken:
        there = ", ".join("files in no split" if key is None else key for key in splits)
        raise DatasetError(f"the dataset {name!r} has no split {split!r}; there are {there}")
    left_out = [_format_split(key, found) for key, found in splits.items() if key != split]
    left_out += [unread] if unread else []
    if left_out:
        logger.warning(
            "%s: files of the split %r that are read: %d; left out: %s",
            name, split, len(taken), ", ".join(left_out),
        )  # fmt: skip
    return taken


def _listed(name: str, output: OutputFolder | None) -> tuple[list[str], Splits]:
    """Returns all files of a dataset, and of each split those that are read."""
    if not os.path.isdir(name):
        path, _, config = name.partition(":")
        return _found_by_datasets(name, path, config or None, output)
    if any(os.path.isfile(os.path.join(name, file)) for file in _DECLARATIONS):
        return _found_by_datasets(name, name, None, output)
    return _divided(name, _in_folder(name, output))


def _in_folder(folder: str, output: OutputFolder | None) -> list[str]:
    """Returns the files of a local dataset in the order of `datasets`, by which its rows are numbered."""
    try:
        return sorted(list_files(folder, lambda path: True, output))
    except OSError as error:
        raise DatasetError(f"cannot open the dataset {folder!r}: {error}") from error


def _found_by_datasets(
    name: str, path: str, config: str | None, output: OutputFolder | None
) -> tuple[list[str], Splits]:
    """Returns the files of a dataset as the `datasets` library finds them, and the splits that it declares.

    Files of a dataset that declares no splits are divided by its layout.
    """
    import datasets  # slow to import, and not needed on workers
    from datasets.data_files import resolve_pattern
    from datasets.load import dataset_module_factory

    try:
        parameters = dataset_module_factory(path).builder_configs_parameters
        if not parameters.metadata_configs and os.path.isdir(path):
            return _divided(path, _in_folder(path, output))
        builder = datasets.load_dataset_builder(path, config)
        if "data_files" in (parameters.metadata_configs or {}).get(builder.config.name, {}):
            declared = {str(key): list(files) for key, files in (builder.config.data_files or {}).items()}
            every = [file for files in declared.values() for file in files]
            return every, {key: _usable(files) for key, files in declared.items()}
        folder = posixpath.join(builder.base_path or path, builder.config.data_dir or "").rstrip("/")
        return _divided(folder, sorted(resolve_pattern("**", folder)))
    except (OSError, RuntimeError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise DatasetError(
            f"cannot open the dataset {name!r}: {error}; --dataset takes a local folder, Parquet file, Arrow "
            "file or archive, or a name on the Hub (NAME:CONFIG where it has several)"
        ) from error


def _divided(root: str, files: list[str]) -> tuple[list[str], Splits]:
    return files, by_split(root, _usable(files))


def _usable(files: Sequence[str]) -> list[str]:
    """Returns the files of rows, or the recordings with their metadata, whichever are more; and archives."""
    rows = {file for file in files if _is_table(file)}
    audio = {file for file in files if _is_recording(file)}
    kept = rows if len(rows) >= len(audio) else audio | {file for file in files if _is_metadata(file)}
    return [file for file in files if file in kept or is_archive(file)]


def _is_recording(path: str) -> bool:
    """Whether a file is a recording: by its name; where that does not tell, by the content of a local one."""
    if is_audio(path) or is_archive(path) or is_other(path) or is_url(path):
        return is_audio(path)
    return has_audio_content(path)


def _is_metadata(path: str) -> bool:
    return posixpath.basename(path) in METADATA_FILES


def _is_table(path: str) -> bool:
    return suffix(path) in TABLE_SUFFIXES and not _is_metadata(path)


def _format_files(files: Iterable[str]) -> str:
    """Returns the numbers of files by extension as a text."""
    counted = PassedOver(FOLDERS)
    for name in map(posixpath.basename, files):
        if name not in _DECLARATIONS:
            counted.add(name)
    return format_counts(counted.counts)


def _format_split(split: str | None, files: Sequence[str]) -> str:
    if split is not None:
        return f"{len(files):,} in the split {split!r}"
    names = ", ".join(posixpath.basename(file) for file in files[:3])
    return f"{len(files):,} in no split ({names}{', ...' * (len(files) > 3)})"
