"""Names of the files in the output folder of a run.

DIR/{parquet,jsonl}/part-00000-of-00001.{parquet,jsonl}
DIR/failures/part-00000-of-00001.jsonl
DIR/{srt,vtt,tsv,txt}/STEM.AUDIO_ID.{srt,vtt,tsv,txt}
DIR/progress.json            progress of the run and how it ended
DIR/report.html              the report for people
DIR/run.json                 the report, written once all parts are complete
DIR/_SUCCESS                 written last
DIR/partial/                 the same files of what was finished before the end, as `--partial` writes them
DIR/.whisper-beam/run.json   written first: the identity of the run that works in this folder
DIR/.whisper-beam/commits/   the commit log: spans that are done (`transforms.checkpoint.commit_log`)
DIR/.whisper-beam/next/      rows, failures and files of recordings until all are complete
DIR/.whisper-beam/lock       locked while a run writes here (`pipelines.output.run_lock`)
"""

from __future__ import annotations

import re

from pipelines.option_groups import RECORDING_FORMATS, ROW_FORMATS
from transforms.writing.atomic_files import PARTIAL_SUFFIX
from transforms.writing.filenames import recording_file_pattern

OWN_FOLDER = ".whisper-beam"
IDENTITY_FILE = f"{OWN_FOLDER}/run.json"
LOG_FOLDER = f"{OWN_FOLDER}/commits"
LOCK_FILE = f"{OWN_FOLDER}/lock"
NEXT_FOLDER = f"{OWN_FOLDER}/next"
PARTIAL_FOLDER = "partial"
REPORT_FILE = "run.json"
PAGE_FILE = "report.html"
PROGRESS_FILE = "progress.json"
SUCCESS_FILE = "_SUCCESS"
EVALUATION_FILES = ("evaluation/recordings.jsonl", "evaluation/report.html")
FAILURES = "failures"
EARLIER_ROWS = "transcripts"  # up to version 3 of the schema, the folder of rows of both formats

IDENTITY_NAME = re.compile(re.escape(IDENTITY_FILE.rpartition("/")[2]))
PART = re.compile(r"part-\d{5,}-of-\d{5,}\.(parquet|jsonl)")
TOP_FILES = (SUCCESS_FILE, REPORT_FILE, PAGE_FILE, PROGRESS_FILE)
PATTERNS = {
    "": re.compile("|".join(map(re.escape, TOP_FILES))),
    EARLIER_ROWS: PART,
    FAILURES: PART,
    **{name: re.compile(rf"part-\d{{5,}}-of-\d{{5,}}\.{name}") for name in ROW_FORMATS},
    **{name: recording_file_pattern(name) for name in RECORDING_FORMATS},
}
"""Names of a run's files, by the folder they are in."""


def is_run_file(path: str) -> bool:
    """Whether a path relative to an output folder is one of a file that a run writes, finished or not."""
    path = path.removeprefix(f"{PARTIAL_FOLDER}/")
    folder, _, name = path.rpartition("/")
    if path.split("/")[0] == OWN_FOLDER or path in EVALUATION_FILES:
        return True
    return folder in PATTERNS and any(
        pattern.fullmatch(name) for pattern in (PATTERNS[folder], unfinished_pattern(PATTERNS[folder]))
    )


def unfinished_pattern(pattern: re.Pattern[str]) -> re.Pattern[str]:
    """Returns the names of files while they are written, by their names once they are complete."""
    return re.compile(rf"\.({pattern.pattern})\.[0-9a-f]{{32}}{re.escape(PARTIAL_SUFFIX)}")
