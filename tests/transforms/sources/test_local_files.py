from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from unicodedata import normalize

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


@pytest.mark.parametrize("pattern", ["r/**/a/**/*.wav", "r/*/**/*.wav"])
def test_link_that_leads_up_lists_no_file_again(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "r/a").mkdir(parents=True)
    (tmp_path / "r/a/f.wav").touch()
    (tmp_path / "r/a/up").symlink_to(tmp_path / "r")
    assert matches(pattern, tmp_path) == ["r/a/f.wav"]


FOLDERS = ["a", "b", "a/a", "a/b", "b/a", "a/b/a"]
GLOBS = [
    "**", "**/*", "*", "*/*", "*/**/*.wav", "**/a/**/*.wav", "**/*/*", "a/**", "**/b/*", "*/*/**/f*",
    "**/**/g*", "**/a/**/b/**", "**/up/**/*.wav", "*/up/*", "**/a/*/**/*",
]  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(
    folders=st.lists(st.sampled_from(FOLDERS)),
    files=st.lists(st.tuples(st.sampled_from(["", *FOLDERS]), st.sampled_from(["f.wav", "g.wav", "a"]))),
    links=st.lists(st.tuples(st.sampled_from(["", *FOLDERS]), st.sampled_from(["up", "b"]),
                             st.sampled_from(["", *FOLDERS]))),
)  # fmt: skip
def test_each_file_that_links_lead_to_is_listed_once(
    folders: list[str], files: list[tuple[str, str]], links: list[tuple[str, str, str]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        for path in [*folders, *(path for path, _ in files), *(path for path, *_ in links)]:
            (root / path).mkdir(parents=True, exist_ok=True)
        for path, name in files:
            if not (root / path / name).exists():
                (root / path / name).touch()
        for path, name, target in links:
            if not (root / path / name).exists() and (root / target).is_dir():
                (root / path / name).symlink_to(root / target)
        for pattern in GLOBS:
            expected = places(root, pattern.split("/"))
            assert sorted(map(place_of, match_files(f"{root}/{pattern}"))) == expected, pattern
        assert sorted(map(place_of, list_files(str(root), lambda path: True))) == places(root, ["**"])


def place_of(path: str) -> str:
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def places(root: Path, parts: Sequence[str]) -> list[str]:
    """Returns the files that a glob matches by any path, by their places without links."""
    found, seen, waiting = set(), set(), [(str(root), 0)]
    while waiting:
        folder, n = waiting.pop()
        if (folder, n) in seen or n == len(parts):
            continue
        seen.add((folder, n))
        is_any = parts[n] == "**"
        if is_any:
            waiting.append((folder, n + 1))
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            if not is_any and not fnmatch(name, parts[n]):
                continue
            if os.path.isdir(path):
                waiting.append((os.path.realpath(path), n + (not is_any)))
            elif n == len(parts) - 1:
                found.add(path)
    return sorted(found)


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
