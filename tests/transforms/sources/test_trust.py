from __future__ import annotations

import pytest

from transforms.core.errors import AudioError
from transforms.sources.trust import check_listed

LOCAL = "/lists/m.csv"
REMOTE = "https://h.example/lists/m.csv"
STORE = "s3://bucket/lists/m.csv"


@pytest.mark.parametrize(
    ("uri", "base"),
    [
        ("a.wav", LOCAL), ("../x/a.wav", LOCAL), ("/data/a.wav", LOCAL), ("a b?.wav", LOCAL),
        ("https://h/a.wav", LOCAL), ("HTTP://h/a.wav", LOCAL), ("s3://b/a.wav", LOCAL), ("gs://b/a", LOCAL),
        ("a.wav", REMOTE), ("/data/a.wav", REMOTE), ("//other/a.wav", REMOTE), ("http://other/a", REMOTE),
        ("s3://b/a.wav", REMOTE),
        ("a.wav", STORE), ("../../x/a.wav", STORE), ("https://h/a.wav", STORE),
        ("a.wav", "simplecache::s3://b/m.csv"), ("../b.wav", "memory://lists/m.txt"),
        ("memory://lists/b.wav", "memory://lists/m.txt"), ("sftp://h/a.wav", "sftp://h/m.txt"),
    ],
)  # fmt: skip
def test_allowed_uris(uri: str, base: str) -> None:
    check_listed(uri, base, allowed=False)


@pytest.mark.parametrize(
    ("uri", "base", "why"),
    [
        ("file:///etc/passwd", LOCAL, "a file:// URL"),
        ("FILE:///etc/passwd", REMOTE, "a file:// URL"),
        ("file://localhost/etc/passwd", STORE, "a file:// URL"),
        ("/etc/passwd", STORE, "a file of the machine that reads it"),
        (" file:///etc/passwd", REMOTE, "a file of the machine that reads it"),
        ("x:/etc/passwd", REMOTE, "a file of the machine that reads it"),
        ("simplecache::https://h/a.wav", LOCAL, "a chained URL"),
        ("zip://a.wav::file:///data/x.zip", REMOTE, "a chained URL"),
        ("zip://a.wav::s3://b/x.zip", STORE, "a chained URL"),
        ("s3://b/x::file:///etc/passwd", STORE, "a chained URL"),
        ("a::file:///etc/passwd", "simplecache::s3://b/m.csv", "a chained URL"),
        ("local:///etc/passwd", LOCAL, "a local:// URL"),
        ("dir://x", REMOTE, "a dir:// URL"),
        ("reference://x", STORE, "a reference:// URL"),
        ("memory://x", REMOTE, "a memory:// URL"),
        ("sftp://other/a.wav", "sftp://h/m.txt", "a sftp:// URL"),
        ("ftp://h/a.wav", LOCAL, "a ftp:// URL"),
    ],
)
def test_forbidden_uris_are_refused_unless_trusted(uri: str, base: str, why: str) -> None:
    with pytest.raises(AudioError, match=why) as caught:
        check_listed(uri, base, allowed=False)
    assert (caught.value.stage, caught.value.kind) == ("list", "forbidden_uri")
    assert not caught.value.retryable
    assert "--trust_manifests" in caught.value.message
    check_listed(uri, base, allowed=True)


def test_refusal_contains_no_credentials() -> None:
    with pytest.raises(AudioError) as caught:
        check_listed("zip://a::https://u:hunter2@h/x.zip?token=hunter3", LOCAL, allowed=False)
    assert "hunter" not in caught.value.message
