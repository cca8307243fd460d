from __future__ import annotations

import io
import os
from pathlib import Path

import fsspec
import pytest

from transforms.core.errors import AudioError
from transforms.core.uris import audio_source
from transforms.fetch.open_audio import open_audio, open_in_place


def error_of(uri: str, payload: bytes | None = None) -> AudioError:
    with pytest.raises(AudioError) as caught, open_audio(audio_source(uri, payload)):
        pass
    assert caught.value.stage == "fetch"
    assert caught.value.message
    return caught.value


def test_payload_is_opened() -> None:
    with open_audio(audio_source("dataset://d/train/0/0", b"bytes")) as file:
        assert file.read() == b"bytes"
        assert file.seek(1) == 1


@pytest.mark.parametrize("name", ["a.wav", "a b.wav", "ünï.wav", "new\nline.wav", "a%20b?*[x].wav"])
def test_local_file_is_opened_in_place(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"bytes")
    with open_audio(audio_source(str(tmp_path / name))) as file:
        assert isinstance(file, io.BufferedReader)
        assert file.read() == b"bytes"
    assert file.closed


def test_errors_of_local_files_have_kinds(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    os.mkfifo(tmp_path / "pipe.wav")
    assert error_of(str(tmp_path / "none.wav")).kind == "not_found"
    assert error_of(str(tmp_path / "empty.wav" / "inside.wav")).kind == "not_found"
    assert error_of(str(tmp_path / "nul\0.wav")).kind == "not_found"
    assert error_of(str(tmp_path / ("x" * 300))).kind == "io"
    assert error_of(str(tmp_path)).kind == "not_a_file"
    assert error_of(str(tmp_path / "pipe.wav")).kind == "not_a_file"
    assert error_of(str(tmp_path / "empty.wav")).kind == "empty"
    assert error_of("dataset://d/train/0/0", b"").kind == "empty"


def test_unreadable_file_is_forbidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.stat", refuse)  # tests may run as root, which can read everything
    assert error_of(str(tmp_path / "a.wav")).kind == "forbidden"


def test_default_policy_allows_public_hosts_only() -> None:
    assert error_of("http://127.0.0.1:9/a.wav").kind == "forbidden_host"


def test_an_object_is_opened_in_place_without_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    with fsspec.open("memory://in-place/a.wav", "wb") as file:
        file.write(b"bytes")
    monkeypatch.setattr("transforms.fetch.open_audio.Spool", None)  # calling it would fail
    with open_in_place(audio_source("memory://in-place/a.wav")) as file:
        assert file.read(2) == b"by"


def test_a_payload_and_a_local_file_are_opened_in_place(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"local")
    for source in (audio_source("s3://bucket/a", b"bytes"), audio_source(str(tmp_path / "a.wav"))):
        with open_in_place(source) as file:
            assert file.read() in (b"bytes", b"local")


def test_a_private_host_is_refused_before_a_file_is_opened_in_place() -> None:
    with (
        pytest.raises(AudioError, match="forbidden_host"),
        open_in_place(audio_source("sftp://127.0.0.1/a.wav")),
    ):
        pass
