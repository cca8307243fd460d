from __future__ import annotations

import os
from pathlib import Path

import pytest

from transforms.sources.local_files import list_files, match_files


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ["a.wav", "x/a.wav", "x/x/a.wav", "x/.h/a.wav", "y/b.wav", ".a.wav", "x/n.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def matches(pattern: str, tree: Path) -> list[str]:
    return [os.path.relpath(path, tree) for path in match_files(f"{tree}/{pattern}")]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.wav", ["a.wav"]),
        ("*/*.wav", ["x/a.wav", "y/b.wav"]),
        ("**/a.wav", ["a.wav", "x/a.wav", "x/x/a.wav"]),
        ("**/x/**/a.wav", ["x/a.wav", "x/x/a.wav"]),
        ("**/**/a.*", ["a.wav", "x/a.wav", "x/x/a.wav"]),
        ("x/**", ["x/a.wav", "x/n.txt", "x/x/a.wav"]),
        ("x/.h/*", ["x/.h/a.wav"]),
        ("**/.h/*", ["x/.h/a.wav"]),
        (".*", [".a.wav"]),
        ("[xy]/?.w*", ["x/a.wav", "y/b.wav"]),
        ("*", ["a.wav"]),
        ("nowhere/*", []),
        ("a.wav/*", []),
    ],
)
def test_glob_matches_each_file_once(tree: Path, pattern: str, expected: list[str]) -> None:
    assert matches(pattern, tree) == expected


def test_cyclic_links_are_not_followed(tree: Path) -> None:
    (tree / "loop").symlink_to(tree)
    (tree / "x/loop").symlink_to(tree)
    assert matches("**/*.wav", tree) == ["a.wav", "x/a.wav", "x/x/a.wav", "y/b.wav"]
    assert matches("lo*/*.wav", tree) == ["loop/a.wav"]  # a link that is named is followed
    assert [os.path.relpath(path, tree) for path in list_files(str(tree), lambda name: name == "b.wav")] == [
        "y/b.wav"
    ]


def test_unreadable_folder_matches_nothing(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("/x"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr("os.scandir", refuse)
    assert matches("**/*.wav", tree) == ["a.wav", "y/b.wav"]
