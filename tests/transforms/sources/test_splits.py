from __future__ import annotations

import pytest

from transforms.sources.splits import SPLIT_NAMES, by_split

NAMES_OF_RECORDINGS = ["morning.wav", "interview_01.wav", "train-station.wav", "wind-test.wav", "test.wav"]


def divided(*names: str, root: str = "/data/test") -> dict[str | None, list[str]]:
    found = by_split(root, [f"{root}/{name}" for name in names])
    return {key: [file.removeprefix(f"{root}/") for file in files] for key, files in found.items()}


def test_names_of_recordings_are_no_splits() -> None:
    assert divided(*NAMES_OF_RECORDINGS) == {"train": NAMES_OF_RECORDINGS}
    assert divided("test.wav") == {"train": ["test.wav"]}
    assert divided() == {}


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("train", "train"), ("training", "train"), ("test", "test"), ("eval", "test"), ("dev", "validation"),
        ("valid", "validation"), ("Validation", "validation"), ("data/test", "test"),
        ("de/test/clips", "test"),
    ],
)  # fmt: skip
def test_folders_of_splits(folder: str, split: str) -> None:
    other = "dev" if split != "validation" else "test"
    files = ["a.wav", f"{folder}/b.wav", f"other/{other}/c.wav"]
    assert divided(*files) == {None: files[:1], split: files[1:2], SPLIT_NAMES[other]: files[2:]}
    assert divided(*files[1:2]) == {split: files[1:2]}


def test_lone_folder_beside_other_recordings_is_no_split_unless_it_is_train() -> None:
    assert divided("monday.wav", "test/check.wav") == {"train": ["monday.wav", "test/check.wav"]}
    assert divided("noise.wav", "train/a.wav") == {None: ["noise.wav"], "train": ["train/a.wav"]}


@pytest.mark.parametrize("folder", ["train-station", "wind test", "my_dev", "testing-1", "contest"])
def test_folder_whose_name_contains_a_split_is_none(folder: str) -> None:
    files = ["a.wav", f"{folder}/b.wav"]
    assert divided(*files) == {"train": files}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00003.parquet", "train"), ("dev-00000-of-00003.parquet", "validation"),
        ("train.parquet", "train"), ("dev.parquet", "validation"), ("train-0.tar", "train"),
        ("train_12.tar.gz", "train"), ("train00001.tar", "train"), ("eval-1-of-9.tar", "test"),
        ("train-clean-100.parquet", "train"), ("dev-clean.arrow", "validation"), ("test other.zip", "test"),
        ("dev.clean/0000.parquet", "validation"), ("train.100/test.parquet", "train"),
    ],
)  # fmt: skip
def test_files_of_rows_and_archives_named_by_splits(name: str, split: str) -> None:
    assert divided(name) == {split: [name]}
    found = divided(name, "eval/test-00000-of-00001.parquet")
    assert found.keys() == {split, "test"}


@pytest.mark.parametrize(
    "shard", ["part-{}.parquet", "data-{}.parquet", "shard-{}.tar", "a.b/x_{}-ab12.arrow"]
)
def test_shards_that_are_named_by_no_split(shard: str, caplog: pytest.LogCaptureFixture) -> None:
    files = [shard.format(f"0000{n}-of-00002") for n in range(2)]
    assert divided(*files) == {"train": files}
    assert caplog.text == ""


def test_shards_of_other_splits_beside_usual_ones_and_in_the_folder_data() -> None:
    test, other = "test-00000-of-00001.parquet", "random-00000-of-00001-ab12cd34ef56.parquet"
    assert divided(test, other) == {"test": [test], "random": [other]}
    clean, dev = "data/test.clean-00000-of-00001.parquet", "data/dev-00000-of-00001.arrow"
    assert divided(clean, dev, f"data/{other}", "a.parquet") == {
        "test.clean": [clean], "dev": [dev], "random": [f"data/{other}"], None: ["a.parquet"],
    }  # fmt: skip


def test_files_of_several_splits_are_never_mixed() -> None:
    files = ["dev-clean.parquet", "notes.parquet", "test-clean.parquet", "train-clean-100.parquet"]
    assert divided(*files) == {
        "validation": files[:1], None: files[1:2], "test": files[2:3], "train": files[3:],
    }  # fmt: skip
    assert divided("train.parquet", "train_extra.parquet", "test.parquet") == {
        "train": ["train.parquet", "train_extra.parquet"], "test": ["test.parquet"],
    }  # fmt: skip
    assert divided("calls-test.tar", "calls-train.tar").keys() == {"test", "train"}


@pytest.mark.parametrize("name", ["station-train.parquet", "train-station.tar", "x.zip"])
def test_other_files_beside_a_lone_split_belong_to_train(name: str, caplog: pytest.LogCaptureFixture) -> None:
    files = ["train.parquet", name]
    assert divided(*files) == {"train": files}
    assert caplog.text == ""


def test_files_named_by_another_split_are_logged_where_they_belong_to_train(
    caplog: pytest.LogCaptureFixture,
) -> None:
    files = ["monday.parquet", "wind-test.parquet"]
    assert divided(*files) == {"train": files}
    assert "the split 'train' has all files, also wind-test.parquet" in caplog.text


def test_order_of_files_is_that_of_datasets() -> None:
    assert divided("dev.parquet", "my-train.parquet", "train.parquet", "valid.parquet") == {
        "train": ["train.parquet", "my-train.parquet"], "validation": ["valid.parquet", "dev.parquet"],
    }  # fmt: skip
    assert divided("extra.parquet", "train.parquet") == {"train": ["train.parquet", "extra.parquet"]}


def test_urls() -> None:
    root = "hf://datasets/me/train@0123"
    assert divided("test/a.wav", "dev/b.wav", root=root) == {
        "test": ["test/a.wav"],
        "validation": ["dev/b.wav"],
    }
