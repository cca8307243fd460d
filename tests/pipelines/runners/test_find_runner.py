"""Choice of the runner, and fetching its requirements with fake programs in place of java, mvn and go."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
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

from pipelines.runners.find_runner import (
    RunnerError,
    canonical,
    check_java,
    find_runner,
    in_this_process,
    java_version,
    name_job,
    supervised,
)

JAVA_17 = """echo 'openjdk version "17.0.15" 2025-04-15' >&2"""
MVN = """
echo "$@" >> "$0.log"
for word in "$@"; do case $word in
  -DoutputDirectory=*) folder=${word#*=} ;;
  -Dartifact=*) rest=${word#*:} ;;
esac; done
echo jar > "$folder/${rest/:/-}.jar"
"""
GO = 'echo "$@" >> "$0.log"; echo program > "$GOBIN/prism"'

Program = Callable[[str, str], Path]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Creates programs from shell scripts; PATH has no others."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("WHISPER_BEAM_CACHE", str(tmp_path / "cache"))

    def make(name: str, script: str) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)
        return path

    return make


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


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime', 17),
        ('java version "1.8.0_372"', 8),
        ('openjdk version "21" 2023-09-19', 21),
        ("no java", None),
    ],
)
def test_java_version(output: str, version: int | None) -> None:
    assert java_version(output) == version


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (None, "needs Java, and 'java' was not found; install"),
        ("""echo 'java version "1.8.0_372"' >&2""", "needs Java 11, and 'java' printed: java version"),
        ("echo what", "printed: what; install"),
        ("echo no runtime >&2; exit 1", "failed: no runtime"),
    ],
)
def test_java_is_checked(program: Program, script: str | None, message: str) -> None:
    if script is not None:
        program("java", script)
    with pytest.raises(RunnerError, match=message):
        check_java("java")


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
