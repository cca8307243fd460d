from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import apache_beam as beam
import fsspec
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from transforms.core.uris import audio_id_of
from transforms.dofns.write import WriteRecordingFiles
from transforms.writing.filenames import recording_file_pattern
from transforms.writing.recording_files import write_recording_files
from transforms.writing.subtitles import RENDERERS

FORMATS = tuple(RENDERERS)
Row = dict[str, Any]


def row(uri: str, text: str = "said") -> Row:
    segments = [{"start": 0.0, "end": 1.0, "text": f" {text}"}]
    return {"audio_id": audio_id_of(uri), "uri": uri, "segments": segments}


def run(rows: list[Row], folder: Path | str, *args: str) -> None:
    with beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(list(args))) as pipeline:
        _ = pipeline | beam.Create(rows) | WriteRecordingFiles(str(folder), FORMATS)


def test_each_recording_has_one_file_for_each_format(tmp_path: Path) -> None:
    run([row("/talks/a.wav"), row("/talks/b.wav")], tmp_path)
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*"))
    ids = {name: audio_id_of(f"/talks/{name}.wav") for name in "ab"}
    assert names == sorted(f"{kind}/{name}.{ids[name]}.{kind}" for name in "ab" for kind in FORMATS)
    assert (tmp_path / f"txt/a.{ids['a']}.txt").read_bytes() == b"said\n"


HOSTILE = [
    *("/in/../../../../escaped.wav", "../../escaped.wav", "/etc/passwd", "//etc/../passwd"),
    *("/in/..", "/in/.", "/in/...", "..", "/", "C:\\Windows\\x.wav", "https://host/%2e%2e%2f%2e%2e%2fx.wav"),
    *("/in/new\nline.wav", "/in/nul\0.wav", f"/in/{'x' * 300}.wav", f"/in/{'語' * 300}.wav", "/in/CON.wav"),
    *("/in/caf\u00e9.wav", "/in/cafe\u0301.wav", "/in/CAFE\u0301.wav"),
    *("/one/same.wav", "/two/same.wav", "/two/same.mp3", "/two/SAME.wav", "/two/same .wav"),
]


def test_hostile_names_neither_leave_the_folder_nor_overwrite_files(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "er" / "out"
    run([row(uri, text=repr(uri)) for uri in HOSTILE], out)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.parent for path in files} == {out / name for name in FORMATS}
    for name in FORMATS:
        found = list((out / name).iterdir())
        assert len(found) == len(HOSTILE)
        assert all(recording_file_pattern(name).fullmatch(path.name) for path in found)
    texts = {path.read_text("utf-8") for path in (out / "txt").iterdir()}
    assert texts == {f"{uri!r}\n" for uri in HOSTILE}


def test_bytes_do_not_depend_on_row_order_or_retried_bundles(tmp_path: Path) -> None:
    rows = [row(uri) for uri in HOSTILE]
    run(rows, tmp_path / "a")
    random.Random(0).shuffle(rows)
    run(rows, tmp_path / "b", "--direct_runner_bundle_repeat=1")
    a, b = (
        {path.relative_to(tmp_path / out): path.read_bytes() for path in (tmp_path / out).rglob("*.*")}
        for out in "ab"
    )
    assert a == b
    assert len(a) == len(HOSTILE) * len(FORMATS)


def test_files_can_be_written_to_any_filesystem(tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}/out/"
    (written,) = write_recording_files(row("/talks/a.wav"), url, ("srt",))
    with fsspec.open(written) as file:
        assert file.read().startswith(b"1\n00:00:00,000")
