from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipelines.options import TranscribeOptions
from pipelines.output.run_folder import (
    SCHEMA_VERSION,
    RunFolder,
    RunFolderError,
    RunIdentity,
    identity_of,
    is_run_file,
    public_options,
)
from tests.support.tone_backend import LOADED, run, write_talk
from transforms.writing.atomic_files import atomic_write


def options(**changed: Any) -> TranscribeOptions:  # noqa: ANN401  # of whatever type the option is
    return TranscribeOptions(**{"input": ("a.wav",), "output": "out", **changed})


ID = "0123456789abcdef"
REPORT = {"counts": {}, "options": {}, "files": []}
IDENTITY = identity_of(options(), ["1", "2"])


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


def test_identity_depends_on_the_options_that_shape_the_output_only() -> None:
    for changed in ({"language": "fr"}, {"num_shards": 2}, {"stride_length_s": 4.0}, {"model": "other"}):
        assert identity_of(options(**changed), ["1", "2"]).digest != IDENTITY.digest
    for same in (
        *({"batch_size": 3}, {"parallel_batches": 3}),
        *({"output": "other"}, {"overwrite": True}, {"runner": "FlinkRunner"}),
    ):
        assert identity_of(options(**same), ["1", "2"]).digest == IDENTITY.digest
    assert identity_of(options(), ["2", "1"]).digest == IDENTITY.digest
    assert identity_of(options(), ["1", "2", "3"]).digest != IDENTITY.digest


def test_public_options_have_no_credentials() -> None:
    public = public_options(
        options(input=("https://me:pw@host/a.wav?token=s3cret", "b.wav"), output="s3://k:s@b/o")
    )
    assert [text.partition("?")[0] for text in public["input"]] == ["https://host/a.wav", "b.wav"]
    assert "s3cret" not in str(public)
    assert public["output"] == "s3://b/o"


def test_identity_is_written_first_and_success_last(folder: RunFolder) -> None:
    folder.claim(IDENTITY, overwrite=False)
    assert names(folder) == {".whisper-beam/run.json"}
    assert folder.finished_report(IDENTITY) is None
    folder.finish(REPORT)
    assert names(folder) == {".whisper-beam/run.json", "run.json", "_SUCCESS"}
    assert folder.finished_report(IDENTITY) == REPORT
    assert folder.finished_report(identity_of(options(language="fr"), ["1", "2"])) is None


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
    folder.claim(IDENTITY, overwrite=False)
    assert names(folder) == {".whisper-beam/run.json", *mine}


def test_run_resumes_with_other_input_and_keeps_its_log_unless_overwritten(folder: RunFolder) -> None:
    folder.claim(IDENTITY, overwrite=False)
    log = ".whisper-beam/commits/0a.log"
    put(folder, log)
    put(folder, "parquet/part-00000-of-00001.parquet")
    more = identity_of(options(), ["1", "2", "3"])
    folder.claim(more, overwrite=False)
    assert names(folder) == {".whisper-beam/run.json", log}
    assert folder.log_folder.endswith("/.whisper-beam/commits")
    folder.claim(more, overwrite=True)
    assert names(folder) == {".whisper-beam/run.json"}


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (identity_of(options(input=("b.wav", "c.wav")), ["1", "2"]), "with --input a.wav, not b.wav,c.wav"),
        (
            identity_of(options(return_timestamps=False), ["1", "2"]),
            "with --return_timestamps True, not False",
        ),
    ],
)
def test_another_run_is_refused_unless_overwrite_is_set(
    other: RunIdentity, reason: str, folder: RunFolder
) -> None:
    folder.claim(IDENTITY, overwrite=False)
    put(folder, "parquet/part-00000-of-00001.parquet")
    with pytest.raises(RunFolderError, match=reason):
        folder.claim(other, overwrite=False)
    assert "parquet/part-00000-of-00001.parquet" in names(folder)
    folder.claim(other, overwrite=True)
    assert names(folder) == {".whisper-beam/run.json"}
    with pytest.raises(RunFolderError):
        folder.claim(IDENTITY, overwrite=False)


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
        folder.finish({**REPORT, "files": ["transcripts/part-00000-of-00002.parquet"]})
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
    assert names(folder) == {".whisper-beam/run.json", "transcripts/mine.txt"}
    folder.claim(IDENTITY, overwrite=False)  # it is this run's folder now


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


def test_run_with_unknown_options_is_refused(folder: RunFolder) -> None:
    identity = {"digest": "another", "schema_version": SCHEMA_VERSION, "inputs": IDENTITY.inputs}
    put(
        folder,
        ".whisper-beam/run.json",
        json.dumps({**identity, "options": {**IDENTITY.options, "unknown": 1}}).encode(),
    )
    with pytest.raises(RunFolderError, match="a run of another version of whisper-beam, which this version"):
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
    put(folder, f"srt/a.{ID}.srt")
    folder.finish({**REPORT, "recording_files": {"srt": 1, "vtt": 0}})
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
    assert names(folder) == {".whisper-beam/run.json"}


def test_identity_that_is_a_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / ".whisper-beam/run.json").mkdir(parents=True)
    with pytest.raises(RunFolderError, match=r"run\.json cannot be read \(Is a directory\); give another"):
        RunFolder(str(tmp_path)).finished_report(IDENTITY)


@pytest.mark.parametrize("content", [b"half {", b"[]", b"{}", b'{"files": []}'])
def test_run_with_a_damaged_report_is_not_finished(content: bytes, folder: RunFolder) -> None:
    folder.claim(IDENTITY, overwrite=False)
    folder.finish(REPORT)
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


def test_files_of_a_run_are_known_by_their_names(tmp_path: Path, out: Path) -> None:
    assert run(write_talk(tmp_path / "a.wav", 1), out, "--format", "jsonl,parquet,srt,txt") == 0
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert {"_SUCCESS", "run.json"} < names
    assert [name for name in names if not is_run_file(name)] == []
    assert is_run_file(f"jsonl/.part-00000-of-00001.jsonl.{'0' * 32}.partial")
    for name in (
        "",
        "a.wav",
        "jsonl",
        "jsonl/a.wav",
        "srt/a.wav",
        "sub/run.json",
        "sub/jsonl/part-00000-of-00001.jsonl",
    ):
        assert not is_run_file(name)
