from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.archive_builders import tar_of, zip_of
from transforms.core.errors import InputError
from transforms.core.types import AudioSource, Failure
from transforms.fetch.policy import FetchPolicy
from transforms.sources.archives import ArchiveShard
from transforms.sources.hf_datasets import dataset_work
from transforms.sources.work_items import open_work


def opened(folder: Path, split: str = "train", text_column: str | None = None) -> list[AudioSource | Failure]:
    return [
        source for work in dataset_work(str(folder), split, None, text_column) for source in open_work(work)
    ]


def by_path(folder: Path, *sources: AudioSource | Failure) -> dict[str, tuple[str | None, dict[str, object]]]:
    good = [source for source in sources if isinstance(source, AudioSource)]
    return {
        str(Path(source.uri).relative_to(folder)): (
            source.reference,
            {name: json.loads(value) for name, value in source.metadata},
        )
        for source in good
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("train/a.wav", "train/deep/b.mp3", "train/c.flac", "test/d.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def test_audio_folder_without_metadata(folder: Path) -> None:
    assert by_path(folder, *opened(folder)) == {
        "train/a.wav": (None, {}), "train/c.flac": (None, {}), "train/deep/b.mp3": (None, {}),
    }  # fmt: skip
    assert by_path(folder, *opened(folder, "test")) == {"test/d.wav": (None, {})}


def write_metadata(folder: Path, kind: str, first: str = "a.wav") -> None:
    rows = [
        {"file_name": first, "transcription": "eins", "start": 2.0, "end": 1.0, "label": "x"},
        {"file_name": "deep/b.mp3", "transcription": "zwei", "start": 0.0, "end": 1.0, "label": "y"},
    ]
    path = folder / f"metadata.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        lines = [",".join(map(str, row.values())) for row in rows]
        path.write_text("\n".join([",".join(rows[0]), *lines]))


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_audio_folder_with_metadata(folder: Path, kind: str) -> None:
    write_metadata(folder / "train", kind)
    found = by_path(folder, *opened(folder))
    assert set(found) == {"train/a.wav", "train/deep/b.mp3", "train/c.flac"}  # one that it does not name, too
    reference, metadata = found["train/a.wav"]
    assert reference == "eins"
    assert {name: str(value) for name, value in metadata.items()} == {
        "start": "2.0",
        "end": "1.0",
        "label": "x",
    }
    assert found["train/c.flac"] == (None, {})
    assert len(opened(folder)) == 3


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_forbidden_uri_in_metadata_is_a_failure_unless_trusted(folder: Path, kind: str) -> None:
    write_metadata(folder / "train", kind, f"file://{folder}/train/a.wav")
    found = opened(folder)
    assert [one.kind for one in found if isinstance(one, Failure)] == ["forbidden_uri"]
    assert by_path(folder, *found)["train/a.wav"] == (None, {})  # like a file without metadata
    assert by_path(folder, *found)["train/deep/b.mp3"][0] == "zwei"
    trusting = FetchPolicy(trust_manifests=True)
    work = dataset_work(str(folder), "train", policy=trusting)
    found = [source for one in work for source in open_work(one, trusting)]
    assert len(found) == len(by_path(folder, *found)) == 3
    assert by_path(folder, *found)["train/a.wav"][0] == "eins"


def test_text_column_can_be_chosen(folder: Path) -> None:
    write_metadata(folder / "train", "jsonl")
    assert by_path(folder, *opened(folder, text_column="label"))["train/a.wav"][0] == "x"


def test_webdataset_shards(tmp_path: Path) -> None:
    for shard in range(2):
        data = tar_of({f"{shard}.flac": b"x", f"{shard}.txt": b"said"})
        (tmp_path / f"train-{shard}.tar").write_bytes(data)
    assert list(dataset_work(str(tmp_path), "train")) == [
        ArchiveShard(f"{tmp_path}/train-{shard}.tar") for shard in range(2)
    ]
    assert [source.reference for source in opened(tmp_path) if isinstance(source, AudioSource)] == [
        "said"
    ] * 2


def test_archives_in_an_audio_folder_and_a_single_one(tmp_path: Path) -> None:
    (tmp_path / "train.zip").write_bytes(zip_of({"a.wav": b"x"}))
    expected = [ArchiveShard(f"{tmp_path}/train.zip")]
    assert list(dataset_work(str(tmp_path), "train")) == expected
    assert list(dataset_work(f"{tmp_path}/train.zip", "whatever")) == expected


def test_metadata_without_file_name_is_an_error(folder: Path) -> None:
    (folder / "train/metadata.csv").write_text("text\nx\n")
    with pytest.raises(InputError, match=r"metadata.csv:1: no column file_name among text"):
        opened(folder)


def test_columns_of_parquet_except_nested_ones_are_kept(tmp_path: Path) -> None:
    table = pa.table(
        {
            "audio": [{"bytes": b"x", "path": "a.wav"}], "sentence": ["eins"], "language": ["German"],
            "initial_prompt": ["So,"], "speaker": [7], "snr": [float("nan")], "clean": [True],
            "name": pa.array(["n"], pa.large_string()), "words": [[1, 2]], "blob": [b"no text"],
        }
    )  # fmt: skip
    pq.write_table(table, tmp_path / "train.parquet")
    (source,) = opened(tmp_path / "train.parquet")
    assert isinstance(source, AudioSource)
    assert (source.reference, source.language, source.prompt) == ("eins", "de", "So,")
    assert source.metadata == (("speaker", "7"), ("snr", "null"), ("clean", "true"), ("name", '"n"'))
