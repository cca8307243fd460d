"""Whole runs on datasets, archives and manifests."""

from __future__ import annotations

import json
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.transcribe import main
from tests.support.tone_backend import (
    LANGUAGES_REQUESTED,
    REQUESTS,
    TONES,
    expected_text,
    failures,
    rows,
    run,
    write_talk,
)


def test_parquet_dataset_is_transcribed_with_its_references(tmp_path: Path, out: Path) -> None:
    wavs = [
        write_talk(tmp_path / "wavs/a.wav", 3).read_bytes(),
        write_talk(tmp_path / "wavs/b.wav", 80, french_from=76).read_bytes(),
        b"nothing to hear",
    ]
    audio = [{"bytes": wav, "path": f"{n}.wav"} for n, wav in enumerate(wavs)]
    (tmp_path / "data").mkdir()
    table = pa.table({"sound": audio, "said": ["three tones", "eighty tones", "nothing"]})
    pq.write_table(table, tmp_path / "data/train.parquet")
    flags = ["--dataset_split=train", "--audio_column=sound", "--text_column=said"]
    assert main(["--dataset", str(tmp_path / "data"), *flags, "--output", str(out)], TONES) == 2
    found = {row["reference"]: (row["language"], row["text"]) for row in rows(out)}
    assert found == {
        "three tones": ("en", expected_text("en", 3)),
        "eighty tones": ("en", expected_text("en", 80)),
    }
    (failure,) = failures(out)
    assert failure["uri"].startswith("dataset://")
    assert json.loads((out / "run.json").read_text())["counts"]["recordings"] == 3


def test_file_name_that_is_invalid_unicode_is_transcribed(tmp_path: Path) -> None:
    source = write_talk(tmp_path / "a.wav", 2).rename(Path(f"{tmp_path}/bad\udcff.wav"))
    assert run(source, tmp_path / "out") == 0
    (row,) = rows(tmp_path / "out")
    assert row["uri"].endswith("bad\\udcff.wav")


def test_prompts_and_hotwords_reach_the_model(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "a.wav", 2)
    write_talk(tmp_path / "b.wav", 2)
    manifest = tmp_path / "talks.csv"
    manifest.write_text("path,initial_prompt,hotwords\na.wav,Dear sir,Caxton\nb.wav,,\n")
    assert run(manifest, out, "--initial_prompt", "So,", "--hotwords", "Mainz") == 0
    assert {(request.prompt, request.hotwords) for request in REQUESTS} == {
        ("Dear sir", "Caxton"),
        ("So,", "Mainz"),
    }


def test_archives_are_read_in_place(tmp_path: Path, out: Path) -> None:
    talk = write_talk(tmp_path / "wavs/a.wav", 3)
    mixed = write_talk(tmp_path / "wavs/b.wav", 80, french_from=76)
    (tmp_path / "talks").mkdir()
    with zipfile.ZipFile(tmp_path / "talks/one.zip", "w") as archive:
        archive.write(talk, "../../up.wav")
        archive.writestr("bad.wav", b"<html>")
    with tarfile.open(tmp_path / "talks/two.tar.gz", "w:gz") as tar:
        tar.add(mixed, "b.wav")
        (tmp_path / "b.json").write_text('{"text": "eighty tones", "speaker": "x"}')
        tar.add(tmp_path / "b.json", "b.json")
    assert run(tmp_path / "talks", out) == 2
    up, two = rows(out)
    assert (up["uri"], up["text"]) == (f"{tmp_path}/talks/one.zip//../../up.wav", expected_text("en", 3))
    assert (two["uri"], two["text"]) == (f"{tmp_path}/talks/two.tar.gz//b.wav", expected_text("en", 80))
    assert (two["reference"], json.loads(two["metadata"])) == ("eighty tones", {"speaker": "x"})
    assert [row["uri"] for row in failures(out)] == [f"{tmp_path}/talks/one.zip//bad.wav"]
    counts = json.loads((out / "run.json").read_text())["counts"]
    assert (counts["recordings"], counts["windows_redone"]) == (3, 1)
    assert {path.name for path in (tmp_path / "talks").iterdir()} == {"one.zip", "two.tar.gz"}


def test_damaged_archives_are_failures_and_others_are_transcribed(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "talks/a.wav", 2)
    with zipfile.ZipFile(tmp_path / "talks/bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.wav", bytes(40 << 20))
    (tmp_path / "talks/cut.tar").write_bytes(b"cut")
    assert run(tmp_path / "talks", out) == 2
    assert [row["text"] for row in rows(out)] == ["en0 en1"]
    assert {(row["uri"].rsplit("/", 1)[-1], row["kind"]) for row in failures(out)} == {
        ("bomb.wav", "too_large"), ("cut.tar", "corrupt"),
    }  # fmt: skip


def test_excerpts_of_a_file_have_times_of_the_file(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "a.wav", 60)
    manifest = tmp_path / "talks.csv"
    manifest.write_text(
        "path,start,end,who\na.wav,10,14,x\na.wav,50,,y\na.wav,0,2,z\na.wav,59,99,\na.wav,70,,\n"
    )
    assert run(manifest, out) == 2
    found = {row["uri"].partition("#")[2]: row for row in rows(out)}
    assert set(found) == {"t=10,14", "t=50", "t=,2", "t=59,99"}
    part = found["t=10,14"]
    assert (part["duration_s"], part["text"]) == (4.0, "en10 en11 en12 en13")
    assert [segment["start"] for segment in part["segments"]] == pytest.approx([10, 11, 12, 13], abs=0.01)
    assert json.loads(part["metadata"]) == {"who": "x"}
    assert found["t=50"]["text"] == " ".join(f"en{second}" for second in range(50, 60))
    kinds = {row["uri"].partition("#")[2]: (row["kind"], row["message"]) for row in failures(out)}
    assert kinds["t=59,99"][0] == "truncated"
    assert "the requested part ends at 99 s, the file at 60 s" in kinds["t=59,99"][1]
    assert kinds["t=70"] == ("empty", "the requested part begins at 70 s, the file ends at 60 s")


def test_invalid_lines_are_failures_and_duplicates_are_one_recording(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "a.wav", 2)
    first, second = tmp_path / "one.jsonl", tmp_path / "two.txt"
    first.write_text('{"path": "a.wav"}\nbroken\n{"path": "a.wav"}\n')
    second.write_text("a.wav\n")
    assert main(["--input", str(first), str(second), "--output", str(out)], TONES) == 2
    assert [row["text"] for row in rows(out)] == ["en0 en1"]
    (failure,) = failures(out)
    assert (failure["uri"], failure["stage"], failure["kind"]) == (str(first), "list", "bad_line")
    assert f"{first}:2: not JSON" in failure["message"]
    counts = json.loads((out / "run.json").read_text())["counts"]
    assert (counts["recordings"], counts["duplicates"], counts["not_transcribed"]) == (2, 2, 1)


def test_language_of_a_recording_takes_precedence_over_the_vote(tmp_path: Path, out: Path) -> None:
    write_talk(tmp_path / "mixed.wav", 80, french_from=30)
    write_talk(tmp_path / "other.wav", 2)
    write_talk(tmp_path / "known.wav", 2)
    lines = [("mixed.wav", "French"), ("other.wav", "ja"), ("known.wav", "")]
    text = "".join(json.dumps({"path": name, "language": code}) + "\n" for name, code in lines)
    (tmp_path / "m.jsonl").write_text(text)
    assert run(tmp_path / "m.jsonl", out) == 2
    known, mixed = rows(out)
    assert (mixed["language"], mixed["language_probs"], mixed["text"]) == ("fr", [], expected_text("fr", 80))
    assert known["language"] == "en"
    assert sorted(LANGUAGES_REQUESTED, key=str) == [None, "fr", "fr", "fr"]
    (failure,) = failures(out)
    assert (failure["kind"], failure["uri"]) == ("other_language", str(tmp_path / "other.wav"))
    assert json.loads((out / "run.json").read_text())["counts"]["windows_redone"] == 0


def test_what_is_in_a_folder_is_transcribed_or_told(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    talks = tmp_path / "talks"
    for name in ("a.wav", "longname.WAVE", "voicemail", "elsewhere/linked.wav"):
        write_talk(tmp_path / "x.wav", 2).rename(name_in(talks, name))
    name_in(talks, "elsewhere").rename(tmp_path / "elsewhere")
    (talks / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("cover.jpg", "b.JPG", "notes.docx", ".hidden"):
        (talks / name).write_bytes(b"x")
    with zipfile.ZipFile(talks / "more.zip", "w") as archive:
        archive.write(talks / "a.wav", "in.wav")
        archive.writestr("cover.png", b"x")
    assert run(talks, out) == 0
    assert [row["uri"].removeprefix(f"{talks}/") for row in rows(out)] == [
        "a.wav", "link/linked.wav", "longname.WAVE", "more.zip//in.wav", "voicemail",
    ]  # fmt: skip
    printed = capsys.readouterr().out
    assert "passed over in folders: 2 .jpg, 1 .docx, 1 hidden (not taken for audio)\n" in printed
    assert "passed over in archives: 1 .png (not taken for audio)\n" in printed
    counts = json.loads((out / "run.json").read_text())["counts"]
    assert counts["passed_over"] == {
        "folders": {".docx": 1, ".jpg": 2, "hidden": 1}, "archives": {".png": 1},
    }  # fmt: skip


def name_in(folder: Path, name: str) -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    return folder / name


def test_output_within_the_input_is_not_transcribed(tmp_path: Path) -> None:
    write_talk(tmp_path / "talks/a.wav", 2)
    out = tmp_path / "talks/out"
    for flags in ([], ["--overwrite"]):
        assert run(tmp_path / "talks/**/*", out, *flags) == 0
        assert [row["uri"] for row in rows(out)] == [f"{tmp_path}/talks/a.wav"]
    assert run(tmp_path / "talks", tmp_path / "talks") == 0
    write_talk(tmp_path / "talks/b.wav", 2)
    (tmp_path / "talks/_SUCCESS").unlink()
    assert run(tmp_path / "talks/*", tmp_path / "talks", "--overwrite") == 0
    assert len(rows(tmp_path / "talks")) == 2
