from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipelines.options import TranscribeOptions
from pipelines.output.run_folder import RunFolder, RunFolderError, RunIdentity, identity_of, public_options
from transforms.writing.atomic_files import published


def options(**changed: Any) -> TranscribeOptions:  # noqa: ANN401  # of whatever type the option is
    return TranscribeOptions(**{"input": ("a.wav",), "output": "out", **changed})


ID = "0123456789abcdef"
REPORT = {"counts": {}, "options": {}, "files": []}
IDENTITY = identity_of(options(), ["1", "2"])


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> RunFolder:
    return RunFolder(str(tmp_path / "out") if request.param == "local" else f"memory://{tmp_path.name}/out/")


def put(folder: RunFolder, name: str, content: bytes = b"x") -> None:
    with published(f"{folder.url.rstrip('/')}/{name}") as file:
        file.write(content)


def names(folder: RunFolder) -> set[str]:
    fs, root = fsspec.core.url_to_fs(folder.url)
    root = root.rstrip("/")
    return {name.removeprefix(f"{root}/") for name in fs.find(root)}


def test_identity_knows_what_shapes_the_output_and_no_more() -> None:
    for changed in ({"language": "fr"}, {"num_shards": 2}, {"stride_length_s": 4.0}, {"model": "other"}):
        assert identity_of(options(**changed), ["1", "2"]).digest != IDENTITY.digest
    for same in (
        *({"batch_size": 3}, {"parallel_batches": 3}),
        *({"output": "other"}, {"overwrite": True}, {"runner": "FlinkRunner"}),
    ):
        assert identity_of(options(**same), ["1", "2"]).digest == IDENTITY.digest
    assert identity_of(options(), ["2", "1"]).digest == IDENTITY.digest
    assert identity_of(options(), ["1", "2", "3"]).digest != IDENTITY.digest


def test_options_are_told_without_credentials() -> None:
    told = public_options(
        options(input=("https://me:pw@host/a.wav?token=s3cret", "b.wav"), output="s3://k:s@b/o")
    )
    assert told["input"] == ["https://host/a.wav", "b.wav"]
    assert told["output"] == "s3://b/o"


def test_a_new_folder_is_signed_first_and_finished_last(folder: RunFolder) -> None:
    folder.claim(IDENTITY, overwrite=False)
    assert names(folder) == {".whisper-beam/run.json"}
    assert folder.finished_report(IDENTITY) is None
    folder.finish(REPORT)
    assert names(folder) == {".whisper-beam/run.json", "run.json", "_SUCCESS"}
    assert folder.finished_report(IDENTITY) == REPORT
    assert folder.finished_report(identity_of(options(language="fr"), ["1", "2"])) is None


def test_parts_are_listed_and_leftovers_of_a_killed_run_are_not(folder: RunFolder) -> None:
    assert folder.parts() == []
    put(folder, "transcripts/part-00001-of-00002.parquet")
    put(folder, "transcripts/part-00000-of-00002.parquet")
    put(folder, "failures/part-00000-of-00001.jsonl")
    put(folder, f"transcripts/.part-00000-of-00002.parquet.{'0' * 32}.partial")
    put(folder, "transcripts/mine.txt")
    assert folder.parts() == [
        "failures/part-00000-of-00001.jsonl",
        "transcripts/part-00000-of-00002.parquet",
        "transcripts/part-00001-of-00002.parquet",
    ]


def test_an_unfinished_run_is_cleared_of_its_own_files_alone(folder: RunFolder) -> None:
    folder.claim(IDENTITY, overwrite=False)
    put(folder, "transcripts/part-00000-of-00001.parquet")
    put(folder, f"transcripts/.part-00000-of-00001.jsonl.{'a' * 32}.partial")
    for name in ("run.json", "report.html", "progress.json", f".progress.json.{'b' * 32}.partial"):
        put(folder, name, b"{}")
    put(folder, f"srt/a talk.{ID}.srt")
    put(folder, f"srt/.a talk.{ID}.srt.{'c' * 32}.partial")
    put(folder, f"vtt/a.b.{ID}.vtt")
    mine = {
        *("transcripts/mine.parquet", "srt/mine.srt", f"srt/a.{ID}.vtt", f"srt/sub/a.{ID}.srt", "txt/a.txt"),
        *(f"other/a.{ID}.srt", "notes.html", ".other.json.partial"),
    }
    for name in mine:
        put(folder, name)
    folder.claim(IDENTITY, overwrite=False)
    assert names(folder) == {".whisper-beam/run.json", *mine}


def test_a_run_goes_on_over_other_recordings_and_keeps_its_log_until_it_is_overwritten(
    folder: RunFolder,
) -> None:
    folder.claim(IDENTITY, overwrite=False)
    log = ".whisper-beam/commits/0a.log"
    put(folder, log)
    put(folder, "transcripts/part-00000-of-00001.parquet")
    more = identity_of(options(), ["1", "2", "3"])
    folder.claim(more, overwrite=False)
    assert names(folder) == {".whisper-beam/run.json", log}
    assert folder.log_folder.endswith("/.whisper-beam/commits")
    folder.claim(more, overwrite=True)
    assert names(folder) == {".whisper-beam/run.json"}


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (identity_of(options(input=("b.wav", "c.wav")), ["1", "2"]), "with --input a.wav, not b.wav,c.wav"),
        (
            identity_of(options(return_timestamps=False), ["1", "2"]),
            "with --return_timestamps True, not False",
        ),
    ],
)
def test_another_run_is_refused_unless_it_may_be_overwritten(
    other: RunIdentity, why: str, folder: RunFolder
) -> None:
    folder.claim(IDENTITY, overwrite=False)
    put(folder, "transcripts/part-00000-of-00001.parquet")
    with pytest.raises(RunFolderError, match=why):
        folder.claim(other, overwrite=False)
    assert "transcripts/part-00000-of-00001.parquet" in names(folder)
    folder.claim(other, overwrite=True)
    assert names(folder) == {".whisper-beam/run.json"}
    with pytest.raises(RunFolderError):
        folder.claim(IDENTITY, overwrite=False)


def test_a_run_of_another_version_is_refused(folder: RunFolder) -> None:
    folder.claim(IDENTITY, overwrite=False)
    signed = {"digest": "another", "options": dict(IDENTITY.options), "inputs": IDENTITY.inputs}
    put(folder, ".whisper-beam/run.json", json.dumps(signed).encode())
    with pytest.raises(RunFolderError, match="of another version"):
        folder.claim(IDENTITY, overwrite=False)


@pytest.mark.parametrize(
    "name",
    [
        *("transcripts/a.txt", "failures/a.txt", "run.json", "_SUCCESS", "report.html", "progress.json"),
        f"srt/a.{ID}.srt",
    ],
)
def test_what_no_run_wrote_is_never_claimed(name: str, folder: RunFolder) -> None:
    put(folder, name)
    with pytest.raises(RunFolderError, match="did not write"):
        folder.claim(IDENTITY, overwrite=True)
    assert names(folder) == {name}


def test_other_files_are_no_hindrance(folder: RunFolder) -> None:
    for name in ("talks/a.wav", "srt/a.srt"):
        put(folder, name)
    folder.claim(IDENTITY, overwrite=False)
    assert names(folder) == {"talks/a.wav", "srt/a.srt", ".whisper-beam/run.json"}


def test_a_run_whose_files_of_recordings_are_gone_is_not_finished(folder: RunFolder) -> None:
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
def test_a_damaged_signature_is_told_and_may_be_overwritten(content: bytes, folder: RunFolder) -> None:
    put(folder, ".whisper-beam/run.json", content)
    put(folder, "_SUCCESS")
    for use in (folder.finished_report, lambda identity: folder.claim(identity, overwrite=False)):
        with pytest.raises(RunFolderError, match=r"whisper-beam/run\.json is .*or --overwrite to remove"):
            use(IDENTITY)
    assert names(folder) == {".whisper-beam/run.json", "_SUCCESS"}
    folder.claim(IDENTITY, overwrite=True)
    folder.claim(IDENTITY, overwrite=False)
    assert names(folder) == {".whisper-beam/run.json"}


def test_a_signature_that_is_no_file_is_told(tmp_path: Path) -> None:
    (tmp_path / ".whisper-beam/run.json").mkdir(parents=True)
    with pytest.raises(RunFolderError, match=r"run\.json cannot be read \(Is a directory\); give another"):
        RunFolder(str(tmp_path)).finished_report(IDENTITY)


@pytest.mark.parametrize("content", [b"half {", b"[]", b"{}", b'{"files": []}'])
def test_a_report_that_is_damaged_is_none(content: bytes, folder: RunFolder) -> None:
    folder.claim(IDENTITY, overwrite=False)
    folder.finish(REPORT)
    put(folder, "run.json", content)
    assert folder.finished_report(IDENTITY) is None
    folder.claim(IDENTITY, overwrite=False)


def test_a_log_of_unknown_options_is_not_gone_on_with(folder: RunFolder) -> None:
    put(folder, ".whisper-beam/commits/0a.log")
    with pytest.raises(RunFolderError, match=r"no \.whisper-beam/run\.json .*or --overwrite to remove"):
        folder.claim(IDENTITY, overwrite=False)
    assert names(folder) == {".whisper-beam/commits/0a.log"}
    folder.claim(IDENTITY, overwrite=True)
    assert names(folder) == {".whisper-beam/run.json"}


def test_a_folder_among_the_log_is_left_when_that_is_removed(tmp_path: Path) -> None:
    mine = tmp_path / ".whisper-beam/commits/mine.log"
    mine.mkdir(parents=True)
    folder = RunFolder(str(tmp_path))
    folder.claim(IDENTITY, overwrite=True)
    folder.claim(IDENTITY, overwrite=True)
    assert mine.is_dir()


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match=r"file/out cannot be written: .*Not a directory"):
        RunFolder(str(tmp_path / "file/out")).claim(IDENTITY, overwrite=False)
    with pytest.raises(RunFolderError, match="nowhere://x cannot be opened: Protocol not known"):
        RunFolder("nowhere://x").claim(IDENTITY, overwrite=False)
