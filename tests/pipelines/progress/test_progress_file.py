from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipelines.output.run_folder import RunFolder
from pipelines.progress import progress_file
from pipelines.progress.progress_bar import RunProgress
from pipelines.progress.progress_file import heartbeat
from tests.support.raw_http import wait_until
from transforms.core.progress import PROGRESS


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> RunFolder:
    return RunFolder(str(tmp_path / "out") if request.param == "local" else f"memory://{tmp_path.name}/out")


def read(folder: RunFolder) -> dict[str, Any]:
    with fsspec.open(f"{folder.url}/progress.json") as file:
        content: dict[str, Any] = json.load(file)
    return content


def wait_for_file(folder: RunFolder, minimum: Mapping[str, int]) -> dict[str, Any]:
    until_s = time.monotonic() + 30
    while time.monotonic() < until_s:
        try:
            content = read(folder)
        except FileNotFoundError:
            content = {}
        if all((content.get(name) or 0) >= n for name, n in minimum.items()) and content:
            return content
        time.sleep(0.01)
    raise AssertionError(f"no progress.json with {minimum}")


def test_file_has_the_progress_and_the_final_state(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOCAL_EVERY_S", "REMOTE_EVERY_S"):
        monkeypatch.setattr(progress_file, name, 0.02)
    with heartbeat(folder, RunProgress(4)):
        PROGRESS.add(recordings=3, failures=1, audio_s=7200)
        content = wait_for_file(folder, {"recordings": 3})
        assert (content["state"], content["of"], content["failures"], content["audio_hours"]) == (
            "running",
            4,
            1,
            2.0,
        )
        assert content["times_real_time"] > 1000
        assert content["eta_s"] is None  # too early for an estimate
    ended = read(folder)
    assert (ended["state"], ended["recordings"], ended["eta_s"]) == ("finished", 3, 0)
    assert list(ended) == list(content)
    started, updated = (datetime.fromisoformat(ended[name]) for name in ("started", "updated"))
    assert started.tzinfo == UTC
    assert timedelta(0) <= updated - started < timedelta(minutes=1)


@pytest.mark.parametrize(("error", "state"), [(KeyboardInterrupt, "interrupted"), (OSError, "failed")])
def test_state_of_an_interrupted_or_failed_run(
    error: type[BaseException], state: str, folder: RunFolder
) -> None:
    PROGRESS.add(recordings=3)
    with pytest.raises(error), heartbeat(folder, RunProgress(4)):
        raise error
    content = read(folder)
    assert (content["state"], content["recordings"], content["eta_s"]) == (state, 3, None)


def test_unknown_values_are_null_and_not_zero(tmp_path: Path) -> None:
    folder, run_progress = RunFolder(str(tmp_path)), RunProgress(4, in_process=False)
    with heartbeat(folder, run_progress):
        content = wait_for_file(folder, {"of": 4})
        unknown = ("recordings", "failures", "audio_hours", "times_real_time", "eta_s")
        assert {content[name] for name in unknown} == {None}
        run_progress.set_final_counts({"listed": 4, "failures": 1, "audio_ms": 3_600_000})
    content = read(folder)
    assert (content["recordings"], content["failures"], content["audio_hours"], content["eta_s"]) == (
        4,
        1,
        1.0,
        0,
    )


@pytest.mark.parametrize("error", [OSError("no space"), ValueError("https://me:s3cret@host is odd")])
def test_write_error_is_logged_once_and_does_not_stop_the_run(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    def write(self: RunFolder, progress: Mapping[str, Any]) -> None:
        calls.append(progress)
        raise error

    monkeypatch.setattr(progress_file, "LOCAL_EVERY_S", 0.01)
    monkeypatch.setattr(RunFolder, "write_progress", write)
    with heartbeat(RunFolder(str(tmp_path)), RunProgress(4)):
        wait_until(lambda: len(calls) > 2)
    (message,) = caplog.messages
    assert "the run continues" in message
    assert "s3cret" not in message


def test_remote_folder_is_written_less_often() -> None:
    assert progress_file.LOCAL_EVERY_S == 10
    assert progress_file.REMOTE_EVERY_S == 30
    assert RunFolder("/tmp/x").is_local
    assert not RunFolder("memory://x").is_local
