from __future__ import annotations

import hashlib
from pathlib import Path
from unicodedata import normalize

import pytest

from transforms.core.uris import audio_id_of, audio_source, existing_path, is_url, join, plain, suffix


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://bucket/a.wav", True), ("HTTPS://h/a.wav", True), ("simplecache::https://h/a.wav", True),
        ("zip://a.wav::s3://b/c.zip", True), ("/data/a.wav", False), ("/data/odd://name.wav", False),
        ("a::b.wav", False), ("talks/x.mp3", False), ("c:/x.wav", False),
    ],
)  # fmt: skip
def test_is_url(uri: str, expected: bool) -> None:
    assert is_url(uri) == expected


def test_plain_is_the_path_of_a_file_url() -> None:
    assert plain("file:///data/a%20b%25.wav") == "/data/a b%.wav"
    assert plain("/data/a%20b.wav") == "/data/a%20b.wav"


def test_suffix_of_a_url_is_that_of_its_path() -> None:
    assert suffix("https://h/list.JSONL?name=a.wav#b.csv") == ".jsonl"
    assert suffix("/data/what?.csv") == ".csv"
    assert suffix("https://[broken/a.wav") == ".wav"
    assert suffix("/data.d/a") == ""


@pytest.mark.parametrize(
    ("base", "name", "expected"),
    [
        ("/lists/m.csv", "a b.wav", "/lists/a b.wav"),
        ("/lists/m.csv", "../x/./a.wav", "/x/a.wav"),
        ("/lists/m.csv", "/data/a.wav", "/data/a.wav"),
        ("/lists/m.csv", "file:///data/a%20b.wav", "/data/a b.wav"),
        ("/lists/m.csv", "gs://b/a.wav", "gs://b/a.wav"),
        ("gs://b/lists/m.csv", "../audio/a.wav", "gs://b/audio/a.wav"),
        ("memory://m.csv", "a.wav", "memory://a.wav"),
        ("https://h/lists/m.csv?x=1", "a.wav", "https://h/lists/a.wav"),
        ("https://h/lists/m.csv", "/a.wav", "https://h/a.wav"),
        ("https://h/lists/m.csv", "file:///data/a%20b.wav", "/data/a b.wav"),
        ("simplecache::s3://b/l/m.csv", "a.wav", "simplecache::s3://b/l/a.wav"),
    ],
)
def test_join_is_relative_to_the_file_that_lists(base: str, name: str, expected: str) -> None:
    assert join(base, name) == expected


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_composed_and_decomposed_names_are_the_same_file(tmp_path: Path, forms: tuple[str, str]) -> None:
    stored, typed = (f"{tmp_path}/{normalize(form, 'Übung/für.wav')}" for form in forms)
    Path(stored).parent.mkdir()
    Path(stored).touch()
    mixed = f"{Path(stored).parent}/{Path(typed).name}"
    assert existing_path(typed) == existing_path(mixed) == existing_path(stored) == stored
    assert (
        join(f"{tmp_path}/m.csv", typed) == join(f"{tmp_path}/m.csv", typed[len(f"{tmp_path}/") :]) == stored
    )
    assert join("https://h/m.csv", f"file://{typed}") == stored
    Path(f"{tmp_path}/{normalize(forms[1], 'Übung')}").mkdir()
    Path(typed).touch()
    assert existing_path(typed) == typed  # a file of that very name


def test_backslashes_are_slashes_where_no_file_has_that_very_name(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/a.wav").touch()
    (tmp_path / "lists").mkdir()
    base = f"{tmp_path}/lists/m.csv"
    assert join(base, "..\\clips\\a.wav") == f"{tmp_path}/clips/a.wav"
    assert join(base, ".\\../clips\\.\\a.wav") == f"{tmp_path}/clips/a.wav"
    (tmp_path / "lists/..\\clips\\a.wav").touch()
    assert join(base, "..\\clips\\a.wav") == f"{tmp_path}/lists/..\\clips\\a.wav"
    for missing in ("clips\\none.wav", "C:\\talks\\a.wav", "für.wav", "nul\0\\ü.wav"):
        assert join(base, missing) == f"{tmp_path}/lists/{missing}"
    assert join("s3://b/m.csv", "clips\\a.wav") == "s3://b/clips\\a.wav"


def test_audio_id_is_the_start_of_a_hash_of_the_uri() -> None:
    assert audio_id_of("/data/a.wav") == hashlib.sha256(b"/data/a.wav").hexdigest()[:16]
    assert audio_id_of("https://h/a.wav") == hashlib.sha256(b"https://h/a.wav").hexdigest()[:16]
    assert audio_source("/data/a.wav", b"x", "hello").audio_id == audio_id_of("/data/a.wav")
    assert len(audio_id_of("/data/caf\udce9\ud800.wav")) == 16


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://h/a.wav?id=1&X-Amz-Date=1&X-Amz-Signature=a", "https://h/a.wav?id=1&X-Amz-Signature=b"),
        ("https://h/a.wav?X-Goog-Signature=a", "https://h/a.wav"),
        ("https://h/a.wav?Expires=1&Signature=a&Key-Pair-Id=k", "https://h/a.wav?Expires=2&Signature=b"),
        ("https://h/a.wav?sv=1&se=2&sp=r&sig=a", "https://h/a.wav?sv=1&se=3&sp=r&sig=b"),
        ("https://me:one@h/a.wav", "https://me:two@h/a.wav"),
        ("s3://key:secret@bucket/a.wav", "s3://bucket/a.wav"),
        ("https://h/a.wav#t=1", "https://h/a.wav"),
    ],
)
def test_url_signed_again_is_the_same_recording(one: str, other: str) -> None:
    assert audio_id_of(one) == audio_id_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://h/a.wav?id=1", "https://h/a.wav?id=2"),
        ("https://h/get?token=1", "https://h/get?token=2"),
        ("https://h/get?se=1", "https://h/get?se=2"),
        ("https://h/get?expires=1", "https://h/get?expires=2"),
        ("https://h/a?x=1", "https://h/a"),
        ("/data/a?x.wav", "/data/a?y.wav"),
        ("s3://b/a#1.wav", "s3://b/a#2.wav"),
        ("s3://b/x@1.wav", "s3://b/y@1.wav"),
    ],
)
def test_other_differences_make_different_recordings(one: str, other: str) -> None:
    assert audio_id_of(one) != audio_id_of(other)
