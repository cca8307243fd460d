from __future__ import annotations

from pathlib import Path

import pytest

from transforms.core.errors import AudioError
from transforms.core.types import AudioSource
from transforms.sources.archives import ArchiveShard
from transforms.sources.listing import expand
from transforms.sources.single_uri import absolute, work_of_uri


@pytest.mark.parametrize("name", ["a.wav", "a", "a[1].mp3", "talk.zip", "talk.tar.gz"])
def test_file_is_the_work_item_that_listing_makes_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).write_bytes(b"any")
    monkeypatch.chdir(tmp_path)
    (listed,) = expand(name)
    assert work_of_uri(name) == work_of_uri(f"{tmp_path}/{name}") == work_of_uri(f"./{name}") == listed
    assert work_of_uri((tmp_path / name).as_uri()) == listed


@pytest.mark.parametrize(
    "url",
    [
        "https://h/talk",
        "https://h/talks/?page=*",
        "https://h/a.zip?key=1",
        "s3://b/a.mp3",
        "zip://a.mp3::s3://b/a.zip",
        "gs://b/what?.mp3",
    ],
)
def test_url_is_one_recording_or_archive(url: str) -> None:
    work = work_of_uri(url)
    assert work.uri == url
    assert isinstance(work, ArchiveShard if ".zip?" in url or url.endswith(".zip") else AudioSource)


def test_a_file_that_does_not_exist_is_a_recording() -> None:
    """It may exist on another worker, and where it is opened the failure says what is missing."""
    assert isinstance(work_of_uri("/no/such/talk.mp3"), AudioSource)


@pytest.mark.parametrize(
    ("uri", "what"),
    [
        ("", "an empty text"),
        (".", "a folder"),
        ("s3://bucket/talks/", "a folder"),
        ("*.no_such_extension", "a glob"),
        ("gs://bucket/**/*.mp3", "a glob"),
        ("talks.jsonl", "a manifest"),
        ("https://h/talks.csv?key=1", "a manifest"),
    ],
)
def test_what_names_many_recordings_is_refused_with_advice(uri: str, what: str) -> None:
    with pytest.raises(AudioError, match=rf"list: not_one_recording: {what}, where .*expand") as refused:
        work_of_uri(uri)
    assert not refused.value.retryable


def test_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/a")
    assert absolute("x/../a.wav") == str(tmp_path / "a.wav")
    assert absolute("~/a.wav") == "/home/a/a.wav"
    assert absolute("s3://b/x/../a.wav") == "s3://b/x/../a.wav"
