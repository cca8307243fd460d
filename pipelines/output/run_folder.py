"""Output folder of a run: its identity, whether it is finished, and which files may be removed.

DIR/{parquet,jsonl}/part-00000-of-00001.{parquet,jsonl}
DIR/failures/part-00000-of-00001.jsonl
DIR/{srt,vtt,tsv,txt}/STEM.AUDIO_ID.{srt,vtt,tsv,txt}
DIR/progress.json            progress of the run and how it ended
DIR/report.html              the report for people
DIR/run.json                 the report, written once all parts are complete
DIR/_SUCCESS                 written last
DIR/.whisper-beam/run.json   written first: the identity of the run that these files belong to
DIR/.whisper-beam/commits/   the commit log: spans that are done (`transforms.checkpoint.commit_log`)
DIR/.whisper-beam/lock       locked while a run writes here (`pipelines.output.run_lock`)
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pipelines.option_groups import FORMATS, RECORDING_FORMATS, ROW_FORMATS
from pipelines.options import TranscribeOptions, shaping_options
from transforms.checkpoint.commit_log import SUFFIX as LOG_SUFFIX
from transforms.core.redaction import redact
from transforms.writing.atomic_files import PARTIAL_SUFFIX, atomic_write
from transforms.writing.filenames import recording_file_pattern

SCHEMA_VERSION = 6  # version of the output files and of the commit log; a run of another one is not resumed
IDENTITY_FILE = ".whisper-beam/run.json"
LOG_FOLDER = ".whisper-beam/commits"
LOCK_FILE = ".whisper-beam/lock"
REPORT_FILE = "run.json"
PAGE_FILE = "report.html"
PROGRESS_FILE = "progress.json"
SUCCESS_FILE = "_SUCCESS"
EVALUATION_FILES = ("evaluation/recordings.jsonl", "evaluation/report.html")
_REPORTED = {"counts", "options", "files"}
FAILURES = "failures"
_EARLIER_ROWS = "transcripts"  # up to version 3 of the schema, the folder of rows of both formats

PART = re.compile(r"part-\d{5,}-of-\d{5,}\.(parquet|jsonl)")
_TOP_FILES = (SUCCESS_FILE, REPORT_FILE, PAGE_FILE, PROGRESS_FILE)
_PATTERNS = {
    "": re.compile("|".join(map(re.escape, _TOP_FILES))),
    _EARLIER_ROWS: PART,
    FAILURES: PART,
    **{name: re.compile(rf"part-\d{{5,}}-of-\d{{5,}}\.{name}") for name in ROW_FORMATS},
    **{name: recording_file_pattern(name) for name in RECORDING_FORMATS},
}
"""Names of a run's files, by the folder they are in."""
_OWN_FOLDER = IDENTITY_FILE.partition("/")[0]


_ADVICE = "give another --output, or --overwrite to remove that run's files"


class RunFolderError(ValueError):
    """The output folder cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class RunIdentity:
    """Identity of a run: the options that shape its output, and its input.

    Attributes:
        options: values by name, without credentials.
        inputs: a hash of the listed input.
    """

    options: Mapping[str, Any]
    inputs: str

    @property
    def digest(self) -> str:
        """Hash of the options, the input and the schema version."""
        content = json.dumps([SCHEMA_VERSION, dict(self.options), self.inputs], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


def identity_of(options: TranscribeOptions, inputs: Iterable[str]) -> RunIdentity:
    """Returns the identity of a run.

    Args:
        options: options of the run.
        inputs: a stable name of each recording or shard that was listed.
    """
    listed = hashlib.sha256("\n".join(sorted(inputs)).encode("utf-8", "surrogatepass")).hexdigest()
    return RunIdentity(shaping_options(public_options(options)), listed)


def public_options(options: TranscribeOptions) -> dict[str, Any]:
    """Returns the options by name, as JSON values without credentials."""
    return {option.name: _public(getattr(options, option.name)) for option in fields(options)}


def is_run_file(path: str) -> bool:
    """Whether a path relative to an output folder is one of a file that a run writes, finished or not."""
    folder, _, name = path.rpartition("/")
    if path.split("/")[0] == _OWN_FOLDER or path in EVALUATION_FILES:
        return True
    return folder in _PATTERNS and any(
        pattern.fullmatch(name) for pattern in (_PATTERNS[folder], _partial_pattern(_PATTERNS[folder]))
    )


def _partial_pattern(pattern: re.Pattern[str]) -> re.Pattern[str]:
    """Returns the names of files while they are written, by their names once they are complete."""
    return re.compile(rf"\.({pattern.pattern})\.[0-9a-f]{{32}}{re.escape(PARTIAL_SUFFIX)}")


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

    def finished_report(self, identity: RunIdentity) -> dict[str, Any] | None:
        """Returns the report if the folder holds this run, finished; else None.

        Raises:
            RunFolderError: `IDENTITY_FILE` is damaged.
        """
        found = self._read_identity()
        if found is None or found["digest"] != identity.digest or not self._exists(SUCCESS_FILE):
            return None
        try:
            report = self._read_json(REPORT_FILE)
        except RunFolderError:  # damaged: written again, from the commit log
            return None
        if report is None or _REPORTED - report.keys():
            return None
        if set(report["files"]) - set(self.parts()):  # some were removed
            return None
        folders = [name for name, n_files in report.get("recording_files", {}).items() if n_files]
        return report if all(map(self._exists, folders)) else None

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
            if not overwrite and any(name.endswith(LOG_SUFFIX) for name in self._names(LOG_FOLDER)):
                raise RunFolderError(
                    f"--output {redact(self.url)} holds the commit log of a run in {LOG_FOLDER}, and no "
                    f"{IDENTITY_FILE} with the run's options; {_ADVICE}"
                )
        elif other_run := _other_run(found, identity):
            raise RunFolderError(f"--output {redact(self.url)} holds {other_run}; {_ADVICE}")

    def claim(self, identity: RunIdentity, overwrite: bool) -> None:
        """Claims the folder for this run: removes files of the run before and writes `IDENTITY_FILE`.

        The commit log is kept unless `overwrite` is set, so that the run resumes. A run resumes with the same
        options; its input may have changed.

        Raises:
            RunFolderError: see `check`; or the folder is not writable.
        """
        self.check(identity, overwrite)
        try:
            self._remove_run()
            if overwrite:
                self._remove_log()
            self._write_json(IDENTITY_FILE, {"digest": identity.digest, **_as_json(identity)})
        except OSError as error:
            raise RunFolderError(self.write_error_message(error)) from error

    def write_error_message(self, error: OSError) -> str:
        """Returns the message for an error in writing to the folder."""
        return f"--output {redact(self.url)} cannot be written: {error.strerror or error}"

    def finish(self, report: Mapping[str, Any]) -> None:
        """Writes the report, then `_SUCCESS`."""
        self.write_report(report)
        with atomic_write(self.url_of(SUCCESS_FILE)):
            pass

    def parts(self) -> list[str]:
        """Returns the files of rows, relative to the folder, sorted."""
        return sorted(name for folder in (*ROW_FORMATS, FAILURES) for name in self._own_files(folder))

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

    def write_page(self, html: str) -> None:
        """Replaces `report.html` atomically."""
        with atomic_write(self.url_of(PAGE_FILE)) as file:
            file.write(html.encode("utf-8", "backslashreplace"))

    def open(self, name: str) -> Any:  # noqa: ANN401  # fsspec is untyped: a binary file
        """Opens a file of the folder for reading, as bytes."""
        return fsspec.open(self.url_of(name), "rb")

    def _refuse_foreign(self) -> None:
        ours = (_EARLIER_ROWS, FAILURES, *_TOP_FILES)
        foreign = [name for name in ours if self._exists(name)]
        foreign += [name for name in FORMATS if self._own_files(name)]
        if foreign:
            raise RunFolderError(
                f"--output {redact(self.url)} has {', '.join(foreign)} that whisper-beam did not write; it "
                "neither mixes them with its own files nor removes them; give another --output, or move "
                "them away"
            )

    def _remove_run(self) -> None:
        """Removes the files whose names are those of a run's files, `_SUCCESS` first."""
        fs, root = self._filesystem()
        for name in filter(self._exists, (SUCCESS_FILE, *EVALUATION_FILES)):
            fs.rm_file(f"{root}/{name}")
        for folder in _PATTERNS:
            for name in self._own_files(folder):
                fs.rm_file(f"{root}/{name}")
        self.remove_partial_files()

    def remove_partial_files(self) -> None:
        """Removes the files that a run of this folder began to write and did not finish.

        Raises:
            OSError: they cannot be removed.
        """
        fs, root = self._filesystem()
        for folder in _PATTERNS:
            for name in self._own_files(folder, partial=True):
                fs.rm_file(f"{root}/{name}")

    def _remove_log(self) -> None:
        fs, root = self._filesystem()
        for name in self._names(LOG_FOLDER):
            path = f"{root}/{LOG_FOLDER}/{name}"
            if name.endswith(LOG_SUFFIX) and not fs.isdir(path):
                fs.rm_file(path)

    def _own_files(self, folder: str, *, partial: bool = False) -> list[str]:
        """Returns the files in a folder that have names of a run's files; with `partial`, unfinished ones."""
        pattern = _PATTERNS[folder]
        if partial:
            pattern = _partial_pattern(pattern)
        return [f"{folder}/{name}".lstrip("/") for name in self._names(folder) if pattern.fullmatch(name)]

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
        known = {"digest": str, "options": dict, "inputs": str}
        if found is None or all(isinstance(found.get(name), kind) for name, kind in known.items()):
            return found
        raise RunFolderError(f"{redact(self.url_of(IDENTITY_FILE))} is damaged; {_ADVICE}")

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


def _as_json(identity: RunIdentity) -> dict[str, Any]:
    return {"schema_version": SCHEMA_VERSION, "options": dict(identity.options), "inputs": identity.inputs}


def _other_run(found: Mapping[str, Any], identity: RunIdentity) -> str | None:
    """Describes the run in the folder if it is not this one; None if it is, whatever its input.

    Args:
        found: the content of `IDENTITY_FILE`.
        identity: identity of this run.
    """
    version = found.get("schema_version")
    if version != SCHEMA_VERSION:
        age = "a later" if isinstance(version, int) and version > SCHEMA_VERSION else "an earlier"
        schema = "" if version is None else f" (schema {version})"
        return f"a run of {age} version of whisper-beam{schema}, which this version cannot resume"
    before = found["options"]
    for name, now in identity.options.items():
        if before.get(name) != now:
            return (
                f"another run (with --{name} {_format_option(before.get(name))}, not {_format_option(now)})"
            )
    if before.keys() != identity.options.keys():
        return "a run of another version of whisper-beam, which this version cannot resume"
    return None


def _format_option(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _public(value: Any) -> Any:  # noqa: ANN401  # of whatever type the option is
    if isinstance(value, tuple):
        return [_public(one) for one in value]
    return redact(value) if isinstance(value, str) and "://" in value else value
