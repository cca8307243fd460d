from __future__ import annotations

import pytest

from transforms.sources.file_types import is_archive, is_audio, is_hidden, is_manifest


@pytest.mark.parametrize(
    ("uri", "audio", "archive", "manifest"),
    [
        ("a/B.WAV", True, False, False),
        ("https://h/a.mp3?token=x.zip", True, False, False),
        ("talks.tar.GZ", False, True, False),
        ("https://h/talks.zip?sig=1#part", False, True, False),
        ("talks?.zip", False, True, False),
        ("list.JSONL", False, False, True),
        ("list.json", False, False, False),
        ("gz", False, False, False),
    ],
)
def test_type_is_known_by_extension(uri: str, audio: bool, archive: bool, manifest: bool) -> None:
    assert (is_audio(uri), is_archive(uri), is_manifest(uri)) == (audio, archive, manifest)


@pytest.mark.parametrize(
    ("path", "hidden"),
    [
        ("a/b.wav", False), ("./a.wav", False), ("../a.wav", False), (".a.wav", True), ("a/.b/c.wav", True),
        ("__MACOSX/a.wav", True), ("a__MACOSX/a.wav", False),
    ],
)  # fmt: skip
def test_hidden_paths(path: str, hidden: bool) -> None:
    assert is_hidden(path) is hidden
