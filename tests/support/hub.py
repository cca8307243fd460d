"""A Hugging Face Hub of local folders, as `huggingface_hub` answers from it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import pytest


def serve_hub(monkeypatch: pytest.MonkeyPatch, repositories: Mapping[str, Path], cache: Path) -> None:
    """Answers calls of `huggingface_hub` with these folders; what is downloaded lies in `cache`, by name."""

    def list_repo_files(name: str) -> list[str]:
        folder = repositories[name]
        return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]

    def snapshot_download(name: str, allow_patterns: list[str]) -> str:
        (cache / name).mkdir(parents=True, exist_ok=True)
        for file in list_repo_files(name):
            if any(fnmatchcase(file, pattern) for pattern in allow_patterns):
                (cache / name / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(repositories[name] / file, cache / name / file)
        return str(cache / name)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    monkeypatch.setattr("huggingface_hub.list_repo_files", list_repo_files)
