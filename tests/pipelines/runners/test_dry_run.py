from __future__ import annotations

import re
from pathlib import Path

import fsspec
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from model.checkpoint import Checkpoint
from pipelines import run as run_module
from pipelines.options import TranscribeOptions
from pipelines.runners.dry_run import GraphSize, format_plan
from pipelines.transcribe import main
from tests.support.tiny_model import save_huggingface, tiny_weights
from tests.support.tone_backend import LOADED, TONES, run, write_talk
from transforms.core.types import AudioSource
from transforms.sources.manifests import ManifestShard

SMALL = GraphSize(1_000, 90)


@pytest.fixture
def tiny_folder(tmp_path: Path) -> Path:
    return save_huggingface(tmp_path / "tiny", tiny_weights())


DATAFLOW = ["--runner", "DataflowRunner", "--project", "p", "--region", "r", "--temp_location", "gs://b/tmp"]


def plan(*beam_args: str, graph: GraphSize = SMALL, **more: object) -> str:
    options = TranscribeOptions(**{"input": ("a.wav",), "output": "gs://b/out", **more})  # type: ignore[arg-type]
    return format_plan(options, PipelineOptions(list(beam_args)), [AudioSource("id", "a.wav")], graph)


def test_dry_run_prints_the_plan_and_writes_nothing(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "find_runner", None)  # a dry run needs no runner
    for name in ("a", "b"):
        write_talk(tmp_path / f"talks/{name}.wav", 1)
    (tmp_path / "talks/cover.jpg").touch()
    assert run(tmp_path / "talks", out, "--dry_run", "--runner", "PrismRunner") == 0
    printed = capsys.readouterr()
    assert "passed over in folders: 1 .jpg (not taken for audio)\n" in printed.out
    assert re.search(r"listed +2 work items, 2 recordings\n", printed.out)
    assert re.search(r"graph +[1-9]\d{4,} bytes, \d+ transforms\n", printed.out)
    assert printed.out.endswith("Nothing was run and nothing was written.\n")
    assert not printed.err
    assert not out.exists()
    assert not LOADED


def test_dry_run_for_dataflow_needs_neither_credentials_nor_packages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = write_talk(tmp_path / "a.wav", 1).as_uri()
    flags = ["--input", recording, "--output", "gs://b/out", "--dry_run=true", *DATAFLOW]
    image = ["--sdk_container_image", "r-docker.pkg.dev/p/images/whisper-beam:cuda"]
    assert main([*flags, *image, "--accelerator", "type:nvidia-l4;count:1", "--min_ram", "16GB"], TONES) == 0
    printed = capsys.readouterr().out
    assert "workers     image r-docker.pkg.dev/p/images/whisper-beam:cuda\n" in printed
    assert "model on    workers with type:nvidia-l4;count:1 16GB\n" in printed
    assert "WARNING" not in printed


def test_dry_run_says_what_memory_the_model_takes(
    tmp_path: Path,
    out: Path,
    tiny_folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a Whisper model, for each size of card, without its weights; a card of this machine is named too."""
    recording = write_talk(tmp_path / "a.wav", 1)
    monkeypatch.setattr(Checkpoint, "weights", lambda _: pytest.fail("weights are read"))
    flags = ["--input", str(recording), "--output", str(out), "--model", str(tiny_folder), "--dry_run"]
    assert main([*flags, "--beam_size", "1"]) == 0
    printed = capsys.readouterr().out
    assert re.search(
        r"^on this CPU encoder (and decoder )?(bfloat16|8-bit|float32) .* chosen for ", printed, re.M
    )
    assert re.search(r"^on a GPU    0\.\d GB \(weights 0\.0, cross-attention caches 0\.", printed, re.M)
    assert re.search(r"^rows        T4 16 GB: 64, .*H200 141 GB: 64$", printed, re.M)
    assert main([*flags, "--batch_size", "16", "--quantization", "a8"]) == 0
    printed = capsys.readouterr().out
    assert "for batches of 16 rows\n" in printed
    assert (
        "on this CPU encoder and decoder 8-bit weights and activations (a8, as it was asked for)\n" in printed
    )
    assert "rows        T4" not in printed


def test_run_is_possible_after_a_dry_run(tmp_path: Path, out: Path) -> None:
    recording = write_talk(tmp_path / "a.wav", 1)
    assert run(recording, out, "--dry_run") == 0
    assert run(recording, out) == 0
    assert (out / "_SUCCESS").exists()


def test_options_are_checked(tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = write_talk(tmp_path / "a.wav", 1)
    assert run(recording, out, "--dry_run", "--model", "nobody/knows") == 1
    assert "no model 'nobody/knows'" in capsys.readouterr().err


def test_number_of_recordings_may_be_unknown() -> None:
    shard = ManifestShard("memory://list.jsonl", 1, 0, 10, 3, "d")
    options = TranscribeOptions(input=("list.jsonl",), output="out")
    assert "1 work items, 3 recordings" in format_plan(options, PipelineOptions([]), [shard], SMALL)
    with fsspec.open("memory://dry/a.tar", "wb") as file:
        file.write(b"\0" * 1024)
    work = run_module.list_work(TranscribeOptions(input=("memory://dry/a.tar",), output="out"))
    assert "1 work items, unknown number of recordings" in format_plan(
        options, PipelineOptions([]), work, SMALL
    )


def test_files_to_be_staged(tmp_path: Path) -> None:
    setup, packages = tmp_path / "setup.py", tmp_path / "more.tar.gz"
    setup.touch()
    packages.touch()
    text = plan("--setup_file", str(setup), "--extra_package", str(packages))
    assert f"workers     installs the sdist of {setup}, installs {packages}\n" in text
    assert "nothing is staged" in plan()
    assert "model on" not in plan(min_ram="16GB")  # the local runner ignores it
    with pytest.raises(ValueError, match=r"--setup_file /no/setup\.py: there is no such file"):
        plan("--setup_file", "/no/setup.py")


def test_warnings_for_jobs_that_dataflow_would_refuse(tmp_path: Path) -> None:
    image = ("--sdk_container_image", "image")
    large = GraphSize(10_000_001, 90)
    assert "WARNING" not in plan(*image, runner="dataflow")
    assert "WARNING: Dataflow accepts graphs of up to 10000000 bytes. List the recordings in a" in plan(
        *image, graph=large, runner="dataflow"
    )
    assert "WARNING" not in plan(graph=large, runner="FlinkRunner")
    assert "WARNING: Dataflow's own image does not contain whisper-beam" in plan(runner="DataflowRunner")


def test_credentials_are_not_printed() -> None:
    text = plan(output="https://user:secret@host/out?token=secret")
    assert "secret" not in text
