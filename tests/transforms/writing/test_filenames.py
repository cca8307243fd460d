from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.core.uris import audio_id_of
from transforms.writing.atomic_files import PARTIAL_SUFFIX
from transforms.writing.filenames import (
    MAX_STEM_BYTES,
    recording_file_name,
    recording_file_pattern,
    safe_stem,
)

ID = "0123456789abcdef"


@pytest.mark.parametrize(
    ("uri", "stem"),
    [
        ("/talks/monday.mp3", "monday"),
        ("/talks/no extension", "no extension"),
        ("/talks/2026.05.01 talk.wav", "2026.05.01 talk"),
        ("/talks/.hidden.wav", "hidden"),
        ("/talks/what? #1.wav", "what_ #1"),
        ("/talks/会議, día.flac", "会議, día"),
        ("/talks/می\u200cشود.wav", "می\u200cشود"),  # the joiner is part of the word
        ("https://host/a%20b%2Fc.mp3?id=1#t=2", "c"),
        ("https://host/dir/", "dir"),
        ("https://host/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "passwd"),
        ("s3://bucket/talks/a.wav", "a"),
        ("zip://inner/a.wav::s3://bucket/talks.zip", "a"),
        ("simplecache::https://host/a.wav", "a"),
        ("dataset://owner/name/train-0/17", "17"),
        ("file:///talks/a%20b.wav", "a b"),
    ],
)
def test_stem_is_the_file_name_of_the_recording(uri: str, stem: str) -> None:
    assert safe_stem(uri) == stem


@pytest.mark.parametrize(
    ("uri", "stem"),
    [
        ("/talks/../../etc/..", "recording"),
        ("..", "recording"),
        ("/", "recording"),
        ("", "recording"),
        ("/talks/\n.wav", "_"),
        ("/talks/a\nb\x00c\x7f.wav", "a_b_c_"),
        ("/talks/..\\..\\x.wav", "_.._x"),
        ("/talks/c:x|y<z>*.wav", "c_x_y_z__"),
        ("/talks/gpj\u202egnp.wav", "gpj_gnp"),  # would be displayed backwards
        ("/talks/line\u2028end.wav", "line_end"),
        ("/talks/bad\udcff.wav", "bad_udcff"),
        ("/talks/ dots. .wav", "dots"),
        ("/talks/CON.wav", "_CON"),
        ("/talks/nul .tar.wav", "_nul .tar"),
        ("/talks/lpt1.wav", "_lpt1"),
        ("/talks/console.wav", "console"),
    ],
)
def test_unsafe_characters_and_device_names_are_replaced(uri: str, stem: str) -> None:
    assert safe_stem(uri) == stem


def test_names_contain_no_credentials() -> None:
    for uri in ("https://me:s3cret@host", "https://me:s3cret@host/?token=s3cret", "s3://k:s3cret@b"):
        assert "s3cret" not in safe_stem(uri)


def test_long_name_is_cut_at_a_character_and_leaves_space_for_the_partial_suffix() -> None:
    name = recording_file_name(f"/talks/{'語' * 100}.wav", ID, "srt")
    assert name == f"{'語' * (MAX_STEM_BYTES // 3)}.{ID}.srt"
    partial = f".{name}.{'0' * 32}{PARTIAL_SUFFIX}"  # as in `transforms.writing.atomic_files`
    assert len(partial.encode()) <= 255


def test_similar_recordings_have_different_names_on_any_filesystem() -> None:
    uris = [
        *("/a/talk.wav", "/b/talk.wav", "/a/talk.mp3", "/a/TALK.wav"),
        *("/a/caf\u00e9.wav", "/a/cafe\u0301.wav"),
        *(f"/a/{'x' * 300}{n}.wav" for n in range(2)),
    ]
    names = [recording_file_name(uri, audio_id_of(uri), "srt") for uri in uris]
    assert len({unicodedata.normalize("NFD", name).casefold() for name in names}) == len(uris)
    assert safe_stem(uris[4]) == safe_stem(uris[5])


@pytest.mark.parametrize("audio_id", ["", "../../../x", "0123456789ABCDEF", f"{ID}\n", f"{ID}-x", f"{ID}-"])
def test_invalid_audio_id_is_an_error(audio_id: str) -> None:
    with pytest.raises(ValueError, match="16 hexadecimal digits"):
        recording_file_name("/a.wav", audio_id, "srt")


def test_channels_and_audio_streams_of_a_file_have_different_names() -> None:
    parts = ("", "-0", "-1", "-12", "-s0", "-s1", "-s123", "-s1-0")
    names = {recording_file_name("/a.wav", f"{ID}{part}", "srt") for part in parts}
    assert len(names) == len(parts)
    assert all(recording_file_pattern("srt").fullmatch(name) for name in names)


@given(st.text() | st.text(alphabet="./\\ :con?#%\n\u0301é"))
def test_any_uri_makes_one_safe_component(uri: str) -> None:
    name = recording_file_name(uri, ID, "srt")
    assert 0 < len(name.encode()) <= MAX_STEM_BYTES + 21
    assert not set('<>:"/\\|?*\0\n\r') & set(name)
    assert name.isprintable() or "\u200c" in name or "\u200d" in name or _has_odd_space(name)
    assert not name.startswith((".", " "))
    assert unicodedata.is_normalized("NFC", name)


def _has_odd_space(name: str) -> bool:
    return any(unicodedata.category(one) in ("Zs", "Co", "Cn") for one in name)


@pytest.mark.parametrize(
    "name", ["mine.srt", "a.0123456789abcdef.vtt", ".0123456789abcdef.srt", "a.0123.srt"]
)
def test_pattern_does_not_match_other_files(name: str) -> None:
    assert not recording_file_pattern("srt").fullmatch(name)
