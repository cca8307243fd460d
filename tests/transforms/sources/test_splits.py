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
        ("train-00000-of-00003.parquet", "train"), ("test.clean-00000-of-00003.parquet", "test.clean"),
        ("random-00000-of-00001-ab12cd34ef56.parquet", "random"), ("data/dev-00000-of-00001.arrow", "dev"),
        ("train.parquet", "train"), ("dev.parquet", "validation"), ("train-0.tar", "train"),
        ("train_12.tar.gz", "train"), ("train00001.tar", "train"), ("eval-1-of-9.tar", "test"),
    ],
)  # fmt: skip
def test_files_named_by_splits(name: str, split: str) -> None:
    assert divided(name) == {split: [name]}
    assert divided(name, "test-00000-of-00001.parquet").keys() == {split, "test"}


@pytest.mark.parametrize(
    "name", ["station-train.parquet", "train-station.tar", "test results.parquet", "x.zip"]
)
def test_files_with_other_names_show_that_names_are_no_splits(name: str) -> None:
    files = ["train.parquet", name]
    assert divided(*files) == {"train": files}


def test_urls() -> None:
    root = "hf://datasets/me/train@0123"
    assert divided("test/a.wav", "dev/b.wav", root=root) == {
        "test": ["test/a.wav"],
        "validation": ["dev/b.wav"],
    }
