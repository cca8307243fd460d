from __future__ import annotations

import os
import time
from pathlib import Path
from unicodedata import normalize

import pytest

from transforms.sources.local_files import list_files, match_files
from transforms.sources.output_folder import OutputFolder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ["a.wav", "x/a.wav", "x/x/a.wav", "x/.h/a.wav", "y/b.wav", ".a.wav", "x/n.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def matches(pattern: str, tree: Path, output: OutputFolder | None = None) -> list[str]:
    return [os.path.relpath(path, tree) for path in match_files(f"{tree}/{pattern}", output)]


def listed(folder: Path, tree: Path, output: OutputFolder | None = None) -> list[str]:
    found = list_files(str(folder), lambda path: path.endswith(".wav"), output)
    return [os.path.relpath(path, tree) for path in found]


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
    assert listed(tree, tree) == ["a.wav", "x/a.wav", "x/x/a.wav", "y/b.wav"]


def test_links_to_folders_are_followed_and_each_file_is_listed_once(
    tree: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    for name in ("c.wav", "sub/d.wav"):
        (other / name).parent.mkdir(exist_ok=True)
        (other / name).touch()
    (other / "back").symlink_to(tree)
    (tree / "a_link").symlink_to(other)
    (tree / "x/again").symlink_to(other / "sub")
    (tree / "b_link").symlink_to(tree / "y")  # listed anyway
    (tree / "shown").symlink_to(tree / "x/.h")  # listed as nothing else
    own = ["a.wav", "x/a.wav", "x/x/a.wav", "y/b.wav"]
    linked = ["a_link/c.wav", "a_link/sub/d.wav", "shown/a.wav"]
    assert listed(tree, tree) == own + linked
    assert matches("**/*.wav", tree) == own + linked
    assert matches("*/*.wav", tree) == ["x/a.wav", "y/b.wav", "a_link/c.wav", "shown/a.wav"]
    assert matches("*_link/**/*.wav", tree)[:2] == ["a_link/c.wav", "a_link/sub/d.wav"]
    assert listed(tree / "a_link", tree)[:2] == ["a_link/c.wav", "a_link/sub/d.wav"]


def test_link_to_a_folder_above_lists_what_is_new(tree: Path) -> None:
    (tree / "x/x/up").symlink_to(tree)
    up = ["x/x/up/a.wav", "x/x/up/y/b.wav"]
    assert listed(tree / "x", tree) == ["x/a.wav", "x/x/a.wav", *up]
    assert matches("x/**/*.wav", tree) == ["x/a.wav", "x/x/a.wav", *up]


def test_many_links_take_little_time(tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    for n in range(3000):
        (tmp_path / f"data/{n}").mkdir(parents=True)
        (tmp_path / f"data/{n}/a.wav").touch()
        (tmp_path / f"links/{n}").symlink_to(tmp_path / f"data/{n}")
    started = time.process_time()
    assert len(listed(tmp_path / "links", tmp_path)) == 3000
    assert time.process_time() - started < 5  # generous; 0.3 s on an idle machine


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("**/*", ["a.wav", "x/a.wav", "x/x/a.wav", "y/b.wav"]),
        ("x/*", ["x/a.wav"]),
        ("x/out/*", ["x/out/rec.wav"]),
        ("x/out/**/*", ["x/out/rec.wav"]),
        ("x/out/jsonl/*", []),
    ],
)
def test_output_is_left_out(tree: Path, pattern: str, expected: list[str]) -> None:
    for name in ("jsonl/part.wav", "run.wav", "rec.wav"):
        (tree / "x/out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / "x/out" / name).touch()
    (tree / "x/n.txt").unlink()
    (tree / "link").symlink_to(tree / "x/out/jsonl")
    output = OutputFolder(f"{tree}/x/out", lambda path: path in ("run.wav", "jsonl/part.wav"))
    assert matches(pattern, tree, output) == expected
    if pattern == "**/*":
        assert listed(tree, tree, output) == expected
        assert listed(tree / "x/out", tree, output) == ["x/out/rec.wav"]


@pytest.mark.parametrize(("stored", "typed"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFC", "NFC")])
def test_globs_match_composed_and_decomposed_names(tree: Path, stored: str, typed: str) -> None:
    folder, name = normalize(stored, "Übung"), normalize(stored, "für.wav")
    (tree / folder).mkdir()
    (tree / folder / name).touch()
    for pattern in ("Übung/*.wav", "Ü*/f?r.wav", "**/für.*"):
        assert matches(normalize(typed, pattern), tree) == [f"{folder}/{name}"]


def test_unreadable_folder_matches_nothing(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("/x"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr("os.scandir", refuse)
    assert matches("**/*.wav", tree) == ["a.wav", "y/b.wav"]
