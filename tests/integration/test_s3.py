"""Runs from a bucket to a bucket, through a local server that implements the S3 protocol."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest
import requests
from moto.server import ThreadedMotoServer

from tests.support.tone_backend import LOADED, REQUESTS, expected_text, run, write_talk


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """File system of a server with a bucket named `corpus`."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret that is nowhere")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    system = fsspec.filesystem("s3", skip_instance_cache=True)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    system.mkdir("corpus")
    yield system
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    requests.post(
        f"http://127.0.0.1:{port}/moto-api/reset", timeout=10
    )  # the server's state is global to the process
    server.stop()


def put_talk(bucket: Any, tmp_path: Path, name: str, seconds: int) -> None:  # noqa: ANN401  # fsspec is untyped
    bucket.put_file(str(write_talk(tmp_path / name, seconds)), f"corpus/talks/{name}")


def rows(bucket: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    content = bucket.cat_file("corpus/out/parquet/part-00000-of-00001.parquet")
    found: list[dict[str, Any]] = pq.read_table(io.BytesIO(content)).to_pylist()
    return found


def test_glob_is_transcribed_to_parquet_and_the_run_resumes(bucket: Any, tmp_path: Path) -> None:  # noqa: ANN401
    for number in range(3):
        put_talk(bucket, tmp_path, f"{number}.wav", 2 + number)
    bucket.pipe_file("corpus/talks/notes.txt", b"no audio")
    arguments = ("s3://corpus/talks/*.wav", "s3://corpus/out", "--format", "parquet,srt")
    assert run(*arguments) == 0
    assert [(row["uri"], row["text"]) for row in rows(bucket)] == [
        (f"s3://corpus/talks/{number}.wav", expected_text("en", 2 + number)) for number in range(3)
    ]
    assert len(bucket.ls("corpus/out/srt")) == 3
    whole = bucket.cat_file("corpus/out/parquet/part-00000-of-00001.parquet")

    LOADED.clear()
    assert run(*arguments) == 0  # finished
    bucket.rm_file("corpus/out/_SUCCESS")
    assert run(*arguments) == 0  # all is done, but the run is not finished
    assert LOADED == []
    bucket.invalidate_cache()
    assert bucket.cat_file("corpus/out/parquet/part-00000-of-00001.parquet") == whole

    put_talk(bucket, tmp_path, "3.wav", 9)
    REQUESTS.clear()
    assert run(*arguments) == 0
    assert [len(request.samples) // 16_000 for request in REQUESTS] == [9]
    bucket.invalidate_cache()
    assert len(rows(bucket)) == 4
    assert json.loads(bucket.cat_file("corpus/out/run.json"))["counts"]["done_before"] == 3
    for path in bucket.find("corpus/out"):
        assert b"a secret that is nowhere" not in bucket.cat_file(path), path


def test_missing_bucket_is_reported(
    bucket: Any,  # noqa: ANN401
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    put_talk(bucket, tmp_path, "a.wav", 2)
    assert run("s3://corpus/talks/a.wav", "s3://nowhere/out") == 1
    assert "s3://nowhere/out cannot be written" in capsys.readouterr().err
    assert run("s3://nowhere/*.wav", "s3://corpus/out") == 1
    assert "no recordings match" in capsys.readouterr().err
