"""The folder a run writes to: whose it is, whether it is finished, and what may be removed.

DIR/transcripts/part-00000-of-00001.{parquet,jsonl}
DIR/failures/part-00000-of-00001.jsonl
DIR/{srt,vtt,tsv,txt}/STEM.AUDIO_ID.{srt,vtt,tsv,txt}
DIR/progress.json            how far the run is, and how it ended
DIR/report.html              the report for people
DIR/run.json                 the report, written when all parts are there
DIR/_SUCCESS                 written last
DIR/.whisper-beam/run.json   written first: which run these files belong to
DIR/.whisper-beam/commits/   what the run has done so far (`transforms.checkpoint.commit_log`)
DIR/.whisper-beam/lock       held while a run writes here (`pipelines.output.run_lock`)
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

from pipelines.options import RECORDING_FORMATS, TranscribeOptions, shaping_options
from transforms.checkpoint.commit_log import SUFFIX as LOG_SUFFIX
from transforms.core.redaction import redact
from transforms.writing.atomic_files import PARTIAL_SUFFIX, published
from transforms.writing.filenames import recording_file_pattern

SCHEMA_VERSION = 3  # of what a run writes; another version is another run
IDENTITY_FILE = ".whisper-beam/run.json"
LOG_FOLDER = ".whisper-beam/commits"
LOCK_FILE = ".whisper-beam/lock"
REPORT_FILE = "run.json"
PAGE_FILE = "report.html"
PROGRESS_FILE = "progress.json"
SUCCESS_FILE = "_SUCCESS"
EVALUATION_FILES = ("evaluation/recordings.jsonl", "evaluation/report.html")
_REPORTED = {"counts", "options", "files"}
TRANSCRIPTS, FAILURES = "transcripts", "failures"

PART = re.compile(r"part-\d{5,}-of-\d{5,}\.(parquet|jsonl)")
_TOP_FILES = (SUCCESS_FILE, REPORT_FILE, PAGE_FILE, PROGRESS_FILE)
_PATTERNS = {
    "": re.compile("|".join(map(re.escape, _TOP_FILES))),
    TRANSCRIPTS: PART,
    FAILURES: PART,
    **{name: recording_file_pattern(name) for name in RECORDING_FORMATS},
}
"""What a run's files are called, by the folder they are in."""


_OR_OVERWRITE = "give another --output, or --overwrite to remove that run's files"


class RunFolderError(ValueError):
    """The output folder cannot be used: what is there, and what to do."""


@dataclass(frozen=True)
class RunIdentity:
    """What makes two runs the same: the options that shape the output, and the recordings.

    Attributes:
        options: by name, without credentials.
        inputs: a hash of what was listed.
    """

    options: Mapping[str, Any]
    inputs: str

    @property
    def digest(self) -> str:
        """One word for it all."""
        told = json.dumps([SCHEMA_VERSION, dict(self.options), self.inputs], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()


def identity_of(options: TranscribeOptions, inputs: Iterable[str]) -> RunIdentity:
    """The identity of a run over `inputs`: a stable name for each recording or shard that was listed."""
    listed = hashlib.sha256("\n".join(sorted(inputs)).encode("utf-8", "surrogatepass")).hexdigest()
    return RunIdentity(shaping_options(public_options(options)), listed)


def public_options(options: TranscribeOptions) -> dict[str, Any]:
    """The options by name, as JSON knows them, without credentials."""
    return {option.name: _public(getattr(options, option.name)) for option in fields(options)}


@dataclass(frozen=True)
class RunFolder:
    """An output folder on any filesystem.

    Args:
        url: as the user gave it.
    """

    url: str

    def part_folder(self, name: str) -> str:
        """URL of `transcripts` or `failures`."""
        return self._url(name)

    @property
    def log_folder(self) -> str:
        """URL of the folder of the commit log."""
        return self._url(LOG_FOLDER)

    def finished_report(self, identity: RunIdentity) -> dict[str, Any] | None:
        """The report of this very run if it was finished before, else None.

        Raises:
            RunFolderError: nobody can tell, as the signature is damaged.
        """
        found = self._signature()
        if found is None or found["digest"] != identity.digest or not self._exists(SUCCESS_FILE):
            return None
        try:
            report = self._read_json(REPORT_FILE)
        except RunFolderError:  # it is damaged, and written anew: what was done is in the log
            return None
        if report is None or _REPORTED - report.keys():
            return None
        if set(report["files"]) - set(self.parts()):  # somebody removed some
            return None
        folders = [name for name, n_files in report.get("recording_files", {}).items() if n_files]
        return report if all(map(self._exists, folders)) else None

    def check(self, identity: RunIdentity, overwrite: bool) -> None:
        """Says whether the folder can be this run's, and changes nothing.

        Raises:
            RunFolderError: it holds another run, or one that nobody can tell, and `overwrite` is not set; or
                files that no run of ours wrote and that must not be mixed with ours.
        """
        if overwrite and self._exists(IDENTITY_FILE):
            return
        found = self._signature()
        if found is None:
            self._refuse_foreign()
            if not overwrite and any(name.endswith(LOG_SUFFIX) for name in self._names(LOG_FOLDER)):
                raise RunFolderError(
                    f"--output {redact(self.url)} has what a run has done in {LOG_FOLDER}, and no "
                    f"{IDENTITY_FILE} that says with which options; {_OR_OVERWRITE}"
                )
        elif _difference(found, identity):
            raise RunFolderError(
                f"--output {redact(self.url)} holds another run ({_difference(found, identity)}); "
                f"{_OR_OVERWRITE}"
            )

    def claim(self, identity: RunIdentity, overwrite: bool) -> None:
        """Makes the folder this run's: removes what it left unfinished, or overwrites, and signs it.

        The log of what was done is kept if the run goes on. It does with the same options, also over other
        recordings than before.

        Raises:
            RunFolderError: see `check`; or it cannot be written.
        """
        self.check(identity, overwrite)
        try:
            self._remove_run()
            if overwrite:
                self._remove_log()
            self._write_json(IDENTITY_FILE, {"digest": identity.digest, **_told(identity)})
        except OSError as error:
            raise RunFolderError(self.unwritable(error)) from error

    def unwritable(self, error: OSError) -> str:
        """The sentence for an error in writing to it."""
        return f"--output {redact(self.url)} cannot be written: {error.strerror or error}"

    def finish(self, report: Mapping[str, Any]) -> None:
        """Writes the report, then the mark that all is there."""
        self._write_json(REPORT_FILE, report)
        with published(self._url(SUCCESS_FILE)):
            pass

    def parts(self) -> list[str]:
        """The files of rows, relative to the folder, in order."""
        return sorted(name for folder in (TRANSCRIPTS, FAILURES) for name in self._ours_in(folder))

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine, where a file costs next to nothing to write."""
        return isinstance(self._filesystem()[0], LocalFileSystem)

    def write_progress(self, progress: Mapping[str, Any]) -> None:
        """Replaces `progress.json`, as a whole."""
        self._write_json(PROGRESS_FILE, progress)

    def write_page(self, html: str) -> None:
        """Replaces `report.html`."""
        with published(self._url(PAGE_FILE)) as file:
            file.write(html.encode("utf-8", "backslashreplace"))

    def open(self, name: str) -> Any:  # noqa: ANN401  # fsspec is untyped: a binary file
        """Opens a file of the folder for reading."""
        return fsspec.open(self._url(name), "rb")

    def _refuse_foreign(self) -> None:
        ours = (TRANSCRIPTS, FAILURES, *_TOP_FILES)
        foreign = [name for name in ours if self._exists(name)]
        foreign += [name for name in RECORDING_FORMATS if self._ours_in(name)]
        if foreign:
            raise RunFolderError(
                f"--output {redact(self.url)} has {', '.join(foreign)} that whisper-beam did not write, "
                "and that it neither mixes with its own files nor removes; give another --output, or move "
                "them away"
            )

    def _remove_run(self) -> None:
        """Removes files of our names alone, the mark of success first."""
        fs, root = self._filesystem()
        for name in filter(self._exists, (SUCCESS_FILE, *EVALUATION_FILES)):
            fs.rm_file(f"{root}/{name}")
        for folder in _PATTERNS:
            for name in (*self._ours_in(folder), *self._ours_in(folder, partial=True)):
                fs.rm_file(f"{root}/{name}")

    def _remove_log(self) -> None:
        fs, root = self._filesystem()
        for name in self._names(LOG_FOLDER):
            path = f"{root}/{LOG_FOLDER}/{name}"
            if name.endswith(LOG_SUFFIX) and not fs.isdir(path):
                fs.rm_file(path)

    def _ours_in(self, folder: str, *, partial: bool = False) -> list[str]:
        """The files of a folder that are called as a run calls its own, or those that it did not finish."""
        pattern = _PATTERNS[folder]
        if partial:
            pattern = re.compile(rf"\.({pattern.pattern})\.[0-9a-f]{{32}}{re.escape(PARTIAL_SUFFIX)}")
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

    def _signature(self) -> dict[str, Any] | None:
        """Whose folder it is."""
        try:
            found = self._read_json(IDENTITY_FILE)
        except OSError as error:
            reason = f"cannot be read ({error.strerror or error})"
            raise RunFolderError(f"{redact(self._url(IDENTITY_FILE))} {reason}; {_OR_OVERWRITE}") from error
        known = {"digest": str, "options": dict, "inputs": str}
        if found is None or all(isinstance(found.get(name), kind) for name, kind in known.items()):
            return found
        raise RunFolderError(f"{redact(self._url(IDENTITY_FILE))} is damaged; {_OR_OVERWRITE}")

    def _read_json(self, name: str) -> dict[str, Any] | None:
        if not self._exists(name):
            return None
        with self.open(name) as file:
            try:
                content = json.load(file)
            except ValueError as error:
                raise RunFolderError(
                    f"{redact(self._url(name))} is not JSON ({error}); {_OR_OVERWRITE}"
                ) from error
        if not isinstance(content, dict):
            raise RunFolderError(f"{redact(self._url(name))} is damaged; {_OR_OVERWRITE}")
        return content

    def _write_json(self, name: str, content: Mapping[str, Any]) -> None:
        with published(self._url(name)) as file:
            text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
            file.write(text.encode("utf-8", "backslashreplace") + b"\n")  # names may be no valid Unicode

    def _url(self, name: str) -> str:
        return f"{self.url.rstrip('/')}/{name}"

    def _filesystem(self) -> tuple[Any, str]:
        try:
            fs, root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:  # a scheme without its package, or that nobody knows
            raise RunFolderError(f"--output {redact(self.url)} cannot be opened: {error}") from error
        return fs, root.rstrip("/")


def _told(identity: RunIdentity) -> dict[str, Any]:
    return {"schema_version": SCHEMA_VERSION, "options": dict(identity.options), "inputs": identity.inputs}


def _difference(found: Mapping[str, Any], identity: RunIdentity) -> str | None:
    """What sets the run that is there apart, in words; None where it is this one, over whatever audio."""
    before = found["options"]
    for name, now in identity.options.items():
        if before.get(name) != now:
            return f"with --{name} {_spelt(before.get(name))}, not {_spelt(now)}"
    if found.get("schema_version") != SCHEMA_VERSION or before.keys() != identity.options.keys():
        return "of another version of whisper-beam"
    return None


def _spelt(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _public(value: Any) -> Any:  # noqa: ANN401  # of whatever type the option is
    if isinstance(value, tuple):
        return [_public(one) for one in value]
    return redact(value) if isinstance(value, str) and "://" in value else value
