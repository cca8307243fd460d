from __future__ import annotations

import re
import shlex
import sys
from itertools import pairwise
from pathlib import Path
from string import Template
from typing import Any

import fsspec
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.runner import PipelineResult, PipelineState

from pipelines import run as run_module
from pipelines.command_line import check_beam_flags, parse
from pipelines.flex_template import template_metadata
from pipelines.options import OptionsError, TranscribeOptions
from pipelines.runners.dataflow import check_dataflow, is_dataflow
from tests.support.tone_backend import failures, rows, run, write_talk

PAGE = Path(__file__).parents[3] / "docs" / "dataflow.md"
VARIABLES = {"PROJECT": "my-project", "REGION": "us-central1", "BUCKET": "gs://b", "IMAGE": "registry/image"}
WORKER_ACCELERATOR = "--dataflow_service_options=worker_accelerator=type:nvidia-l4;count:1"


def check(*beam_args: str, **more: Any) -> None:  # noqa: ANN401
    given = {"input": ("gs://b/a.wav",), "output": "gs://b/out", "runner": "DataflowRunner", **more}
    check_dataflow(TranscribeOptions(**given), PipelineOptions(list(beam_args)))


@pytest.mark.parametrize("name", ["DataflowRunner", "dataflowrunner", "Dataflow", "dataflow"])
def test_names_of_dataflow(name: str) -> None:
    assert is_dataflow(name)


@pytest.mark.parametrize("name", ["DirectRunner", "FlinkRunner", "my.DataflowRunner2"])
def test_names_of_other_runners(name: str) -> None:
    assert not is_dataflow(name)
    check(runner=name, output="out")


@pytest.mark.parametrize(
    ("beam_args", "more", "message"),
    [
        ((), {"output": "out"}, "--output out: a path on this machine"),
        ((), {"input": ("gs://b/a.wav", "b.wav")}, "--input b.wav: a path on this machine"),
        (
            ("--template_location", "gs://b/job"),
            {"runner": "DirectRunner"},
            "--template_location needs --runner DataflowRunner, not DirectRunner",
        ),
        (
            ("--template_location", "gs://b/job"),
            {"push_to_hub": "owner/name"},
            "--push_to_hub uploads the output of a finished run",
        ),
        (
            (WORKER_ACCELERATOR,),
            {"accelerator": "type:nvidia-l4;count:1"},
            "Dataflow accepts only one of the two",
        ),
    ],
)
def test_unusable_options_are_refused(beam_args: tuple[str, ...], more: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionsError, match=re.escape(message)):
        check(*beam_args, **more)


def test_usable_options_are_accepted() -> None:
    check()
    check(accelerator="type:nvidia-l4;count:1")
    check(WORKER_ACCELERATOR)
    check("--dataflow_service_options=enable_prime", accelerator="type:nvidia-l4;count:1")
    check("--template_location", "gs://b/job")


def test_local_output_is_refused_before_the_run_starts(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = write_talk(tmp_path / "a.wav", 1)
    assert run(recording, out, "--runner", "DataflowRunner") == 1
    assert "which Dataflow's workers cannot read" in capsys.readouterr().err
    assert not out.exists()


def test_missing_packages_are_reported_before_the_run_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "apache_beam.runners.dataflow.internal.apiclient", None)
    recording = write_talk(tmp_path / "a.wav", 1)
    assert run(recording.as_uri(), "memory://dataflow/out", "--runner", "DataflowRunner") == 1
    assert "install whisper-beam[dataflow]" in capsys.readouterr().err
    assert not fsspec.filesystem("memory").exists("/dataflow/out")


class LikeDataflow(FnApiRunner):
    """Runs the pipeline, and returns a result without a job, as Dataflow does for a template."""

    def run_pipeline(self, pipeline: Any, options: PipelineOptions) -> PipelineResult:  # noqa: ANN401
        super().run_pipeline(pipeline, options).wait_until_finish()
        return WithoutJob(PipelineState.DONE)


class WithoutJob(PipelineResult):
    def wait_until_finish(self, duration: Any = None) -> str:  # noqa: ANN401
        return PipelineState.DONE

    def metrics(self) -> Any:  # noqa: ANN401
        raise OSError("Failed to get the Dataflow job id.")


def test_same_command_finishes_the_run_of_a_template(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_talk(tmp_path / "talks/a.wav", 40)
    (tmp_path / "talks/broken.wav").write_bytes(b"nonsense")
    monkeypatch.setattr(run_module, "find_runner", lambda *_: LikeDataflow())
    monkeypatch.setattr(run_module, "check_installed", lambda _: None)
    flags = ["--runner", "DataflowRunner", "--template_location", str(tmp_path / "job_object")]
    flags += ["--accelerator", "type:nvidia-l4;count:1", "--min_ram", "16GB"]  # these do not change rows
    url = out.as_uri()
    talks = (tmp_path / "talks").as_uri()
    assert run(talks, url, *flags) == 0
    assert "The job was submitted" in capsys.readouterr().err
    written = rows(out)
    assert len(written) == 1
    assert not {"_SUCCESS", "run.json", "report.html", "progress.json"} & {
        path.name for path in out.iterdir()
    }

    monkeypatch.undo()
    assert run(talks, url) == 2  # one recording is broken, which this command reports
    assert (out / "_SUCCESS").exists()
    assert rows(out) == written
    assert [failure["kind"] for failure in failures(out)] != []
    assert '"done_before": 2' in (out / "run.json").read_text()

    write_talk(tmp_path / "talks/b.wav", 3)
    monkeypatch.setattr(run_module, "find_runner", lambda *_: LikeDataflow())
    monkeypatch.setattr(run_module, "check_installed", lambda _: None)
    assert run(talks, url, *flags) == 0
    assert len(rows(out)) == 2
    assert not (out / "_SUCCESS").exists()  # its rows were replaced


def commands(program: str) -> list[list[str]]:
    """Returns the arguments of each command on the page."""
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    text = Template("\n".join(blocks).replace("\\\n", " ")).substitute(VARIABLES)
    lines = [line for line in text.splitlines() if line.startswith(program)]
    return [shlex.split(line.removeprefix(program)) for line in lines]


def test_documented_commands_are_valid() -> None:
    found = commands("whisper-beam transcribe")
    assert len(found) == 5
    for argv in found:
        options, rest = parse(argv)
        beam_options = PipelineOptions(rest)
        known = beam_options.get_all_options()
        unknown = beam_options.get_all_options(retain_unknown_options=True).keys() - known.keys()
        check_beam_flags(rest, sorted(known), sorted(unknown))
        check_dataflow(options, beam_options)


def test_documented_template_parameters_exist() -> None:
    (argv,) = commands("gcloud dataflow flex-template run")
    given = [after for before, after in pairwise(argv) if before == "--parameters"]
    names = {one.partition("=")[0] for one in given}
    parameters = template_metadata()["parameters"]
    assert names <= {one["name"] for one in parameters}
    assert {one["name"] for one in parameters if not one["isOptional"]} <= names
