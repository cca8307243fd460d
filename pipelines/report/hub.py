"""Upload of a finished run to the Hugging Face Hub: its Parquet files and a card, in one commit."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import fsspec
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token

from pipelines.output.run_folder import RunFolder
from pipelines.report.dataset_card import dataset_card
from transforms.core.redaction import redact

_OURS = re.compile(r"(parquet|transcripts)/part-\d{5,}-of-\d{5,}\.parquet")  # the latter: of earlier versions
_TOKEN = re.compile(r"hf_\w+")
_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN to a token with write access"


Operation = CommitOperationAdd | CommitOperationDelete


class HubError(RuntimeError):
    """The upload failed; the message says why and what to do. The run itself is not affected."""


class Api(Protocol):
    """The methods of `huggingface_hub.HfApi` that `push` calls."""

    def create_repo(self, repo_id: str, *, repo_type: str, private: bool, exist_ok: bool) -> Any:  # noqa: ANN401
        """Creates the dataset unless it exists; returns an object with `repo_id` and `url`."""

    def list_repo_files(self, repo_id: str, *, repo_type: str) -> list[str]:
        """Returns the paths of all files."""

    def create_commit(
        self,
        repo_id: str,
        operations: Sequence[Operation],
        *,
        commit_message: str,
        repo_type: str,
    ) -> Any:  # noqa: ANN401
        """Applies all operations or none."""


def check_token() -> None:
    """Raises `HubError` where no token is set, before a run of hours instead of at its end."""
    if get_token() is None:
        raise HubError(f"--push_to_hub: no token for the Hub was found; {_LOG_IN}")


def push(folder: RunFolder, report: Mapping[str, Any], name: str, api: Api | None = None) -> str:
    """Uploads the Parquet files of a finished run and their card; returns the URL of the dataset.

    The same commit removes part files of an earlier upload that are not files of this run; files of other
    names stay. A new dataset is private; the visibility of an existing one does not change.

    Args:
        folder: folder of the run.
        report: the content of its `run.json`.
        name: name of the dataset: `OWNER/NAME`, or `NAME` in the user's own namespace.
        api: client of the Hub.

    Raises:
        HubError: the upload failed and changed nothing on the Hub.
    """
    try:
        return _push(folder, report, name, HfApi(library_name="whisper-beam") if api is None else api)
    except Exception as error:  # of the network, of HTTP, of the Hub: the run stays finished
        raise HubError(
            f"The run is finished, but was not uploaded to {name}: {_reason(error)}. If the token is the "
            f"cause, {_LOG_IN}. The same command again repeats the upload only."
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
    """Yields local paths of the files, which the uploader reads more than once: in place, or as copies."""
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
    """Returns the start of an error's message, without the token, which some HTTP libraries quote."""
    message = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
    message = message.replace(get_token() or "\0", "...")
    return redact(_TOKEN.sub("hf_...", message))[:500].rstrip(".") or type(error).__name__
