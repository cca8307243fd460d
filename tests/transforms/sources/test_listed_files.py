from __future__ import annotations

import os
from pathlib import Path

import pytest

from transforms.core.uris import join
from transforms.sources.listed_files import find_listed

COMMON_VOICE = ("client_id", "path", "sentence")


@pytest.fixture
def base(tmp_path: Path) -> str:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp3").touch()
    return str(tmp_path / "train.tsv")


def test_files_of_common_voice_are_in_its_folder_of_clips(base: str) -> None:
    assert find_listed("a.mp3", base, COMMON_VOICE) == "clips/a.mp3"
    assert find_listed("none.mp3", base, COMMON_VOICE) == "clips/none.mp3"
    assert find_listed("a.mp3", base, ("path", "text")) == "clips/a.mp3"
    assert find_listed("none.mp3", base, ("path", "text")) == "none.mp3"


def test_file_of_the_very_name_precedes(base: str) -> None:
    Path(base).with_name("a.mp3").touch()
    assert find_listed("a.mp3", base, COMMON_VOICE) == "a.mp3"
    absolute = str(Path(base).parent / "clips" / "a.mp3")
    assert find_listed(absolute, base, COMMON_VOICE) == absolute


def test_name_that_is_not_utf8_is_the_bytes_or_the_characters_of_a_file(base: str) -> None:
    as_bytes = b"caf\xe9.wav".decode("utf-8", "surrogateescape")
    assert find_listed("café.wav", base, ("path",), is_legacy=True) == as_bytes
    Path(base).with_name("café.wav").touch()
    assert find_listed("café.wav", base, ("path",), is_legacy=True) == "café.wav"
    os.close(os.open(os.fsencode(os.path.dirname(base)) + b"/caf\xe9.wav", os.O_CREAT | os.O_WRONLY))
    assert find_listed("café.wav", base, ("path",), is_legacy=True) == as_bytes
    assert find_listed("日本.wav", base, ("path",), is_legacy=True) == "日本.wav"


def test_backslashes_of_a_list_from_windows(base: str) -> None:
    found = find_listed(r"clips\a.mp3", base, ("path",))
    assert join(base, found) == f"{os.path.dirname(base)}/clips/a.mp3"


@pytest.mark.parametrize("base", ["https://h/cv/train.tsv", "s3://b/cv/train.tsv"])
def test_nothing_is_looked_up_for_a_remote_list(base: str) -> None:
    assert find_listed(r"x\a.mp3", base, ("path",)) == "x/a.mp3"
    assert find_listed("a.mp3", base, COMMON_VOICE) == "clips/a.mp3"
    assert find_listed("https://h/a.mp3?x=\\", base, COMMON_VOICE) == "https://h/a.mp3?x=\\"
