from __future__ import annotations

import argparse
import importlib.metadata
import re

import pytest

from pipelines.flags import add_version_flag, version_line, with_underscores


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("--audio-column=my-column", "--audio_column=my-column"),
        ("--audio-column", "--audio_column"),
        ("--audio_column", "--audio_column"),
        ("--", "--"),
        ("-o", "-o"),
        ("my-folder", "my-folder"),
        ("-my-folder=a-b", "-my-folder=a-b"),
    ],
)
def test_dashes_in_a_flags_name_become_underscores(flag: str, expected: str) -> None:
    assert with_underscores(flag) == expected


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_version_flag(parser)
    with pytest.raises(SystemExit) as stopped:
        parser.parse_args(["--version"])
    assert not stopped.value.code
    printed = capsys.readouterr().out
    assert printed == f"{version_line()}\n"
    assert re.fullmatch(r"whisper-beam \d+\.\d+\.\d+\n", printed)


def test_no_version_is_made_up_where_the_package_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_found(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", not_found)
    with pytest.raises(ValueError, match="whisper-beam is not installed"):
        version_line()
