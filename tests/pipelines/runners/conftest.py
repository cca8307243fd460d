"""Fixtures for programs that runners need."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.runners import flink_job_server
from tests.support.fake_programs import Program, mvn_of, write_modules


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Creates programs from shell scripts; PATH has no others."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("WHISPER_BEAM_CACHE", str(tmp_path / "cache"))

    def make(name: str, script: str) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def repository(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of Maven with the modules of a job server; it lacks the published one."""
    write_modules(tmp_path / "repository", tmp_path / "modules")
    monkeypatch.setattr(flink_job_server, "_MODULES", tmp_path / "modules")
    program("mvn", mvn_of(tmp_path / "repository"))
    return tmp_path / "repository"
