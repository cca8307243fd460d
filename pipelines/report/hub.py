"""A finished run as a dataset on the Hugging Face Hub: its Parquet files and a card, in one commit."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import fsspec
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token

from pipelines.output.run_folder import PART, TRANSCRIPTS, RunFolder
from pipelines.report.dataset_card import dataset_card
from transforms.core.redaction import redact

_OURS = re.compile(rf"{TRANSCRIPTS}/{PART.pattern}")
_TOKEN = re.compile(r"hf_\w+")
_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN to a token that may write"


Operation = CommitOperationAdd | CommitOperationDelete


class HubError(RuntimeError):
    """The dataset could not be uploaded: why, and what to do. The run itself is not touched by it."""


class Api(Protocol):
    """What is needed of `huggingface_hub.HfApi`."""

    def create_repo(self, repo_id: str, *, repo_type: str, private: bool, exist_ok: bool) -> Any:  # noqa: ANN401
        """Makes the dataset unless there is one; gives something with `repo_id` and `url`."""

    def list_repo_files(self, repo_id: str, *, repo_type: str) -> list[str]:
        """The paths of all files."""

    def create_commit(
        self,
        repo_id: str,
        operations: Sequence[Operation],
        *,
        commit_message: str,
        repo_type: str,
    ) -> Any:  # noqa: ANN401
        """Does all operations or none."""


def check_token() -> None:
    """Raises `HubError` where nobody is logged in, so that a run of hours need not end with it."""
    if get_token() is None:
        raise HubError(f"--push_to_hub: no token of the Hub is known here; {_LOG_IN}")


def push(folder: RunFolder, report: Mapping[str, Any], name: str, api: Api | None = None) -> str:
    """Uploads the Parquet files of a finished run and their card, and gives the dataset's address.

    What an earlier upload left that does not belong to this run's files is removed by the same commit; files
    of other names stay. A dataset that is new is private; one that is there stays what it is.

    Args:
        folder: of the run.
        report: its `run.json`.
        name: of the dataset, `OWNER/NAME`, or `NAME` of one's own.
        api: of the Hub.

    Raises:
        HubError: nothing was changed there.
    """
    try:
        return _push(folder, report, name, HfApi(library_name="whisper-beam") if api is None else api)
    except Exception as error:  # of the network, of HTTP, of the Hub: the run is finished all the same
        raise HubError(
            f"The run is finished, but was not uploaded to {name}: {_reason(error)}. If it is the token, "
            f"{_LOG_IN}. The same command again uploads, and does nothing else again."
        ) from error


def _push(folder: RunFolder, report: Mapping[str, Any], name: str, api: Api) -> str:
    files = [file for file in report["files"] if _OURS.fullmatch(file) and file.endswith(".parquet")]
    repo = api.create_repo(name, repo_type="dataset", private=True, exist_ok=True)
    there = set(api.list_repo_files(repo.repo_id, repo_type="dataset"))
    stale = sorted(file for file in there - set(files) if _OURS.fullmatch(file))
    card = dataset_card(report, repo.repo_id, files).encode()
    with _on_disk(folder, files) as paths:
        operations: list[Operation] = [
            CommitOperationAdd("README.md", card),
            *(CommitOperationAdd(file, str(path)) for file, path in zip(files, paths, strict=True)),
            *(CommitOperationDelete(file) for file in stale),
        ]
        message = f"{report['counts']['transcribed']} transcripts by {report['options']['model']}"
        api.create_commit(repo.repo_id, operations, commit_message=message, repo_type="dataset")
    return str(repo.url)


@contextmanager
def _on_disk(folder: RunFolder, files: Sequence[str]) -> Iterator[list[Path]]:
    """The files where the uploader can read them as often as it likes: where they are, or copied."""
    fs, root = fsspec.core.url_to_fs(folder.url)
    if folder.is_local:
        yield [Path(root, file) for file in files]
        return
    with tempfile.TemporaryDirectory() as copies:
        paths = [Path(copies, file) for file in files]
        for file, path in zip(files, paths, strict=True):
            path.parent.mkdir(exist_ok=True)
            fs.get_file(f"{root.rstrip('/')}/{file}", str(path))
        yield paths


def _reason(error: Exception) -> str:
    """What an error says in its first lines, without the token, which some HTTP libraries quote."""
    said = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
    said = said.replace(get_token() or "\0", "...")
    return redact(_TOKEN.sub("hf_...", said))[:500].rstrip(".") or type(error).__name__
