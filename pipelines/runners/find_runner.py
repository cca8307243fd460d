"""Beam runner of a run, and its requirements on this machine: a job server's jar for Flink, or Prism."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

import grpc
from apache_beam.options.pipeline_options import (
    DebugOptions,
    DirectOptions,
    FlinkRunnerOptions,
    GoogleCloudOptions,
    JobServerOptions,
    PipelineOptions,
    PortableOptions,
    PrismRunnerOptions,
    SparkRunnerOptions,
)
from apache_beam.runners.portability.flink_runner import MAGIC_HOST_NAMES
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.portability.spark_runner import LOCAL_MASTER_PATTERN
from apache_beam.runners.runner import PipelineResult, PipelineRunner
from apache_beam.version import __version__ as beam_version

from model.caches import cache_folder
from pipelines.runners.external_programs import RunnerError, created_once, run_command
from pipelines.runners.flink_job_server import ASSEMBLED_FLINK, check_java, find_job_server

DIRECT, FLINK, PRISM, SPARK = "DirectRunner", "FlinkRunner", "PrismRunner", "SparkRunner"
PRISM_MODULE = "github.com/apache/beam/sdks/v2/go/cmd/prism"

_BUILD_TIMEOUT_S = 1800.0  # 60 modules that Go fetches and compiles
_MAX_NAME = 30  # characters of a folder's name in a job's name, which Dataflow limits to 63


def canonical(name: str) -> str:
    """Returns `FlinkRunner` for `flink` and `flinkrunner`, as Beam does; an unknown name unchanged."""
    for known in (DIRECT, FLINK, PRISM, SPARK):
        if name.lower() in (known.lower(), known.lower().removesuffix("runner")):
            return known
    return name


def find_runner(name: str, beam_options: PipelineOptions) -> PipelineRunner | str:
    """Returns the runner of that name; finds or fetches its requirements and sets them in the options.

    `DirectRunner` is the in-process `FnApiRunner` here: Beam's own may choose, and download, another one.

    Raises:
        RunnerError: a requirement is missing and cannot be fetched.
    """
    runner = canonical(name)
    if runner == DIRECT:
        return FnApiRunner()
    if not beam_options.view_as(PortableOptions).job_endpoint:  # else a job server is already running
        if runner == FLINK:
            _provide_flink(beam_options)
        if runner == PRISM:
            _provide_prism(beam_options.view_as(PrismRunnerOptions))
    return runner


def in_this_process(name: str, beam_options: PipelineOptions) -> bool:
    """Whether the workers are threads of this process, so that their progress is visible here."""
    runner, environment = canonical(name), beam_options.view_as(PortableOptions).environment_type
    if runner == DIRECT:
        return bool(beam_options.view_as(DirectOptions).direct_running_mode != "multi_processing")
    if beam_options.view_as(DebugOptions).lookup_experiment("use_loopback_process_worker", False):
        return False
    if environment:
        return bool(environment == "LOOPBACK")
    if runner == FLINK:
        return beam_options.view_as(FlinkRunnerOptions).flink_master in MAGIC_HOST_NAMES
    if runner == SPARK:
        return bool(re.match(LOCAL_MASTER_PATTERN, beam_options.view_as(SparkRunnerOptions).spark_master_url))
    return runner == PRISM


def name_job(beam_options: PipelineOptions, output: str) -> None:
    """Names the job after its output folder, unless it has a name; consoles of clusters list jobs by name.

    Dataflow refuses a job with the name of a running one, and thereby a run that is started twice.
    """
    named = beam_options.view_as(GoogleCloudOptions)
    if not named.job_name:
        folder = re.sub(r"[^a-z0-9]+", "-", output.rstrip("/").rpartition("/")[2].lower()).strip("-")
        named.job_name = f"whisper-beam-{folder[:_MAX_NAME]}-{sha256(output.encode()).hexdigest()[:8]}"


@contextmanager
def supervised(result: PipelineResult) -> Iterator[None]:
    """Cancels the job if waiting for it is interrupted, and reports a lost job server.

    Beam's own threads fail with a lost server too, some a moment later: their tracebacks are suppressed.

    Raises:
        RunnerError: the job server no longer answers.
    """
    before = threading.excepthook

    def suppress_rpc_errors(failure: threading.ExceptHookArgs) -> None:
        if not isinstance(failure.exc_value, grpc.RpcError):
            before(failure)

    threading.excepthook = suppress_rpc_errors
    try:
        yield
        threading.excepthook = before
    except KeyboardInterrupt:
        with suppress(grpc.RpcError, NotImplementedError):  # the server is gone, or cannot cancel
            result.cancel()
        raise
    except grpc.RpcError as error:
        raise RunnerError(
            "the job server no longer answers; it may have been killed. LOG_LEVEL=DEBUG shows its log; the "
            "same command again resumes the run"
        ) from error


def build_prism(go: str, folder: Path) -> Path:
    """Builds Prism, of Beam's own version, in a folder with Go, unless it exists.

    Go verifies its downloads against its checksum database.

    Raises:
        RunnerError: Go cannot build it.
    """
    program = folder / f"v{beam_version}" / ("prism.exe" if os.name == "nt" else "prism")
    try:
        with created_once(program, "Building") as place:
            if place is not None:
                variables = {"GOBIN": str(place)}
                run_command([go, "install", f"{PRISM_MODULE}@v{beam_version}"], _BUILD_TIMEOUT_S, variables)
    except RunnerError as error:
        raise RunnerError(f"{error}; give a program that you have, --prism_location PATH") from error
    return program


def _provide_flink(beam_options: PipelineOptions) -> None:
    """Checks Java and finds a job server; without Maven, Beam downloads it."""
    flink = beam_options.view_as(FlinkRunnerOptions)
    jar, mvn = flink.flink_job_server_jar, shutil.which("mvn")
    if jar and "://" not in jar and not os.path.isfile(jar):
        raise RunnerError(f"--flink_job_server_jar {jar}: there is no such file")
    check_java(beam_options.view_as(JobServerOptions).job_server_java_launcher)
    if not jar and mvn:
        # A cluster takes jobs of its own version of Flink only, and an executable jar has to hold everything.
        is_any_flink = flink.flink_master in MAGIC_HOST_NAMES
        may_assemble = is_any_flink or flink.flink_version == ASSEMBLED_FLINK
        if beam_options.view_as(PortableOptions).output_executable_path or flink.flink_submit_uber_jar:
            may_assemble = False
        folder = cache_folder() / "jars"
        server = find_job_server(mvn, flink.flink_version, folder, may_assemble=may_assemble)
        flink.flink_job_server_jar, flink.flink_version = str(server.jar), server.flink_version


def _provide_prism(prism: PrismRunnerOptions) -> None:
    """Builds Prism; without Go, Beam downloads it."""
    place, go = prism.prism_location, shutil.which("go")
    if place and "://" not in place and not os.path.isfile(place):
        raise RunnerError(f"--prism_location {place}: there is no such file")
    if not place and go:
        prism.prism_location = str(build_prism(go, cache_folder() / "prism"))
