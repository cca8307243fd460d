from pathlib import Path

import pytest

from model.caches import cache_folder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder, and an environment without cache variables."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("WHISPER_BEAM_CACHE", raising=False)
    return tmp_path


def test_the_default_is_in_the_home_folder(home: Path) -> None:
    assert cache_folder() == home / ".cache/whisper-beam"


def test_xdg_cache_home_replaces_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == Path("/xdg/whisper-beam")


def test_whisper_beam_cache_takes_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("WHISPER_BEAM_CACHE", "/own")
    assert cache_folder() == Path("/own")


@pytest.mark.parametrize("name", ["XDG_CACHE_HOME", "WHISPER_BEAM_CACHE"])
def test_an_empty_variable_counts_as_unset(name: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "")
    assert cache_folder() == home / ".cache/whisper-beam"
