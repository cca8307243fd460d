from __future__ import annotations

import hashlib

import pytest

from transforms.core.uris import audio_id_of, audio_source, is_url, join, plain, suffix


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
