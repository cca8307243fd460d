from __future__ import annotations

import pytest
from av.format import ContainerFormat

from transforms.audio.container_lengths import WITH_LENGTH, WITHOUT_LENGTH
from transforms.sources.file_types import (
    AUDIO_SUFFIXES,
    OTHER_SUFFIXES,
    is_archive,
    is_audio,
    is_hidden,
    is_manifest,
    is_other,
    manifest_kind,
)

MUXERS = (
    "3g2",
    "3gp",
    "adts",
    "f4v",
    "ipod",
    "ismv",
    "mp2",
    "mp4",
    "oga",
    "ogv",
    "opus",
    "psp",
    "spx",
    "vob",
    "webm",
)
LEFT_OUT = {".apl", ".avif", ".heic", ".heif", ".ism", ".mks"}
"""FFmpeg's extensions of playlists, images and subtitles."""


@pytest.mark.parametrize(
    ("uri", "audio", "archive", "manifest"),
    [
        ("a/B.WAV", True, False, False),
        ("https://h/a.mp3?token=x.zip", True, False, False),
        ("talks.tar.GZ", False, True, False),
        ("https://h/talks.zip?sig=1#part", False, True, False),
        ("talks?.zip", False, True, False),
        ("list.JSONL", False, False, True),
        ("list.json", False, False, True),
        ("list.csv.GZ", False, False, True),
        ("https://h/list.jsonl.gz?x=1", False, False, True),
        ("a.wav.gz", False, False, False),
        ("gz", False, False, False),
    ],
)
def test_type_is_known_by_extension(uri: str, audio: bool, archive: bool, manifest: bool) -> None:
    assert (is_audio(uri), is_archive(uri), is_manifest(uri)) == (audio, archive, manifest)


def test_extensions_of_the_formats_that_are_read_are_those_of_ffmpeg() -> None:
    formats = [ContainerFormat(name) for name in (*WITH_LENGTH, *WITHOUT_LENGTH, *MUXERS)]
    known = {f".{extension}" for one in formats for extension in one.extensions}
    assert len(known) > 60
    assert known - AUDIO_SUFFIXES == LEFT_OUT


@pytest.mark.parametrize(
    "name",
    [
        "itunes.m4v", "camcorder.MTS", "bluray.m2ts", "dvd.VOB", "podcast.mpga", "browser.weba",
        "ringtone.m4r", "voicemail.spx", "longname.WAVE", "lossless.tta", "broadcast.eac3", "clip.3gpp",
        "old.qt", "memo.3ga", "studio.mxf", "asterisk.gsm", "dictation.dss",
    ],
)  # fmt: skip
def test_extensions_of_recordings_are_known_in_any_case(name: str) -> None:
    assert is_audio(name)
    assert not is_other(name)


def test_no_extension_is_of_two_types() -> None:
    assert not AUDIO_SUFFIXES & OTHER_SUFFIXES
    assert not [name for name in OTHER_SUFFIXES if is_archive(f"a{name}")]
    assert is_other("a/COVER.jpg")
    assert not is_other("a.dat")


@pytest.mark.parametrize(
    ("path", "hidden"),
    [
        ("a/b.wav", False), ("./a.wav", False), ("../a.wav", False), (".a.wav", True), ("a/.b/c.wav", True),
        ("__MACOSX/a.wav", True), ("a__MACOSX/a.wav", False),
    ],
)  # fmt: skip
def test_hidden_paths(path: str, hidden: bool) -> None:
    assert is_hidden(path) is hidden


def test_kind_of_a_manifest_is_that_of_its_lines() -> None:
    uris = ("a.JSONL", "a.jsonl.gz", "https://h/a.tsv.gz?x=.csv", "a.gz", "a.wav")
    assert [manifest_kind(uri) for uri in uris] == [".jsonl", ".jsonl", ".tsv", None, None]
