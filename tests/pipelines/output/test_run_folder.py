from __future__ import annotations

import json
import os
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipelines.options import TranscribeOptions
from pipelines.output.run_folder import RunFolder, RunFolderError
from pipelines.output.run_identity import SCHEMA_VERSION, ModelIdentity, RunIdentity, identity_of
from tests.support.tone_backend import LOADED, run, write_talk
from transforms.writing.atomic_files import atomic_write


def options(**changed: Any) -> TranscribeOptions:  # noqa: ANN401  # of whatever type the option is
    return TranscribeOptions(**{"input": ("a.wav",), "output": "out", **changed})


def identity(*inputs: str, **changed: Any) -> RunIdentity:  # noqa: ANN401  # options of the run
    return identity_of(options(**changed), ModelIdentity("0a1b", ("en",)), inputs or ("1", "2"))


ID = "0123456789abcdef"
IDENTITY = identity()
REPORT = {"counts": {}, "options": {}, "files": [], "identity": IDENTITY.digest}
PARQUET, JSONL = (f"{name}/part-00000-of-00001.{name}" for name in ("parquet", "jsonl"))


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> RunFolder:
    return RunFolder(str(tmp_path / "out") if request.param == "local" else f"memory://{tmp_path.name}/out/")


def put(folder: RunFolder, name: str, content: bytes = b"x") -> None:
    with atomic_write(f"{folder.url.rstrip('/')}/{name}") as file:
        file.write(content)


def names(folder: RunFolder) -> set[str]:
    fs, root = fsspec.core.url_to_fs(folder.url)
    root = root.rstrip("/")
    return {name.removeprefix(f"{root}/") for name in fs.find(root)}


def published(folder: RunFolder, of: RunIdentity, **report: Any) -> None:  # noqa: ANN401  # of `run.json`
    folder.publish(of, {**REPORT, "identity": of.digest, **report}, "<html>")


def content(folder: RunFolder, name: str) -> bytes:
    with folder.open(name) as file:
        return bytes(file.read())


def test_identity_is_written_first_and_success_last(folder: RunFolder) -> None:
    folder.claim(IDENTITY, overwrite=False)
    assert names(folder) == {".whisper-beam/run.json"}
    assert folder.finished_report(IDENTITY) is None
    published(folder, IDENTITY)
    assert names(folder) == {".whisper-beam/run.json", "run.json", "report.html", "_SUCCESS"}
    assert folder.finished_report(IDENTITY) == REPORT
    for other in (identity(language="fr"), identity("3"), identity(num_shards=2)):
        assert folder.finished_report(other) is None


def test_files_are_replaced_once_all_are_complete(folder: RunFolder) -> None:
    folder.claim(IDENTITY, overwrite=False)
    put(folder.next, PARQUET, b"1")
    put(folder.next, f"srt/a.{ID}.srt", b"1")
    assert folder.next.parts() == [PARQUET]
    published(folder, IDENTITY)
    before = names(folder)
    assert before == {
        *(".whisper-beam/run.json", PARQUET, f"srt/a.{ID}.srt", "run.json", "report.html", "_SUCCESS"),
    }
    put(folder, "evaluation/report.html")
    more = identity("1", "2", "3", num_shards=2)
    folder.claim(more, overwrite=False)
    put(folder.next, "parquet/part-00000-of-00002.parquet", b"2")
    put(folder.next, f"srt/b.{ID}.srt", b"2")
    assert {PARQUET, "_SUCCESS"} < names(folder)  # what is there stays until the end of the run
    published(folder, more)
    assert names(folder) == {
        *(".whisper-beam/run.json", "parquet/part-00000-of-00002.parquet", f"srt/b.{ID}.srt"),
        *("run.json", "report.html", "_SUCCESS"),
    }


def test_earlier_rows_are_those_of_the_same_options(folder: RunFolder) -> None:
    assert folder.earlier_rows(IDENTITY) == []
    folder.claim(IDENTITY, overwrite=False)
    put(folder, PARQUET)  # of no run that has published
    assert folder.earlier_rows(IDENTITY) == []
    for name in (PARQUET, JSONL, "failures/part-00000-of-00001.jsonl"):
        put(folder.next, name)
    published(folder, IDENTITY)
    more = identity("1", "3")
    folder.claim(more, overwrite=False)
    assert folder.earlier_rows(more) == [(folder.url_of(PARQUET), folder.url_of(JSONL))]
    assert folder.earlier_rows(identity(language="fr")) == []
    folder.claim(more, overwrite=True)
    assert folder.earlier_rows(more) == []


@pytest.mark.parametrize("n_steps", range(12))
def test_no_earlier_row_is_lost_if_a_run_is_killed_while_it_publishes(n_steps: int, tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path / "out"))
    folder.claim(IDENTITY, overwrite=False)
    put(folder.next, PARQUET, b"kept")
    published(folder, IDENTITY)
    more = identity("3", format=("jsonl",), num_shards=2)
    folder.claim(more, overwrite=False)
    put(folder.next, "jsonl/part-00000-of-00002.jsonl", b"kept")
    put(folder.next, "jsonl/part-00001-of-00002.jsonl", b"new")
    steps = iter(range(n_steps))

    def killed(function: Any) -> Any:  # noqa: ANN401  # any function of the module `os`
        def step(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # likewise
            if next(steps, None) is None:
                raise KeyboardInterrupt
            return function(*args, **kwargs)

        return step

    with pytest.MonkeyPatch.context() as patch:
        for name in ("replace", "remove", "unlink", "rmdir"):
            patch.setattr(os, name, killed(getattr(os, name)))
        with suppress(KeyboardInterrupt):
            published(folder, more)
    assert b"kept" in [Path(url).read_bytes() for (url,) in folder.earlier_rows(more)]


def test_parts_do_not_include_partial_files_of_a_killed_run(folder: RunFolder) -> None:
    assert folder.parts() == []
    put(folder, "parquet/part-00001-of-00002.parquet")
    put(folder, "parquet/part-00000-of-00002.parquet")
    put(folder, "failures/part-00000-of-00001.jsonl")
    put(folder, f"parquet/.part-00000-of-00002.parquet.{'0' * 32}.partial")
    put(folder, "parquet/mine.txt")
    assert folder.parts() == [
        "failures/part-00000-of-00001.jsonl",
        "parquet/part-00000-of-00002.parquet",
        "parquet/part-00001-of-00002.parquet",
    ]


def test_claim_removes_files_of_an_unfinished_run_and_no_others(folder: RunFolder) -> None:
    folder.claim(IDENTITY, overwrite=False)
    put(folder, "parquet/part-00000-of-00001.parquet")
    put(folder, f"jsonl/.part-00000-of-00001.jsonl.{'a' * 32}.partial")
    put(folder, f".whisper-beam/.run.json.{'b' * 32}.partial")
    for name in ("run.json", "report.html", "progress.json", f".progress.json.{'b' * 32}.partial"):
        put(folder, name, b"{}")
    put(folder, f"srt/a talk.{ID}.srt")
    put(folder, f"srt/.a talk.{ID}.srt.{'c' * 32}.partial")
    put(folder, f"vtt/a.b.{ID}.vtt")
    mine = {
        *("parquet/mine.parquet", "srt/mine.srt", f"srt/a.{ID}.vtt", f"srt/sub/a.{ID}.srt", "txt/a.txt"),
        *(f"other/a.{ID}.srt", "notes.html", ".other.json.partial"),
    }
    for name in mine:
        put(folder, name)
    put(folder.next, PARQUET)
    folder.claim(IDENTITY, overwrite=False)  # what the next files replace stays until they are complete
    finished = {
        PARQUET,
        "run.json",
        "report.html",
        "progress.json",
        f"srt/a talk.{ID}.srt",
        f"vtt/a.b.{ID}.vtt",
    }
    assert names(folder) == {".whisper-beam/run.json", *mine, *finished}
    published(folder, IDENTITY)
    left = {"run.json", "report.html", "progress.json", "_SUCCESS"}
    assert names(folder) == {".whisper-beam/run.json", *mine, *left}


def test_run_resumes_with_other_input_and_keeps_its_log_unless_overwritten(folder: RunFolder) -> None:
    folder.claim(IDENTITY, overwrite=False)
    log = ".whisper-beam/commits/0a.log"
    put(folder, log)
    put(folder, "parquet/part-00000-of-00001.parquet")
    more = identity("1", "2", "3")
    folder.claim(more, overwrite=False)
    assert names(folder) == {".whisper-beam/run.json", log, PARQUET}
    assert folder.log_folder.endswith("/.whisper-beam/commits")
    folder.claim(more, overwrite=True)
    assert names(folder) == {".whisper-beam/run.json", PARQUET}


def test_another_run_is_refused_unless_overwrite_is_set(folder: RunFolder) -> None:
    other = identity(return_timestamps=False)
    folder.claim(IDENTITY, overwrite=False)
    put(folder, PARQUET)
    with pytest.raises(RunFolderError, match="with --return_timestamps True, not False"):
        folder.claim(other, overwrite=False)
    assert PARQUET in names(folder)
    folder.claim(other, overwrite=True)
    assert names(folder) == {".whisper-beam/run.json", PARQUET}
    with pytest.raises(RunFolderError):
        folder.claim(IDENTITY, overwrite=False)
    published(folder, other)
    assert PARQUET not in names(folder)


def test_model_of_the_run_is_known_by_its_name(folder: RunFolder) -> None:
    assert folder.model_of("openai/whisper-base") is None
    folder.claim(IDENTITY, overwrite=False)
    assert folder.model_of("openai/whisper-base") == IDENTITY.model
    assert folder.model_of("openai/whisper-tiny") is None


def test_partial_output_is_that_of_a_run(folder: RunFolder) -> None:
    with pytest.raises(RunFolderError, match=r"--partial: --output .* holds no run of whisper-beam"):
        folder.check_begun(IDENTITY)
    folder.claim(IDENTITY, overwrite=False)
    folder.check_begun(identity("3", num_shards=4))
    with pytest.raises(RunFolderError, match="another run"):
        folder.check_begun(identity(language="fr"))
    folder.partial.claim(IDENTITY, overwrite=True)
    put(folder.partial.next, JSONL)
    published(folder.partial, IDENTITY)
    put(folder.partial, "mine.txt")
    assert f"partial/{JSONL}" in names(folder)
    published(folder, IDENTITY)  # the whole run, which makes the part obsolete
    assert {name for name in names(folder) if name.startswith("partial")} == {"partial/mine.txt"}


def log_line(record: dict[str, Any]) -> bytes:
    """A record of the commit log as version 3 of the schema wrote it: CRC-32, a space, JSON."""
    body = json.dumps(record).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def write_earlier_run(folder: RunFolder, *, finished: bool) -> set[str]:
    """Writes the files of a run of schema version 3, whose rows of both formats were in `transcripts`."""
    identity = {"digest": "0123", "schema_version": 3, "options": dict(IDENTITY.options)}
    put(folder, ".whisper-beam/run.json", json.dumps({**identity, "inputs": IDENTITY.inputs}).encode())
    records = ({"begun": ID}, {"done": ID, "attempt": 1, "counts": {"windows": 2}}, {"begun": "f" * 32})
    put(folder, f".whisper-beam/commits/{'a' * 32}.log", b"".join(map(log_line, records)))
    put(folder, "transcripts/part-00000-of-00002.parquet")
    put(folder, "transcripts/part-00000-of-00002.jsonl")
    put(folder, f"transcripts/.part-00001-of-00002.parquet.{'b' * 32}.partial")
    put(folder, f"srt/a.{ID}.srt")
    put(folder, "progress.json", b"{}")
    if finished:
        put(folder, "failures/part-00000-of-00001.jsonl")
        for name, text in (("run.json", json.dumps({**REPORT, "identity": "0123"})), ("_SUCCESS", "")):
            put(folder, name, text.encode())
    return names(folder)


@pytest.mark.parametrize("finished", [False, True])
def test_run_of_an_earlier_version_is_refused_and_left_as_it_is(finished: bool, folder: RunFolder) -> None:
    files = write_earlier_run(folder, finished=finished)
    assert folder.finished_report(IDENTITY) is None
    for use in (folder.check, folder.claim):
        with pytest.raises(RunFolderError) as refused:
            use(IDENTITY, False)
        assert str(refused.value) == (
            f"--output {folder.url} holds a run of an earlier version of whisper-beam (schema 3), which this "
            "version cannot resume; give another --output, or --overwrite to remove that run's files"
        )
    assert names(folder) == files


@pytest.mark.parametrize("finished", [False, True])
def test_overwrite_removes_the_files_of_an_earlier_version(finished: bool, folder: RunFolder) -> None:
    write_earlier_run(folder, finished=finished)
    put(folder, "transcripts/mine.txt")
    folder.claim(IDENTITY, overwrite=True)
    folder.claim(IDENTITY, overwrite=False)  # it is this run's folder now
    assert folder.earlier_rows(IDENTITY) == []
    published(folder, IDENTITY)
    left = {"run.json", "report.html", "progress.json", "_SUCCESS"}
    assert names(folder) == {".whisper-beam/run.json", "transcripts/mine.txt", *left}


def test_command_refuses_to_resume_a_run_of_an_earlier_version(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(str(tmp_path / "out"))
    files = write_earlier_run(folder, finished=False)
    talk = write_talk(tmp_path / "talk.wav", 2)
    LOADED.clear()
    assert run(talk, tmp_path / "out") == 1
    assert "(schema 3), which this version cannot resume; give another --output" in capsys.readouterr().err
    assert (LOADED, names(folder)) == ([], files)
    assert run(talk, tmp_path / "out", "--overwrite") == 0
    assert names(folder).isdisjoint(name for name in files if name.startswith("transcripts/"))


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({}, r"a run of an earlier version of whisper-beam, which this version cannot resume; give another"),
        ({"schema_version": SCHEMA_VERSION + 1}, "a run of a later version of whisper-beam"),
    ],
)
def test_run_of_another_version_is_refused(schema: dict[str, int], reason: str, folder: RunFolder) -> None:
    identity = {"digest": "another", "options": dict(IDENTITY.options), "inputs": IDENTITY.inputs, **schema}
    put(folder, ".whisper-beam/run.json", json.dumps(identity).encode())
    with pytest.raises(RunFolderError, match=reason):
        folder.claim(IDENTITY, overwrite=False)


@pytest.mark.parametrize(
    "name",
    [
        *("transcripts/a.txt", "failures/a.txt", "run.json", "_SUCCESS", "report.html", "progress.json"),
        *(f"srt/a.{ID}.srt", "parquet/part-00000-of-00001.parquet", "jsonl/part-00000-of-00001.jsonl"),
    ],
)
def test_files_that_no_run_wrote_are_never_claimed(name: str, folder: RunFolder) -> None:
    put(folder, name)
    with pytest.raises(RunFolderError, match="did not write"):
        folder.claim(IDENTITY, overwrite=True)
    assert names(folder) == {name}


def test_folder_with_other_files_can_be_claimed(folder: RunFolder) -> None:
    for name in ("talks/a.wav", "srt/a.srt"):
        put(folder, name)
    folder.claim(IDENTITY, overwrite=False)
    assert names(folder) == {"talks/a.wav", "srt/a.srt", ".whisper-beam/run.json"}


def test_run_without_its_recording_files_is_not_finished(folder: RunFolder) -> None:
    folder.claim(IDENTITY, overwrite=False)
    put(folder.next, f"srt/a.{ID}.srt")
    published(folder, IDENTITY, recording_files={"srt": 1, "vtt": 0})
    assert folder.finished_report(IDENTITY) is not None
    fs, root = fsspec.core.url_to_fs(folder.url)
    fs.rm(f"{root.rstrip('/')}/srt", recursive=True)
    assert folder.finished_report(IDENTITY) is None


@pytest.mark.parametrize(
    "content",
    [
        *(b"half {", b"[]", b"\xff", b"{}", b'{"digest": "d", "options": [], "inputs": "i"}'),
        *(b'{"digest": "d", "options": {}}', b'{"digest": 1, "options": {}, "inputs": "i"}'),
    ],
)
def test_damaged_identity_is_reported_and_may_be_overwritten(content: bytes, folder: RunFolder) -> None:
    put(folder, ".whisper-beam/run.json", content)
    put(folder, "_SUCCESS")
    for use in (folder.finished_report, lambda identity: folder.claim(identity, overwrite=False)):
        with pytest.raises(RunFolderError, match=r"whisper-beam/run\.json is .*or --overwrite to remove"):
            use(IDENTITY)
    assert names(folder) == {".whisper-beam/run.json", "_SUCCESS"}
    folder.claim(IDENTITY, overwrite=True)
    folder.claim(IDENTITY, overwrite=False)
    assert names(folder) == {".whisper-beam/run.json", "_SUCCESS"}


def test_identity_that_is_a_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / ".whisper-beam/run.json").mkdir(parents=True)
    with pytest.raises(RunFolderError, match=r"run\.json cannot be read \(Is a directory\); give another"):
        RunFolder(str(tmp_path)).finished_report(IDENTITY)


@pytest.mark.parametrize("content", [b"half {", b"[]", b"{}", b'{"files": []}'])
def test_run_with_a_damaged_report_is_not_finished(content: bytes, folder: RunFolder) -> None:
    folder.claim(IDENTITY, overwrite=False)
    published(folder, IDENTITY)
    put(folder, "run.json", content)
    assert folder.finished_report(IDENTITY) is None
    folder.claim(IDENTITY, overwrite=False)


def test_commit_log_without_an_identity_is_not_resumed(folder: RunFolder) -> None:
    put(folder, ".whisper-beam/commits/0a.log")
    with pytest.raises(RunFolderError, match=r"no \.whisper-beam/run\.json .*or --overwrite to remove"):
        folder.claim(IDENTITY, overwrite=False)
    assert names(folder) == {".whisper-beam/commits/0a.log"}
    folder.claim(IDENTITY, overwrite=True)
    assert names(folder) == {".whisper-beam/run.json"}


def test_folder_inside_the_log_folder_is_not_removed(tmp_path: Path) -> None:
    mine = tmp_path / ".whisper-beam/commits/mine.log"
    mine.mkdir(parents=True)
    folder = RunFolder(str(tmp_path))
    folder.claim(IDENTITY, overwrite=True)
    folder.claim(IDENTITY, overwrite=True)
    assert mine.is_dir()


def test_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match=r"file/out cannot be written: .*Not a directory"):
        RunFolder(str(tmp_path / "file/out")).claim(IDENTITY, overwrite=False)
    with pytest.raises(RunFolderError, match="nowhere://x cannot be opened: Protocol not known"):
        RunFolder("nowhere://x").claim(IDENTITY, overwrite=False)
