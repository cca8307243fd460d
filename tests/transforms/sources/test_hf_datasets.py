from __future__ import annotations

import datetime
import json
from decimal import Decimal
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.archive_builders import tar_of, zip_of
from transforms.core.errors import DatasetError, InputError
from transforms.core.types import AudioSource, Failure
from transforms.fetch.policy import FetchPolicy
from transforms.sources.archives import ArchiveShard
from transforms.sources.hf_datasets import dataset_work
from transforms.sources.output_folder import OutputFolder
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


def test_output_folder_is_no_part_of_a_dataset(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"x")
    for number in range(3):  # more files of rows than recordings
        rows = tmp_path / f"out/parquet/part-{number}.parquet"
        rows.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"uri": ["a.wav"]}), rows)
    output = OutputFolder(str(tmp_path / "out"), lambda name: True)
    (work,) = dataset_work(str(tmp_path), "train", output=output)
    assert [Path(source.uri).name for source in open_work(work)] == ["a.wav"]


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


def test_rows_are_numbered_in_the_order_of_paths(tmp_path: Path) -> None:
    names = ["a-1/0.parquet", "a.b/0.parquet", "a/0.parquet", "a/b/0.parquet", "b.parquet"]
    for name in reversed(names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"audio": [name.encode()]}), tmp_path / name)
    found = [source for source in opened(tmp_path) if isinstance(source, AudioSource)]
    assert [(source.uri, source.payload) for source in found] == [
        (f"dataset://{tmp_path}/train/{index}/0", name.encode()) for index, name in enumerate(names)
    ]


def test_archives_in_an_audio_folder_and_a_single_one(tmp_path: Path) -> None:
    (tmp_path / "train.zip").write_bytes(zip_of({"a.wav": b"x"}))
    expected = [ArchiveShard(f"{tmp_path}/train.zip")]
    assert list(dataset_work(str(tmp_path), "train")) == expected
    assert list(dataset_work(f"{tmp_path}/train.zip", "whatever")) == expected


def test_metadata_without_file_name_is_an_error(folder: Path) -> None:
    (folder / "train/metadata.csv").write_text("text\nx\n")
    with pytest.raises(InputError, match=r"metadata.csv:1: no column file_name among text"):
        opened(folder)


def test_columns_of_parquet_are_kept(tmp_path: Path) -> None:
    table = pa.table(
        {
            "audio": [{"bytes": b"x", "path": "a.wav"}], "sentence": ["eins"], "language": ["German"],
            "initial_prompt": ["So,"], "speaker": [7], "snr": [float("nan")], "clean": [True],
            "name": pa.array(["n"], pa.large_string()), "words": [[1, 2]], "blob": [b"text"],
            "day": [datetime.date(2024, 2, 29)], "price": [Decimal("1.50")],
            "speech": [{"start": 0.5, "tags": ["a", None]}], "mood": pa.array(["calm"]).dictionary_encode(),
        }
    )  # fmt: skip
    pq.write_table(table, tmp_path / "train.parquet")
    (source,) = opened(tmp_path / "train.parquet")
    assert isinstance(source, AudioSource)
    assert (source.reference, source.language, source.prompt) == ("eins", "de", "So,")
    assert source.metadata == (
        ("speaker", "7"), ("snr", "null"), ("clean", "true"), ("name", '"n"'), ("words", "[1, 2]"),
        ("blob", '"text"'), ("day", '"2024-02-29"'), ("price", '"1.50"'),
        ("speech", '{"start": 0.5, "tags": ["a", null]}'), ("mood", '"calm"'),
    )  # fmt: skip


def write_files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_names_of_recordings_are_no_splits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = ["evening.wav", "interview_01.wav", "morning.wav", "train-station.wav", "wind-test.wav"]
    write_files(tmp_path, *names)
    assert sorted(by_path(tmp_path, *opened(tmp_path))) == names
    assert caplog.text == ""
    with pytest.raises(DatasetError, match="has no split 'test'; there are train"):
        opened(tmp_path, "test")


def test_what_is_left_out_is_logged(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_files(folder, "noise.wav", "notes.txt", "index.parquet", "train/a.txt", "README.txt")
    assert len(opened(folder)) == 3
    assert (
        "files of the split 'train' that are read: 3; left out: 1 in no split (noise.wav), "
        "1 in the split 'test', 3 .txt, 1 .parquet" in caplog.text
    )
    with pytest.raises(DatasetError, match="no split 'dev'; there are files in no split, test, train"):
        opened(folder, "dev")


def test_splits_that_a_readme_declares(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_files(tmp_path, "a.wav", "b.wav", "clips/c.wav")
    splits = "[{split: test, path: 'b*.wav'}, {split: calls, path: ['a.wav', 'clips/*']}]"
    (tmp_path / "README.md").write_text(
        f"---\nconfigs:\n- config_name: default\n  data_files: {splits}\n---\nText\n"
    )
    assert set(by_path(tmp_path, *opened(tmp_path, "calls"))) == {"a.wav", "clips/c.wav"}
    assert "left out: 1 in the split 'test'" in caplog.text
    (tmp_path / "README.md").write_text("# Nothing declared\n")
    assert set(by_path(tmp_path, *opened(tmp_path))) == {"a.wav", "b.wav", "clips/c.wav"}


def test_recordings_with_other_extensions_are_known_by_their_content(tmp_path: Path) -> None:
    write_files(tmp_path, "a.wav", "b.dat")
    (tmp_path / "c.recording").write_bytes(b"RIFF\x24\0\0\0WAVEfmt ")
    assert set(by_path(tmp_path, *opened(tmp_path))) == {"a.wav", "c.recording"}


def test_datasets_that_save_to_disk_wrote(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    columns: dict[str, list[object]] = {
        "audio": [{"bytes": b"x", "path": "a.wav"}, {"bytes": b"y", "path": None}],
        "text": ["eins", "zwei"],
        "tags": [["a"], []],
    }
    saved = datasets.Dataset.from_dict(columns)
    saved.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": saved, "dev": saved.select([1])}).save_to_disk(str(tmp_path / "all"))
    first, second = opened(tmp_path / "one", "any")
    assert isinstance(first, AudioSource)
    assert isinstance(second, AudioSource)
    assert (first.uri, first.payload) == (f"dataset://{tmp_path}/one/any/0/0/a.wav", b"x")
    assert (second.reference, second.metadata) == ("zwei", (("tags", "[]"),))
    (source,) = opened(tmp_path / "all", "dev")
    assert isinstance(source, AudioSource)
    assert (source.payload, source.reference) == (b"y", "zwei")
    assert "the split 'dev' is read, and not train" in caplog.text
    with pytest.raises(DatasetError, match="no split 'test'"):
        opened(tmp_path / "all", "test")


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_column_of_file_names_may_say_that_they_are_of_audio(folder: Path, kind: str) -> None:
    write_metadata(folder / "train", kind)
    path = folder / f"train/metadata.{kind}"
    if kind == "parquet":
        table = pq.read_table(path)
        names = ["audio_file_name", *table.column_names[1:]]
        pq.write_table(table.rename_columns(names).append_column("path", pa.array(["x", "y"])), path)
    else:
        path.write_text(path.read_text().replace("file_name", "audio_file_name"))
    found = by_path(folder, *opened(folder))
    assert {name: reference for name, (reference, _) in found.items()} == {
        "train/a.wav": "eins", "train/deep/b.mp3": "zwei", "train/c.flac": None,
    }  # fmt: skip
