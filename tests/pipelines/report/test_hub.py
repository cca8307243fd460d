from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, RepoUrl
from huggingface_hub.errors import LocalTokenNotFoundError

from pipelines.output.run_folder import RunFolder
from pipelines.report import hub
from pipelines.report.hub import HubError, check_token, push
from tests.support.tone_backend import LOADED, run, snapshot, write_talk

Operation = CommitOperationAdd | CommitOperationDelete
TOKEN = "hf_plantedsecret"


class FakeHub:
    """A repository of the Hub in memory: files by path, changed commit by commit."""

    def __init__(self, *there: str, error: Exception | None = None) -> None:
        self.files = dict.fromkeys(there, b"old")
        self.commits: list[str] = []
        self.private: bool | None = None
        self.error = error

    def create_repo(self, repo_id: str, *, repo_type: str, private: bool, exist_ok: bool) -> RepoUrl:
        if self.error is not None:
            raise self.error
        assert (repo_type, exist_ok) == ("dataset", True)
        self.private = private
        owned = repo_id if "/" in repo_id else f"me/{repo_id}"
        return RepoUrl(f"https://huggingface.co/datasets/{owned}")

    def list_repo_files(self, repo_id: str, *, repo_type: str) -> list[str]:
        return sorted(self.files)

    def create_commit(
        self, repo_id: str, operations: Sequence[Operation], *, commit_message: str, repo_type: str
    ) -> None:
        assert (repo_id, repo_type) == ("me/talks", "dataset")
        for operation in operations:
            if isinstance(operation, CommitOperationDelete):
                del self.files[operation.path_in_repo]
            else:
                with operation.as_file() as file:
                    self.files[operation.path_in_repo] = file.read()
        self.commits.append(commit_message)


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    write_talk(tmp_path / "talks/a.wav", 3)
    write_talk(tmp_path / "talks/b|`.wav", 40, french_from=0)
    (tmp_path / "talks/bad.wav").write_bytes(b"nothing")
    return tmp_path / "talks"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    """Replaces the Hub, with a user logged in."""
    made = FakeHub()
    monkeypatch.setattr(hub, "HfApi", lambda **_: made)
    monkeypatch.setattr(hub, "get_token", lambda: TOKEN)
    return made


def report_of(out: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((out / "run.json").read_text("utf-8"))
    return report


def test_finished_run_is_uploaded_in_one_commit_to_a_private_dataset(
    talks: Path, out: Path, fake: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(talks, out, "--push_to_hub", "talks", "--num_shards", "2") == 2
    parts = [f"parquet/part-0000{n}-of-00002.parquet" for n in range(2)]
    assert sorted(fake.files) == ["README.md", *parts]
    assert all(fake.files[part] == (out / part).read_bytes() for part in parts)
    assert fake.commits == ["2 transcripts by openai/whisper-base"]
    assert fake.private
    assert "Uploaded to https://huggingface.co/datasets/me/talks" in capsys.readouterr().err


def test_same_command_uploads_again_without_transcribing(talks: Path, out: Path, fake: FakeHub) -> None:
    assert run(talks, out) == 2
    before = snapshot(out)
    LOADED.clear()
    assert run(talks, out, "--push_to_hub", "me/talks") == 2
    assert LOADED == []
    assert snapshot(out) == before
    assert len(fake.commits) == 1


def test_files_of_an_earlier_upload_are_removed_and_other_files_stay(talks: Path, out: Path) -> None:
    assert run(talks, out) == 2
    there = FakeHub("parquet/part-00001-of-00002.parquet", "parquet/part-00000-of-00001.parquet", "LICENSE")
    push(RunFolder(str(out)), report_of(out), "me/talks", there)
    assert sorted(there.files) == ["LICENSE", "README.md", "parquet/part-00000-of-00001.parquet"]
    assert there.files["LICENSE"] == b"old"
    assert there.files["parquet/part-00000-of-00001.parquet"] != b"old"


def test_run_in_a_remote_folder_is_uploaded(talks: Path, tmp_path: Path, fake: FakeHub) -> None:
    assert run(talks, f"memory://{tmp_path.name}/out/", "--push_to_hub", "me/talks") == 2
    assert fake.files["parquet/part-00000-of-00001.parquet"].startswith(b"PAR1")


@pytest.mark.parametrize(
    "error",
    [
        LocalTokenNotFoundError("Token is required, but no token found."),
        OSError("401 Client Error.\n\nInvalid username or password."),
        ValueError(f"Illegal header value b'Bearer {TOKEN}'"),
        RuntimeError("https://me:s3cret@huggingface.co?token=s3cret is not there, and other-odd-token"),
    ],
)
def test_failed_upload_prints_the_reason_and_the_run_stays_finished(
    error: Exception,
    talks: Path,
    out: Path,
    fake: FakeHub,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub, "get_token", lambda: "other-odd-token")
    fake.error = error
    assert run(talks, out, "--push_to_hub", "me/talks") == 1
    message = capsys.readouterr().err
    assert "The run is finished, but was not uploaded to me/talks: " in message
    assert "The same command again repeats the upload only." in message
    assert not any(secret in message for secret in (TOKEN, "s3cret", "other-odd-token", "Traceback"))
    assert (out / "_SUCCESS").exists()
    LOADED.clear()
    fake.error = None
    assert run(talks, out, "--push_to_hub", "me/talks") == 2
    assert LOADED == []


def test_run_without_a_token_is_refused_at_its_start(
    talks: Path, out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "get_token", lambda: None)
    assert run(talks, out, "--push_to_hub", "me/talks") == 1
    assert "no token for the Hub was found; log in with `hf auth login`" in capsys.readouterr().err
    assert not out.exists()
    with pytest.raises(HubError):
        check_token()


def test_the_real_client_has_the_methods_of_the_fake_one() -> None:
    assert {"create_repo", "list_repo_files", "create_commit"} <= set(dir(huggingface_hub.HfApi))
