"""Choice of the runner, and fetching its requirements with fake programs in place of java, mvn and go."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PrismRunnerOptions,
)
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.runner import PipelineResult
from apache_beam.version import __version__ as beam_version

from pipelines.runners.external_programs import RunnerError
from pipelines.runners.find_runner import (
    canonical,
    find_runner,
    in_this_process,
    name_job,
    supervised,
)
from tests.support.fake_programs import GO, JAVA_17, MVN, Program


def options(*flags: str) -> PipelineOptions:
    return PipelineOptions(list(flags))


@pytest.mark.parametrize("name", ["FlinkRunner", "flinkrunner", "Flink", "flink"])
def test_names_are_resolved_as_beam_does(name: str) -> None:
    assert canonical(name) == "FlinkRunner"
    assert canonical("DataflowRunner") == "DataflowRunner"


def test_direct_is_the_in_process_runner() -> None:
    assert isinstance(find_runner("DirectRunner", options()), FnApiRunner)
    assert isinstance(find_runner("direct", options()), FnApiRunner)
    assert find_runner("DataflowRunner", options()) == "DataflowRunner"


def test_workers_in_threads_are_in_this_process() -> None:
    assert in_this_process("DirectRunner", options())
    assert in_this_process("DirectRunner", options("--direct_running_mode=multi_threading"))
    assert not in_this_process("DirectRunner", options("--direct_running_mode=multi_processing"))
    assert in_this_process("PrismRunner", options())
    assert not in_this_process("PrismRunner", options("--environment_type=EXTERNAL"))
    assert not in_this_process("PrismRunner", options("--experiments=use_loopback_process_worker"))
    assert in_this_process("FlinkRunner", options("--flink_master=[local]"))
    assert not in_this_process("FlinkRunner", options("--flink_master=localhost:8081"))
    assert in_this_process("FlinkRunner", options("--flink_master=here:8081", "--environment_type=LOOPBACK"))
    assert in_this_process("SparkRunner", options())
    assert not in_this_process("SparkRunner", options("--spark_master_url=spark://here:7077"))
    assert not in_this_process("DataflowRunner", options())


@pytest.mark.parametrize(
    ("output", "name"),
    [
        ("gs://bucket/Talks of May/", "whisper-beam-talks-of-may-"),
        ("out", "whisper-beam-out-"),
        ("/data/2026", "whisper-beam-2026-"),
        ("лекции", "whisper-beam--"),
        (f"/data/{'long' * 50}", f"whisper-beam-{'long' * 7}lo-"),
    ],
)
def test_job_is_named_after_its_output_folder(output: str, name: str) -> None:
    named = options().view_as(GoogleCloudOptions)
    name_job(named, output)
    assert named.job_name.startswith(name)
    assert re.fullmatch("[a-z]([-a-z0-9]{0,61}[a-z0-9])?", named.job_name)  # names that Dataflow accepts
    again, other = options().view_as(GoogleCloudOptions), options().view_as(GoogleCloudOptions)
    name_job(again, output)
    name_job(other, f"other/{output}")
    assert again.job_name == named.job_name != other.job_name


def test_given_job_name_is_kept() -> None:
    named = options("--job_name=mine").view_as(GoogleCloudOptions)
    name_job(named, "out")
    assert named.job_name == "mine"


def test_maven_fetches_the_job_server_once(program: Program, tmp_path: Path) -> None:
    program("java", JAVA_17)
    mvn = program("mvn", MVN)
    for _ in range(2):
        flink = options("--flink_version=2.0")
        assert find_runner("FlinkRunner", flink) == "FlinkRunner"
        jar = tmp_path / f"cache/jars/beam-runners-flink-2.0-job-server-{beam_version}.jar"
        assert flink.view_as(FlinkRunnerOptions).flink_job_server_jar == str(jar)
        assert jar.read_text() == "jar\n"
    (arguments,) = (tmp_path / "bin/mvn.log").read_text().splitlines()
    assert "--strict-checksums" in arguments
    assert f"org.apache.beam:beam-runners-flink-2.0-job-server:{beam_version}" in arguments
    assert mvn.exists()


@pytest.mark.parametrize(
    ("script", "message"),
    [(r"echo -e '\e[0mnot found'; exit 1", "mvn failed: not found"), ("", "was not created")],
)
def test_failed_fetch_of_a_jar_is_reported_and_leaves_no_files(
    program: Program, tmp_path: Path, script: str, message: str
) -> None:
    program("java", JAVA_17)
    program("mvn", script)
    with pytest.raises(RunnerError, match=f"{message}.*--flink_job_server_jar PATH"):
        find_runner("FlinkRunner", options())
    assert not list((tmp_path / "cache/jars").iterdir())


def test_assembled_job_server_is_used_where_the_published_one_is_missing(
    program: Program, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program("java", JAVA_17)
    for flags in ((), ("--flink_master=here:8081", "--flink_version=1.19")):
        flink = options(*flags).view_as(FlinkRunnerOptions)
        assert find_runner("FlinkRunner", flink) == "FlinkRunner"
        assert Path(flink.flink_job_server_jar).name == "job-server.jar"
        assert flink.flink_version == "1.19"
        assert "The job server is" in capsys.readouterr().err or not flags


@pytest.mark.parametrize(
    "flags",
    [
        ["--flink_master=here:8081"],
        ["--flink_master=here:8081", "--flink_version=1.19", "--flink_submit_uber_jar"],
        ["--output_executable_path=job.jar"],
    ],
)
def test_assembled_job_server_is_not_used_where_it_does_not_fit(
    flags: list[str], program: Program, repository: Path
) -> None:
    program("java", JAVA_17)
    with pytest.raises(RunnerError, match=r"Could not find artifact .*; give a jar that you have"):
        find_runner("FlinkRunner", options(*flags))


def test_given_jar_is_used_and_must_exist(program: Program, tmp_path: Path) -> None:
    program("java", JAVA_17)
    program("mvn", "exit 1")
    (tmp_path / "own.jar").touch()
    find_runner("FlinkRunner", options(f"--flink_job_server_jar={tmp_path}/own.jar"))
    with pytest.raises(RunnerError, match=r"none\.jar: there is no such file"):
        find_runner("FlinkRunner", options("--flink_job_server_jar=none.jar"))


def test_running_job_server_needs_no_further_requirements(program: Program) -> None:
    assert find_runner("FlinkRunner", options("--job_endpoint=localhost:8099")) == "FlinkRunner"
    assert find_runner("PrismRunner", options("--job_endpoint=localhost:8073")) == "PrismRunner"


def test_go_builds_prism_once(program: Program, tmp_path: Path) -> None:
    program("go", GO)
    for _ in range(2):
        prism = options()
        assert find_runner("PrismRunner", prism) == "PrismRunner"
        built = tmp_path / f"cache/prism/v{beam_version}/prism"
        assert prism.view_as(PrismRunnerOptions).prism_location == str(built)
        assert built.read_text() == "program\n"
    (arguments,) = (tmp_path / "bin/go.log").read_text().splitlines()
    assert arguments.endswith(f"/prism@v{beam_version}")


def test_failed_build_of_prism_is_reported(program: Program) -> None:
    program("go", "echo go: downloading x; echo no network; exit 1")
    with pytest.raises(
        RunnerError, match="go failed: no network; give a program that you have, --prism_location PATH"
    ):
        find_runner("PrismRunner", options())
    with pytest.raises(RunnerError, match="--prism_location none: there is no such file"):
        find_runner("PrismRunner", options("--prism_location=none"))


class Job(PipelineResult):  # type: ignore[misc]  # Beam's has no types
    cancelled = False

    def __init__(self) -> None:
        super().__init__("RUNNING")

    def cancel(self) -> None:
        self.cancelled = True
        raise grpc.RpcError("gone")


@pytest.fixture
def _hook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)


@pytest.mark.usefixtures("_hook")
def test_interrupted_job_is_cancelled() -> None:
    job = Job()
    with pytest.raises(KeyboardInterrupt), supervised(job):
        raise KeyboardInterrupt
    assert job.cancelled


@pytest.mark.usefixtures("_hook")
def test_lost_job_server_is_reported_once_and_its_errors_in_threads_are_suppressed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reported: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", reported.append)

    def fail(error: Exception) -> None:
        raise error

    def in_thread(error: Exception) -> None:
        thread = threading.Thread(target=fail, args=[error])
        thread.start()
        thread.join()

    def lose() -> None:
        with supervised(Job()):
            in_thread(grpc.RpcError("lost"))
            in_thread(ValueError("another"))
            raise grpc.RpcError("lost")

    with pytest.raises(RunnerError, match=r"no longer answers.*the same command again"):
        lose()
    in_thread(grpc.RpcError("lost later"))
    assert [type(one.exc_value) for one in reported] == [ValueError]
