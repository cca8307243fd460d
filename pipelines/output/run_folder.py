"""Output folder of a run: which run it holds, whether it is finished, and which files may be removed.

Rows and files of recordings are written to `NEXT_FOLDER`; what is in the folder stays until they are complete
and take its place (`RunFolder.publish`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pipelines.option_groups import FORMATS, ROW_FORMATS
from pipelines.output.run_files import (
    EARLIER_ROWS,
    EVALUATION_FILES,
    FAILURES,
    IDENTITY_FILE,
    IDENTITY_NAME,
    LOG_FOLDER,
    NEXT_FOLDER,
    OWN_FOLDER,
    PAGE_FILE,
    PARTIAL_FOLDER,
    PATTERNS,
    PROGRESS_FILE,
    REPORT_FILE,
    SUCCESS_FILE,
    TOP_FILES,
    unfinished_pattern,
)
from pipelines.output.run_identity import ModelIdentity, RunIdentity, difference, is_identity
from transforms.checkpoint.commit_log import SUFFIX as LOG_SUFFIX
from transforms.core.redaction import redact
from transforms.writing.atomic_files import atomic_write, move_files, remove_folder

_REPORTED = {"counts", "options", "files", "identity"}
_ADVICE = "give another --output, or --overwrite to remove that run's files"


class RunFolderError(ValueError):
    """The output folder cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class RunFolder:
    """An output folder on any filesystem.

    Args:
        url: as the user gave it.
    """

    url: str

    def url_of(self, name: str) -> str:
        """Returns the URL of a file or folder in the run's folder."""
        return f"{self.url.rstrip('/')}/{name}"

    @property
    def log_folder(self) -> str:
        """URL of the folder of the commit log."""
        return self.url_of(LOG_FOLDER)

    @property
    def next(self) -> RunFolder:
        """The folder that rows, failures and files of recordings are written to until all are complete."""
        return RunFolder(self.url_of(NEXT_FOLDER))

    @property
    def partial(self) -> RunFolder:
        """The output folder of what is finished before the end of the run."""
        return RunFolder(self.url_of(PARTIAL_FOLDER))

    def finished_report(self, identity: RunIdentity) -> dict[str, Any] | None:
        """Returns the report if the folder holds this run, finished; else None.

        Raises:
            RunFolderError: `IDENTITY_FILE` is damaged.
        """
        found = self._read_identity()
        if found is None or not self._exists(SUCCESS_FILE):
            return None
        if found.get("rows") != identity.transcripts:  # a run with `--overwrite` began, and has not finished
            return None
        try:
            report = self._read_json(REPORT_FILE)
        except RunFolderError:  # damaged: written again, from the commit log
            return None
        if report is None or _REPORTED - report.keys() or report["identity"] != identity.digest:
            return None
        if set(report["files"]) - set(self.parts()):  # some were removed
            return None
        folders = [name for name, n_files in report.get("recording_files", {}).items() if n_files]
        return report if all(map(self._exists, folders)) else None

    def model_of(self, name: str) -> ModelIdentity | None:
        """Returns the identity of the model of the run in the folder, if it has that name; else None.

        Raises:
            RunFolderError: `IDENTITY_FILE` is damaged.
        """
        found = self._read_identity()
        if found is None or found["options"].get("model") != name or "languages" not in found:
            return None
        return ModelIdentity(found["weights"], tuple(found["languages"]))

    def check(self, identity: RunIdentity, overwrite: bool) -> None:
        """Checks that this run may use the folder; changes nothing.

        Raises:
            RunFolderError: the folder holds another run, or an unidentified one, and `overwrite` is not set;
                or it holds files of a run's names that no run of whisper-beam wrote.
        """
        if overwrite and self._exists(IDENTITY_FILE):
            return
        found = self._read_identity()
        if found is None:
            self._refuse_foreign()
            if not overwrite and self.has_log():
                raise RunFolderError(
                    f"--output {redact(self.url)} holds the commit log of a run in {LOG_FOLDER}, and no "
                    f"{IDENTITY_FILE} with the run's options; {_ADVICE}"
                )
        elif other := difference(found, identity):
            raise RunFolderError(f"--output {redact(self.url)} holds {other}; {_ADVICE}")

    def has_log(self) -> bool:
        """Whether there is a commit log, as of any run but those with `--partial`."""
        return any(name.endswith(LOG_SUFFIX) for name in self._names(LOG_FOLDER))

    def check_begun(self, identity: RunIdentity) -> None:
        """Checks that the folder holds this run, finished or not, and may get `partial`; changes nothing.

        Raises:
            RunFolderError: it does not, or another run has `partial` as its output folder.
        """
        if self._read_identity() is None:
            raise RunFolderError(f"--partial: --output {redact(self.url)} holds no run of whisper-beam")
        if self.partial.has_log():
            raise RunFolderError(f"--partial: {redact(self.partial.url)} is the --output of another run")
        self.check(identity, overwrite=False)

    def claim(self, identity: RunIdentity, overwrite: bool) -> None:
        """Claims the folder for this run, which writes `IDENTITY_FILE`; finished files stay until `publish`.

        The commit log is kept unless `overwrite` is set, so that the run resumes.

        Raises:
            RunFolderError: see `check`; or the folder is not writable.
        """
        self.check(identity, overwrite)
        try:
            rows = None if overwrite else (self._read_identity() or {}).get("rows")
            self.remove_partial_files()
            self._remove_folder(NEXT_FOLDER)
            if overwrite:
                self._remove_log()
            self._write_identity(identity, rows)
        except OSError as error:
            raise RunFolderError(self.write_error_message(error)) from error

    def earlier_rows(self, identity: RunIdentity) -> list[tuple[str, ...]]:
        """Returns the URLs of the files of rows that an earlier run with the same options left in the folder.

        Together they have each of its rows at least once, also if it was killed while it published them. A
        file comes with that of the same rows in the other format, if there is one.
        """
        if (self._read_identity() or {}).get("rows") != identity.transcripts:
            return []
        parts = [name for name in self.parts() if not name.startswith(f"{FAILURES}/")]
        if not self._exists(SUCCESS_FILE):
            return [(self.url_of(name),) for name in parts]
        formats: dict[str, list[str]] = {}
        for name in sorted(parts, reverse=True):  # Parquet first
            formats.setdefault(name.partition("/")[2].partition(".")[0], []).append(self.url_of(name))
        return [tuple(urls) for _, urls in sorted(formats.items())]

    def mark_unfinished(self) -> None:
        """Removes `_SUCCESS` and the evaluation, as the rows in the folder will be replaced one by one.

        Raises:
            OSError: a file cannot be removed.
        """
        self._remove([name for name in (SUCCESS_FILE, *EVALUATION_FILES) if self._exists(name)])

    def publish(self, identity: RunIdentity, report: Mapping[str, Any], page: str) -> None:
        """Replaces what the folder holds by the files in `next`, which are complete.

        At any moment, each row that is kept is in a file of the folder: new files come before old ones go.
        `_SUCCESS` is removed first and written last.

        Args:
            identity: identity of the run.
            report: the content of `run.json`.
            page: the content of `report.html`.

        Raises:
            OSError: a file cannot be written or removed.
        """
        self.mark_unfinished()
        if (self._read_identity() or {}).get("rows") != identity.transcripts:
            self._write_identity(identity, None)  # until all files are those of this run
        new = [name for folder in filter(None, PATTERNS) for name in self.next.own_files(folder)]
        fs, root = self._filesystem()
        move_files(fs, [(f"{root}/{NEXT_FOLDER}/{name}", f"{root}/{name}") for name in new])
        with atomic_write(self.url_of(PAGE_FILE)) as file:
            file.write(page.encode("utf-8", "backslashreplace"))
        self.write_report(report)
        kept = set(new)
        self._remove(
            [name for folder in filter(None, PATTERNS) for name in self.own_files(folder) if name not in kept]
        )
        self._write_identity(identity, identity.transcripts)
        self._remove_folder(NEXT_FOLDER)
        self.remove_partial_files()
        if not self.partial.has_log():  # else a run of its own, whose `--output` it is
            self.partial.remove_output()
        with atomic_write(self.url_of(SUCCESS_FILE)):
            pass

    def write_error_message(self, error: OSError) -> str:
        """Returns the message for an error in writing to the folder."""
        return f"--output {redact(self.url)} cannot be written: {error.strerror or error}"

    def parts(self) -> list[str]:
        """Returns the files of rows and failures, relative to the folder, sorted."""
        return sorted(name for folder in (*ROW_FORMATS, FAILURES) for name in self.own_files(folder))

    @property
    def is_local(self) -> bool:
        """Whether the folder is on this machine, where writing a small file costs next to nothing."""
        return isinstance(self._filesystem()[0], LocalFileSystem)

    def write_report(self, report: Mapping[str, Any]) -> None:
        """Replaces `run.json` atomically."""
        self._write_json(REPORT_FILE, report)

    def write_progress(self, progress: Mapping[str, Any]) -> None:
        """Replaces `progress.json` atomically."""
        self._write_json(PROGRESS_FILE, progress)

    def open(self, name: str) -> Any:  # noqa: ANN401  # fsspec is untyped: a binary file
        """Opens a file of the folder for reading, as bytes."""
        return fsspec.open(self.url_of(name), "rb")

    def remove_partial_files(self) -> None:
        """Removes the files that a run of this folder began to write and did not finish.

        Raises:
            OSError: they cannot be removed.
        """
        identity = unfinished_pattern(IDENTITY_NAME)
        names = [f"{OWN_FOLDER}/{name}" for name in self._names(OWN_FOLDER) if identity.fullmatch(name)]
        names += [name for folder in PATTERNS for name in self.own_files(folder, unfinished=True)]
        self._remove(names)

    def remove_output(self) -> None:
        """Removes the files of a run, if there is one, and the folder if it is empty then.

        Raises:
            OSError: they cannot be removed.
        """
        if not self._exists(IDENTITY_FILE):
            return
        self._remove([name for name in (SUCCESS_FILE, *EVALUATION_FILES) if self._exists(name)])
        self._remove([name for folder in PATTERNS for name in self.own_files(folder)])
        self.remove_partial_files()
        fs, root = self._filesystem()
        remove_folder(fs, f"{root}/{OWN_FOLDER}")
        for folder in (*filter(None, PATTERNS), "evaluation", ""):
            with suppress(OSError):  # not empty, or a file system without folders
                fs.rmdir(f"{root}/{folder}".rstrip("/"))

    def own_files(self, folder: str, *, unfinished: bool = False) -> list[str]:
        """Returns the files in a folder that have names of a run's files, complete or `unfinished` ones."""
        pattern = PATTERNS[folder]
        if unfinished:
            pattern = unfinished_pattern(pattern)
        return [f"{folder}/{name}".lstrip("/") for name in self._names(folder) if pattern.fullmatch(name)]

    def _refuse_foreign(self) -> None:
        ours = (EARLIER_ROWS, FAILURES, *TOP_FILES)
        foreign = [name for name in ours if self._exists(name)]
        foreign += [name for name in FORMATS if self.own_files(name)]
        if foreign:
            raise RunFolderError(
                f"--output {redact(self.url)} has {', '.join(foreign)} that whisper-beam did not write; it "
                "neither mixes them with its own files nor removes them; give another --output, or move "
                "them away"
            )

    def _remove(self, names: Sequence[str]) -> None:
        fs, root = self._filesystem()
        for name in names:
            fs.rm_file(f"{root}/{name}")

    def _remove_folder(self, name: str) -> None:
        fs, root = self._filesystem()
        if self._exists(name):
            remove_folder(fs, f"{root}/{name}")

    def _remove_log(self) -> None:
        fs, root = self._filesystem()
        for name in self._names(LOG_FOLDER):
            path = f"{root}/{LOG_FOLDER}/{name}"
            if name.endswith(LOG_SUFFIX) and not fs.isdir(path):
                fs.rm_file(path)

    def _names(self, folder: str) -> list[str]:
        fs, root = self._filesystem()
        fs.invalidate_cache()
        if not self._exists(folder):
            return []
        return [entry.rsplit("/", 1)[-1] for entry in fs.ls(f"{root}/{folder}", detail=False)]

    def _exists(self, name: str) -> bool:
        fs, root = self._filesystem()
        return bool(fs.exists(f"{root}/{name}"))

    def _read_identity(self) -> dict[str, Any] | None:
        """Returns the content of `IDENTITY_FILE`, or None if it does not exist."""
        try:
            found = self._read_json(IDENTITY_FILE)
        except OSError as error:
            reason = f"cannot be read ({error.strerror or error})"
            raise RunFolderError(f"{redact(self.url_of(IDENTITY_FILE))} {reason}; {_ADVICE}") from error
        if found is None or is_identity(found):
            return found
        raise RunFolderError(f"{redact(self.url_of(IDENTITY_FILE))} is damaged; {_ADVICE}")

    def _write_identity(self, identity: RunIdentity, rows: str | None) -> None:
        """Writes `IDENTITY_FILE`; `rows` is `RunIdentity.transcripts` of the rows that are in the folder."""
        self._write_json(IDENTITY_FILE, {**identity.to_json(), "rows": rows})

    def _read_json(self, name: str) -> dict[str, Any] | None:
        if not self._exists(name):
            return None
        with self.open(name) as file:
            try:
                content = json.load(file)
            except ValueError as error:
                raise RunFolderError(
                    f"{redact(self.url_of(name))} is not JSON ({error}); {_ADVICE}"
                ) from error
        if not isinstance(content, dict):
            raise RunFolderError(f"{redact(self.url_of(name))} is damaged; {_ADVICE}")
        return content

    def _write_json(self, name: str, content: Mapping[str, Any]) -> None:
        with atomic_write(self.url_of(name)) as file:
            text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
            file.write(text.encode("utf-8", "backslashreplace") + b"\n")  # file names may be invalid Unicode

    def _filesystem(self) -> tuple[Any, str]:
        try:
            fs, root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:  # a scheme whose package is missing, or an unknown scheme
            raise RunFolderError(f"--output {redact(self.url)} cannot be opened: {error}") from error
        return fs, root.rstrip("/")
