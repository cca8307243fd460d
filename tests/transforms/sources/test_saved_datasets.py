from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest

from transforms.core.errors import DatasetError
from transforms.sources.saved_datasets import other_splits, saved_files


def saved(folder: Path, n_shards: int = 1) -> Path:
    dataset = datasets.Dataset.from_dict({"audio": [b"a", b"b", b"c"], "text": ["one", "two", "three"]})
    dataset.save_to_disk(str(folder), num_shards=n_shards)
    return folder


def test_files_of_a_dataset_of_any_split(tmp_path: Path) -> None:
    folder = saved(tmp_path / "d", n_shards=2)
    expected = [f"{folder}/data-0000{number}-of-00002.arrow" for number in range(2)]
    assert saved_files(str(folder), "train") == saved_files(str(folder), "test") == expected
    assert other_splits(str(folder), "train") == []


def test_files_of_a_split(tmp_path: Path) -> None:
    for split in ("train", "test"):
        saved(tmp_path / split)
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert saved_files(str(tmp_path), "test") == [f"{tmp_path}/test/data-00000-of-00001.arrow"]
    assert other_splits(str(tmp_path), "test") == ["train"]
    with pytest.raises(DatasetError, match=r"no split 'dev'; there are \['train', 'test'\]"):
        saved_files(str(tmp_path), "dev")


def test_other_folders_are_no_saved_datasets(tmp_path: Path) -> None:
    assert saved_files(str(tmp_path), "train") is None


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("{", "cannot be read: .*; save the dataset again"),
        ("[]", "is no description of a dataset"),
        ("{}", "lists no files of a dataset"),
        ('{"_data_files": []}', "lists no files of a dataset"),
        ('{"_data_files": ["a.arrow"]}', "lists no files of a dataset"),
    ],
)
def test_damaged_folder_is_an_error(tmp_path: Path, state: str, message: str) -> None:
    (tmp_path / "state.json").write_text(state)
    with pytest.raises(DatasetError, match=message):
        saved_files(str(tmp_path), "train")


def test_selection_of_rows_by_an_index_is_an_error(tmp_path: Path) -> None:
    state = {"_data_files": [{"filename": "a.arrow"}], "_indices_data_files": [{"filename": "i.arrow"}]}
    (tmp_path / "state.json").write_text(json.dumps(state))
    with pytest.raises(DatasetError, match="is a selection of rows of its files"):
        saved_files(str(tmp_path), "train")


def test_files_are_those_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "../../etc/a.arrow"}]}')
    assert saved_files(str(tmp_path), "train") == [f"{tmp_path}/a.arrow"]
