"""Which Beam runner does a run, and what it needs on this machine: a job server's jar for Flink, or Prism."""

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
MIN_JAVA = 11  # of Flink 2; 17 is what its own images have
PRISM_MODULE = "github.com/apache/beam/sdks/v2/go/cmd/prism"

_LONG_S = 1800.0  # for a download of 200 MB, or for Go to fetch and compile 60 modules
_MOMENT_S = 60.0
_JAVA_VERSION = re.compile(r'version "(?:1\.)?(\d+)')
_MAVEN_FLAGS = ("-q", "-B", "-U", "-Dstyle.color=never", "--strict-checksums")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_MAX_NAME = 30  # characters of a folder's name in a job's; Dataflow's jobs have 63 at most
_MAX_SAID = 400  # characters of what a command says that go into a message


class RunnerError(RuntimeError):
    """A runner lacks something on this machine, or was lost: what, and what to do."""


def canonical(name: str) -> str:
    """`FlinkRunner` for `flink` and `flinkrunner`, as Beam takes them; a name that is not ours as it is."""
    for known in (DIRECT, FLINK, PRISM, SPARK):
        if name.lower() in (known.lower(), known.lower().removesuffix("runner")):
            return known
    return name


def find_runner(name: str, beam_options: PipelineOptions) -> PipelineRunner | str:
    """The runner of that name, with what it needs on this machine found or fetched, and told in the options.

    Beam's own `DirectRunner` may pick, and download, another one; ours is the in-process runner.

    Raises:
        RunnerError: what it needs is not there and cannot be had.
    """
    runner = canonical(name)
    if runner == DIRECT:
        return FnApiRunner()
    if not beam_options.view_as(PortableOptions).job_endpoint:  # else somebody's job server is running
        if runner == FLINK:
            _provide_flink(beam_options)
        if runner == PRISM:
            _provide_prism(beam_options.view_as(PrismRunnerOptions))
    return runner


def in_this_process(name: str, beam_options: PipelineOptions) -> bool:
    """Whether workers are threads of this process, whose tally is seen here."""
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
    """Names the job for its output folder, unless it has a name: what consoles of clusters list it by.

    Dataflow refuses a job that has the name of one that is running, and so a run that is begun twice.
    """
    named = beam_options.view_as(GoogleCloudOptions)
    if not named.job_name:
        folder = re.sub(r"[^a-z0-9]+", "-", output.rstrip("/").rpartition("/")[2].lower()).strip("-")
        named.job_name = f"whisper-beam-{folder[:_MAX_NAME]}-{sha256(output.encode()).hexdigest()[:8]}"


@contextmanager
def following(result: PipelineResult) -> Iterator[None]:
    """Cancels a job that is interrupted while it is waited for, and says so when its server is lost.

    Beam's threads die of a lost server too, also a moment later: what they would print is dropped.

    Raises:
        RunnerError: the job server does not answer any more.
    """
    before = threading.excepthook

    def drop_lost(died: threading.ExceptHookArgs) -> None:
        if not isinstance(died.exc_value, grpc.RpcError):
            before(died)

    threading.excepthook = drop_lost
    try:
        yield
        threading.excepthook = before
    except KeyboardInterrupt:
        with suppress(grpc.RpcError, NotImplementedError):  # it is gone, or has nothing to cancel
            result.cancel()
        raise
    except grpc.RpcError as error:
        raise RunnerError(
            "the job server does not answer any more: was it killed? LOG_LEVEL=DEBUG shows what it said; the "
            "same command again goes on"
        ) from error


def java_version(said: str) -> int | None:
    """The major version in what `java -version` says: 17 for `"17.0.15"`, 8 for `"1.8.0_372"`; or None."""
    found = _JAVA_VERSION.search(said)
    return int(found[1]) if found else None


def check_java(launcher: str) -> None:
    """Raises `RunnerError` where that command is no Java, or one that Flink cannot use."""
    advice = (
        f"install a Java runtime, {MIN_JAVA} or newer (17 is best), or name it: --job_server_java_launcher"
    )
    if shutil.which(launcher) is None:
        raise RunnerError(f"--runner {FLINK} needs Java, and there is no {launcher!r} here; {advice}")
    said = _said([launcher, "-version"], _MOMENT_S)
    version = java_version(said)
    if version is None or version < MIN_JAVA:
        raise RunnerError(f"--runner {FLINK} needs Java {MIN_JAVA}, and {launcher!r} says: {said}; {advice}")


def fetch_job_server(mvn: str, flink_version: str, folder: Path) -> Path:
    """Has Maven, whose settings name mirrors and proxies, put a job server's jar into a folder, once.

    Maven compares it with the checksum of the repository that it comes from.

    Args:
        mvn: the command.
        flink_version: such as `2.0`.
        folder: made if there is none.

    Raises:
        RunnerError: Maven cannot fetch it.
    """
    artifact = f"beam-runners-flink-{flink_version}-job-server"
    jar = folder / f"{artifact}-{beam_version}.jar"
    copy = ["dependency:copy", f"-Dartifact=org.apache.beam:{artifact}:{beam_version}"]
    try:
        with _made_once(jar, "Fetching") as place:
            if place is not None:
                _said([mvn, *_MAVEN_FLAGS, *copy, f"-DoutputDirectory={place}"], _LONG_S)
    except RunnerError as error:
        raise RunnerError(
            f"{error}; give a jar that you have, --flink_job_server_jar PATH, or another --flink_version; "
            "scripts/flink_job_server.sh of whisper-beam's repository puts one together"
        ) from error
    return jar


def build_prism(go: str, folder: Path) -> Path:
    """Has Go build Prism, of Beam's own version, in a folder, once.

    Go compares what it downloads with its database of checksums.

    Raises:
        RunnerError: Go cannot build it.
    """
    program = folder / f"v{beam_version}" / ("prism.exe" if os.name == "nt" else "prism")
    try:
        with _made_once(program, "Building") as place:
            if place is not None:
                goes_to = {"GOBIN": str(place)}
                _said([go, "install", f"{PRISM_MODULE}@v{beam_version}"], _LONG_S, goes_to)
    except RunnerError as error:
        raise RunnerError(f"{error}; give a program that you have, --prism_location PATH") from error
    return program


def _provide_flink(beam_options: PipelineOptions) -> None:
    """Without Maven the jar is left to Beam's own download."""
    flink = beam_options.view_as(FlinkRunnerOptions)
    jar, mvn = flink.flink_job_server_jar, shutil.which("mvn")
    if jar and "://" not in jar and not os.path.isfile(jar):
        raise RunnerError(f"--flink_job_server_jar {jar}: there is no such file")
    check_java(beam_options.view_as(JobServerOptions).job_server_java_launcher)
    if not jar and mvn:
        flink.flink_job_server_jar = str(fetch_job_server(mvn, flink.flink_version, cache_folder() / "jars"))


def _provide_prism(prism: PrismRunnerOptions) -> None:
    """Without Go the program is left to Beam's own download."""
    place, go = prism.prism_location, shutil.which("go")
    if place and "://" not in place and not os.path.isfile(place):
        raise RunnerError(f"--prism_location {place}: there is no such file")
    if not place and go:
        prism.prism_location = str(build_prism(go, cache_folder() / "prism"))


@contextmanager
def _made_once(path: Path, doing: str) -> Iterator[Path | None]:
    """Yields a folder to make the file in, which then comes to its place as a whole; None if it is there."""
    if path.exists():
        yield None
        return
    print(f"{doing} {path.name} for {path.parent}, once; it may take minutes", file=sys.stderr)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".partial") as folder:
        yield Path(folder)
        made = Path(folder, path.name)
        if not made.is_file():
            raise RunnerError(f"{path.name} was not made, though the command says that it was")
        made.replace(path)


def _said(command: Sequence[str], limit_s: float, environment: Mapping[str, str] | None = None) -> str:
    """What a command printed, in one line."""
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
    said = redact(" ".join(words))[:_MAX_SAID]
    if done.returncode:
        raise RunnerError(f"{command[0]} failed: {said}")
    return said
