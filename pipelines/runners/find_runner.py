"""Beam runner of a run, and its requirements on this machine: a job server's jar for Flink, or Prism."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
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
from transforms.core.redaction import redact

DIRECT, FLINK, PRISM, SPARK = "DirectRunner", "FlinkRunner", "PrismRunner", "SparkRunner"
MIN_JAVA = 11  # required by Flink 2, whose own images have 17
PRISM_MODULE = "github.com/apache/beam/sdks/v2/go/cmd/prism"

_BUILD_TIMEOUT_S = 1800.0  # a download of 200 MB, or 60 modules that Go fetches and compiles
_VERSION_TIMEOUT_S = 60.0
_JAVA_VERSION = re.compile(r'version "(?:1\.)?(\d+)')
_MAVEN_FLAGS = ("-q", "-B", "-U", "-Dstyle.color=never", "--strict-checksums")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_MAX_NAME = 30  # characters of a folder's name in a job's name, which Dataflow limits to 63
_MAX_OUTPUT = 400  # characters of a command's output in an error message


class RunnerError(RuntimeError):
    """A requirement of a runner is missing on this machine, or its job server was lost."""


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


def java_version(output: str) -> int | None:
    """Returns the major version in the output of `java -version`: 17 for `"17.0.15"`, 8 for `"1.8.0_372"`."""
    found = _JAVA_VERSION.search(output)
    return int(found[1]) if found else None


def check_java(launcher: str) -> None:
    """Raises `RunnerError` where the command is not Java, or is too old for Flink."""
    advice = (
        f"install a Java runtime, {MIN_JAVA} or newer (17 is best), or name it: --job_server_java_launcher"
    )
    if shutil.which(launcher) is None:
        raise RunnerError(f"--runner {FLINK} needs Java, and {launcher!r} was not found; {advice}")
    output = _run_command([launcher, "-version"], _VERSION_TIMEOUT_S)
    version = java_version(output)
    if version is None or version < MIN_JAVA:
        raise RunnerError(
            f"--runner {FLINK} needs Java {MIN_JAVA}, and {launcher!r} printed: {output}; {advice}"
        )


def fetch_job_server(mvn: str, flink_version: str, folder: Path) -> Path:
    """Fetches a job server's jar into a folder with Maven, whose settings name mirrors and proxies.

    Maven verifies the jar against the checksum of its repository. A jar that exists is not fetched again.

    Args:
        mvn: the command.
        flink_version: such as `2.0`.
        folder: created if it does not exist.

    Raises:
        RunnerError: Maven cannot fetch it.
    """
    artifact = f"beam-runners-flink-{flink_version}-job-server"
    jar = folder / f"{artifact}-{beam_version}.jar"
    copy = ["dependency:copy", f"-Dartifact=org.apache.beam:{artifact}:{beam_version}"]
    try:
        with _created_once(jar, "Fetching") as place:
            if place is not None:
                _run_command([mvn, *_MAVEN_FLAGS, *copy, f"-DoutputDirectory={place}"], _BUILD_TIMEOUT_S)
    except RunnerError as error:
        raise RunnerError(
            f"{error}; give a jar that you have, --flink_job_server_jar PATH, or another --flink_version; "
            "scripts/flink_job_server.sh of whisper-beam's repository builds one"
        ) from error
    return jar


def build_prism(go: str, folder: Path) -> Path:
    """Builds Prism, of Beam's own version, in a folder with Go, unless it exists.

    Go verifies its downloads against its checksum database.

    Raises:
        RunnerError: Go cannot build it.
    """
    program = folder / f"v{beam_version}" / ("prism.exe" if os.name == "nt" else "prism")
    try:
        with _created_once(program, "Building") as place:
            if place is not None:
                variables = {"GOBIN": str(place)}
                _run_command([go, "install", f"{PRISM_MODULE}@v{beam_version}"], _BUILD_TIMEOUT_S, variables)
    except RunnerError as error:
        raise RunnerError(f"{error}; give a program that you have, --prism_location PATH") from error
    return program


def _provide_flink(beam_options: PipelineOptions) -> None:
    """Checks Java and fetches the jar; without Maven, Beam downloads it."""
    flink = beam_options.view_as(FlinkRunnerOptions)
    jar, mvn = flink.flink_job_server_jar, shutil.which("mvn")
    if jar and "://" not in jar and not os.path.isfile(jar):
        raise RunnerError(f"--flink_job_server_jar {jar}: there is no such file")
    check_java(beam_options.view_as(JobServerOptions).job_server_java_launcher)
    if not jar and mvn:
        flink.flink_job_server_jar = str(fetch_job_server(mvn, flink.flink_version, cache_folder() / "jars"))


def _provide_prism(prism: PrismRunnerOptions) -> None:
    """Builds Prism; without Go, Beam downloads it."""
    place, go = prism.prism_location, shutil.which("go")
    if place and "://" not in place and not os.path.isfile(place):
        raise RunnerError(f"--prism_location {place}: there is no such file")
    if not place and go:
        prism.prism_location = str(build_prism(go, cache_folder() / "prism"))


@contextmanager
def _created_once(path: Path, verb: str) -> Iterator[Path | None]:
    """Yields a folder to create the file in, which is then moved into place atomically; None if it exists."""
    if path.exists():
        yield None
        return
    print(f"{verb} {path.name} into {path.parent}, once; this may take minutes", file=sys.stderr)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".partial") as folder:
        yield Path(folder)
        made = Path(folder, path.name)
        if not made.is_file():
            raise RunnerError(f"{path.name} was not created, although the command succeeded")
        made.replace(path)


def _run_command(command: Sequence[str], limit_s: float, environment: Mapping[str, str] | None = None) -> str:
    """Runs a command and returns its output in one line; raises `RunnerError` if it fails."""
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=limit_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunnerError(redact(f"{command[0]} does not work: {error}")) from error
    lines = _COLOURS.sub("", done.stdout.decode(errors="replace")).splitlines()
    words = " ".join(line for line in lines if not line.startswith("go: downloading")).split()
    output = redact(" ".join(words))[:_MAX_OUTPUT]
    if done.returncode:
        raise RunnerError(f"{command[0]} failed: {output}")
    return output
