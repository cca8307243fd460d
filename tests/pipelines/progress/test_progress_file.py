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
from pipelines.progress import progress_file as heartbeat_module
from pipelines.progress.progress_bar import Watch
from pipelines.progress.progress_file import heartbeat
from transforms.core.progress import PROGRESS


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> RunFolder:
    return RunFolder(str(tmp_path / "out") if request.param == "local" else f"memory://{tmp_path.name}/out")


def read(folder: RunFolder) -> dict[str, Any]:
    with fsspec.open(f"{folder.url}/progress.json") as file:
        told: dict[str, Any] = json.load(file)
    return told


def wait_for_file(folder: RunFolder, least: Mapping[str, int]) -> dict[str, Any]:
    for _ in range(200):
        try:
            told = read(folder)
        except FileNotFoundError:
            told = {}
        if all((told.get(name) or 0) >= n for name, n in least.items()) and told:
            return told
        time.sleep(0.01)
    raise AssertionError(f"no progress.json with {least}")


def test_the_file_follows_the_run_and_says_how_it_ended(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOCAL_EVERY_S", "REMOTE_EVERY_S"):
        monkeypatch.setattr(heartbeat_module, name, 0.02)
    with heartbeat(folder, Watch(4)):
        PROGRESS.add(recordings=3, failures=1, audio_s=7200)
        told = wait_for_file(folder, {"recordings": 3})
        assert (told["state"], told["of"], told["failures"], told["audio_hours"]) == ("running", 4, 1, 2.0)
        assert told["times_real_time"] > 1000
        assert told["eta_s"] is None  # too early to tell
    ended = read(folder)
    assert (ended["state"], ended["recordings"], ended["eta_s"]) == ("finished", 3, 0)
    assert list(ended) == list(told)
    started, updated = (datetime.fromisoformat(ended[name]) for name in ("started", "updated"))
    assert started.tzinfo == UTC
    assert timedelta(0) <= updated - started < timedelta(minutes=1)


@pytest.mark.parametrize(("error", "state"), [(KeyboardInterrupt, "interrupted"), (OSError, "failed")])
def test_a_run_that_breaks_off_leaves_its_state(
    error: type[BaseException], state: str, folder: RunFolder
) -> None:
    PROGRESS.add(recordings=3)
    with pytest.raises(error), heartbeat(folder, Watch(4)):
        raise error
    told = read(folder)
    assert (told["state"], told["recordings"], told["eta_s"]) == (state, 3, None)


def test_what_cannot_be_known_is_null_and_not_zero(tmp_path: Path) -> None:
    folder, watch = RunFolder(str(tmp_path)), Watch(4, seen=False)
    with heartbeat(folder, watch):
        told = wait_for_file(folder, {"of": 4})
        unknown = ("recordings", "failures", "audio_hours", "times_real_time", "eta_s")
        assert {told[name] for name in unknown} == {None}
        watch.settle({"listed": 4, "failures": 1, "audio_ms": 3_600_000})
    told = read(folder)
    assert (told["recordings"], told["failures"], told["audio_hours"], told["eta_s"]) == (4, 1, 1.0, 0)


@pytest.mark.parametrize("error", [OSError("no space"), ValueError("https://me:s3cret@host is odd")])
def test_an_error_while_writing_is_told_once_and_stops_nothing(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    def write(self: RunFolder, progress: Mapping[str, Any]) -> None:
        calls.append(progress)
        raise error

    monkeypatch.setattr(heartbeat_module, "LOCAL_EVERY_S", 0.01)
    monkeypatch.setattr(RunFolder, "write_progress", write)
    with heartbeat(RunFolder(str(tmp_path)), Watch(4)):
        time.sleep(0.1)
    assert len(calls) > 2
    (message,) = caplog.messages
    assert "the run goes on" in message
    assert "s3cret" not in message


def test_a_bucket_is_written_to_less_often() -> None:
    assert heartbeat_module.LOCAL_EVERY_S == 10
    assert heartbeat_module.REMOTE_EVERY_S == 30
    assert RunFolder("/tmp/x").is_local
    assert not RunFolder("memory://x").is_local
