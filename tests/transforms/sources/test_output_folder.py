from __future__ import annotations

import logging
from pathlib import Path

import fsspec
import pytest

from transforms.sources.output_folder import OutputFolder

CASES = [
    ("talks/out", "talks", True),  # the folder, for a search that starts outside
    ("talks/out/rec.wav", "talks", True),
    ("talks/out2/rec.wav", "talks", False),
    ("talks/rec.wav", "talks", False),
    ("talks/out", "talks/out", False),
    ("talks/out/rec.wav", "talks/out", False),  # for one that starts in it
    ("talks/out/run.json", "talks/out", True),
    ("talks/out/sub/run.json", "talks/out/sub", False),
]


def is_run_file(path: str) -> bool:
    return path == "run.json"


@pytest.mark.parametrize(("path", "root", "is_excluded"), CASES)
def test_local_output_is_no_input(tmp_path: Path, path: str, root: str, is_excluded: bool) -> None:
    for url in (f"{tmp_path}/talks/out", f"{tmp_path}/talks/../talks/out/", f"file://{tmp_path}/talks/out"):
        output = OutputFolder(url, is_run_file)
        assert output.excludes(f"{tmp_path}/{path}", f"{tmp_path}/{root}") is is_excluded
        assert output.holds(f"{tmp_path}/{path}") is f"{path}/".startswith("talks/out/")


def test_output_behind_a_link_is_no_input(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    output = OutputFolder(f"{tmp_path}/link/out", is_run_file)
    assert output.excludes(f"{tmp_path}/disk/out/x", f"{tmp_path}/disk")


@pytest.mark.parametrize(("path", "root", "is_excluded"), CASES)
def test_remote_output_is_no_input(path: str, root: str, is_excluded: bool) -> None:
    memory = fsspec.filesystem("memory")
    output = OutputFolder("memory://talks/out/", is_run_file)
    assert output.without_output(memory, [f"/{path}"], f"/{root}") == ([] if is_excluded else [f"/{path}"])
    assert not output.excludes(f"/{path}", f"/{root}")


@pytest.mark.parametrize("url", ["/talks/out", "nosuch://talks/out", "file:///talks/out"])
def test_output_of_another_file_system_excludes_nothing(url: str) -> None:
    memory = fsspec.filesystem("memory")
    assert OutputFolder(url, is_run_file).without_output(memory, ["/talks/out/a"], "/talks") == [
        "/talks/out/a"
    ]


def test_it_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    output = OutputFolder("/talks/out", is_run_file)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            output.excludes("/talks/out", "/talks")
    assert caplog.messages == ["/talks/out is the output folder: it is not read as input"]
    assert output.n_named == 0
    output = OutputFolder("/talks/out", is_run_file)
    with caplog.at_level(logging.WARNING):
        output.excludes("/talks/out/run.json", "/talks/out")
    message = "/talks/out is the output folder: the files that runs write there are not read as input"
    assert caplog.messages[1:] == [message]
    assert output.n_named == 1
