from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, DatasetCard, RepoUrl
from huggingface_hub.errors import LocalTokenNotFoundError

from pipelines.output.run_folder import RunFolder
from pipelines.report import hub
from pipelines.report.hub import HubError, check_token, push
from tests.support.tone_backend import LOADED, run, snapshot, write_talk

Operation = CommitOperationAdd | CommitOperationDelete
TOKEN = "hf_plantedsecret"


class FakeHub:
    """What the Hub would hold: files by path, a commit at a time."""

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
    """In place of the Hub; somebody is logged in."""
    made = FakeHub()
    monkeypatch.setattr(hub, "HfApi", lambda **_: made)
    monkeypatch.setattr(hub, "get_token", lambda: TOKEN)
    return made


def report_of(out: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((out / "run.json").read_text("utf-8"))
    return told


def test_a_finished_run_is_uploaded_in_one_private_commit(
    talks: Path, out: Path, fake: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(talks, out, "--push_to_hub", "talks", "--num_shards", "2") == 2
    parts = [f"transcripts/part-0000{n}-of-00002.parquet" for n in range(2)]
    assert sorted(fake.files) == ["README.md", *parts]
    assert all(fake.files[part] == (out / part).read_bytes() for part in parts)
    assert fake.commits == ["2 transcripts by openai/whisper-base"]
    assert fake.private
    assert "Uploaded to https://huggingface.co/datasets/me/talks" in capsys.readouterr().err


def test_the_same_command_uploads_again_and_transcribes_nothing(
    talks: Path, out: Path, fake: FakeHub
) -> None:
    assert run(talks, out) == 2
    before = snapshot(out)
    LOADED.clear()
    assert run(talks, out, "--push_to_hub", "me/talks") == 2
    assert LOADED == []
    assert snapshot(out) == before
    assert len(fake.commits) == 1


def test_what_an_earlier_upload_left_goes_and_what_others_put_there_stays(talks: Path, out: Path) -> None:
    assert run(talks, out) == 2
    there = FakeHub(
        "transcripts/part-00001-of-00002.parquet", "transcripts/part-00000-of-00001.parquet", "LICENSE"
    )
    push(RunFolder(str(out)), report_of(out), "me/talks", there)
    assert sorted(there.files) == ["LICENSE", "README.md", "transcripts/part-00000-of-00001.parquet"]
    assert there.files["LICENSE"] == b"old"
    assert there.files["transcripts/part-00000-of-00001.parquet"] != b"old"


def test_a_run_elsewhere_is_uploaded_too(talks: Path, tmp_path: Path, fake: FakeHub) -> None:
    assert run(talks, f"memory://{tmp_path.name}/out/", "--push_to_hub", "me/talks") == 2
    assert fake.files["transcripts/part-00000-of-00001.parquet"].startswith(b"PAR1")


def test_the_card_describes_the_dataset_and_loads_it(talks: Path, out: Path, tmp_path: Path) -> None:
    assert run(talks, out, "--num_shards", "3", "--hotwords", "a|b`c\nd") == 2
    there = FakeHub("transcripts/part-00000-of-00001.parquet")
    push(RunFolder(str(out)), report_of(out), "me/talks", there)
    there.files["transcripts/part-00000-of-00001.parquet"] = b"of another run, which nobody may read"
    for name, content in there.files.items():
        path = tmp_path / "cloned" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    card = DatasetCard.load(tmp_path / "cloned/README.md")
    card_data = card.data.to_dict()
    assert set(card_data["language"]) == {"en", "fr"}
    assert card_data["size_categories"] == ["n<1K"]
    assert card_data["task_categories"] == ["automatic-speech-recognition"]
    (config,) = card_data["configs"]
    assert config["data_files"] == [{"split": "train", "path": "transcripts/part-*-of-00003.parquet"}]
    assert "2 recordings, 0.01 hours of audio, transcribed by `openai/whisper-base`" in card.text
    assert "1 more recordings could not be transcribed" in card.text
    assert "| `--hotwords` | `a/b'c d` |" in card.text
    assert str(talks) not in card.text

    rows = datasets.load_dataset(
        str(tmp_path / "cloned"), split="train", cache_dir=str(tmp_path / "cache"), token=False
    )
    assert sorted(row["language"] for row in rows) == ["en", "fr"]
    assert rows.features["segments"].feature["end"].dtype == "float64"
    declared = [feature["name"] for feature in card_data["dataset_info"]["features"]]
    assert declared == rows.column_names


@pytest.mark.parametrize(
    "error",
    [
        LocalTokenNotFoundError("Token is required, but no token found."),
        OSError("401 Client Error.\n\nInvalid username or password."),
        ValueError(f"Illegal header value b'Bearer {TOKEN}'"),
        RuntimeError("https://me:s3cret@huggingface.co?token=s3cret is not there, and other-odd-token"),
    ],
)
def test_an_upload_that_fails_is_a_sentence_and_the_run_stays_finished(
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
    said = capsys.readouterr().err
    assert "The run is finished, but was not uploaded to me/talks: " in said
    assert "The same command again uploads" in said
    assert not any(secret in said for secret in (TOKEN, "s3cret", "other-odd-token", "Traceback"))
    assert (out / "_SUCCESS").exists()
    LOADED.clear()
    fake.error = None
    assert run(talks, out, "--push_to_hub", "me/talks") == 2
    assert LOADED == []


def test_without_a_token_nothing_is_begun(
    talks: Path, out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "get_token", lambda: None)
    assert run(talks, out, "--push_to_hub", "me/talks") == 1
    assert "no token of the Hub is known here; log in with `hf auth login`" in capsys.readouterr().err
    assert not out.exists()
    with pytest.raises(HubError):
        check_token()


def test_the_client_is_the_real_ones_shape() -> None:
    assert {"create_repo", "list_repo_files", "create_commit"} <= set(dir(huggingface_hub.HfApi))
