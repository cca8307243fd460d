from __future__ import annotations

import os
from pathlib import Path

import pytest

from transforms.core.uris import join
from transforms.sources.listed_files import ListedFiles

COMMON_VOICE = ("client_id", "path", "sentence")


@pytest.fixture
def base(tmp_path: Path) -> str:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp3").touch()
    return str(tmp_path / "train.tsv")


def test_files_of_common_voice_are_in_its_folder_of_clips(base: str) -> None:
    assert ListedFiles(base, COMMON_VOICE).find("a.mp3") == "clips/a.mp3"
    assert ListedFiles(base, COMMON_VOICE).find("none.mp3") == "clips/none.mp3"
    assert ListedFiles(base, ("path", "text")).find("a.mp3") == "clips/a.mp3"
    assert ListedFiles(base, ("path", "text")).find("none.mp3") == "none.mp3"


def test_file_of_the_very_name_precedes(base: str) -> None:
    Path(base).with_name("a.mp3").touch()
    assert ListedFiles(base, COMMON_VOICE).find("a.mp3") == "a.mp3"
    absolute = str(Path(base).parent / "clips" / "a.mp3")
    assert ListedFiles(base, COMMON_VOICE).find(absolute) == absolute


def test_name_that_is_not_utf8_is_the_bytes_or_the_characters_of_a_file(base: str) -> None:
    as_bytes = b"caf\xe9.wav".decode("utf-8", "surrogateescape")
    assert ListedFiles(base, ("path",)).find("café.wav", is_legacy=True) == as_bytes
    Path(base).with_name("café.wav").touch()
    assert ListedFiles(base, ("path",)).find("café.wav", is_legacy=True) == "café.wav"
    os.close(os.open(os.fsencode(os.path.dirname(base)) + b"/caf\xe9.wav", os.O_CREAT | os.O_WRONLY))
    assert ListedFiles(base, ("path",)).find("café.wav", is_legacy=True) == as_bytes
    assert ListedFiles(base, ("path",)).find("日本.wav", is_legacy=True) == "日本.wav"


def test_backslashes_of_a_list_from_windows(base: str) -> None:
    found = ListedFiles(base, ("path",)).find(r"clips\a.mp3")
    assert join(base, found) == f"{os.path.dirname(base)}/clips/a.mp3"


def test_list_without_a_folder_of_clips_names_files_beside_it(
    base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(base).with_name("clips").rename(Path(base).with_name("sound"))
    files = ListedFiles(base, COMMON_VOICE)
    monkeypatch.setattr("os.path.lexists", None)  # nothing is searched
    assert files.find("none.mp3") == "none.mp3"


def test_only_names_without_a_folder_are_in_that_of_clips(base: str) -> None:
    assert ListedFiles(base, COMMON_VOICE).find("x/none.mp3") == "x/none.mp3"
    assert ListedFiles(base, COMMON_VOICE).find("clips/none.mp3") == "clips/none.mp3"
    assert ListedFiles("gs://b/train.tsv", COMMON_VOICE).find("clips/b.wav") == "clips/b.wav"


@pytest.mark.parametrize("base", ["gs://b/m.csv", "https://h/m.jsonl", "gs://b/m.csv.gz"])
def test_lists_of_other_types_are_none_of_common_voice(base: str) -> None:
    assert ListedFiles(base, COMMON_VOICE).find("a.mp3") == "a.mp3"


@pytest.mark.parametrize("base", ["https://h/cv/train.tsv", "s3://b/cv/train.tsv", "s3://b/train.tsv.gz"])
def test_nothing_is_looked_up_for_a_remote_list(base: str) -> None:
    assert ListedFiles(base, ("path",)).find(r"x\a.mp3") == "x/a.mp3"
    assert ListedFiles(base, COMMON_VOICE).find("a.mp3") == "clips/a.mp3"
    assert ListedFiles(base, COMMON_VOICE).find("https://h/a.mp3?x=\\") == "https://h/a.mp3?x=\\"
