"""Job server of Flink: the jar that Beam publishes, or one that is assembled from its modules.

    python -m pipelines.runners.flink_job_server

prints the path of a job server for the version of Flink that `scripts/flink_local.sh` starts.

Maven fetches either, so that mirrors and proxies of its settings count. Where a repository lacks the
published jar but has the modules that it consists of, the job server is assembled from these:
`flink_modules/pom.xml` names them, and each is compared with its pinned SHA-256.
"""

from __future__ import annotations

import re
import shutil
import sys
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from apache_beam.version import __version__ as beam_version

from model.caches import cache_folder
from pipelines.runners.external_programs import RunnerError, created_once, run_command

MIN_JAVA = 11  # required by Flink 2, whose own images have 17
ASSEMBLED_FLINK = "1.19"
ASSEMBLED_BEAM = "2.70.0"  # as new as repositories have its modules that lack the published jar

_FETCH_TIMEOUT_S = 1800.0  # 200 MB
_VERSION_TIMEOUT_S = 60.0
_JAVA_VERSION = re.compile(r'version "(?:1\.)?(\d+)')
_MAVEN_FLAGS = ("-q", "-B", "-U", "-Dstyle.color=never", "--strict-checksums")
_MODULES = Path(__file__).parent / "flink_modules"
_MAIN_CLASS = "org.apache.beam.runners.flink.FlinkJobServerDriver"


class JobServer(NamedTuple):
    """The jar of a job server, and the version of Flink that it is for."""

    jar: Path
    flink_version: str


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
        raise RunnerError(f"--runner FlinkRunner needs Java, and {launcher!r} was not found; {advice}")
    output = run_command([launcher, "-version"], _VERSION_TIMEOUT_S)
    version = java_version(output)
    if version is None or version < MIN_JAVA:
        raise RunnerError(
            f"--runner FlinkRunner needs Java {MIN_JAVA}, and {launcher!r} printed: {output}; {advice}"
        )


def find_job_server(mvn: str, flink_version: str, folder: Path, *, may_assemble: bool) -> JobServer:
    """Returns the published job server, or else an assembled one, and reports this on standard error.

    A jar that is in the folder is not fetched again.

    Args:
        mvn: the command.
        flink_version: such as `2.0`.
        folder: created if it does not exist.
        may_assemble: whether one of `ASSEMBLED_FLINK` is of use.

    Raises:
        RunnerError: Maven can fetch neither.
    """
    name, assembled = _published_name(flink_version), _assembled_folder(folder)
    advice = "give a jar that you have, --flink_job_server_jar PATH, or another --flink_version"
    if may_assemble and assembled.exists() and not (folder / name).exists():
        print(
            f"The job server is {assembled}, of Beam {ASSEMBLED_BEAM} and Flink {ASSEMBLED_FLINK}, as {name} "
            "could not be fetched. To try that again, remove the folder",
            file=sys.stderr,
        )
        return JobServer(assembled / "job-server.jar", ASSEMBLED_FLINK)
    try:
        return JobServer(fetch_job_server(mvn, flink_version, folder), flink_version)
    except RunnerError as error:
        if not may_assemble:
            raise RunnerError(f"{error}; {advice}") from error
        print(
            f"{name} cannot be fetched ({error}). A job server of Flink {ASSEMBLED_FLINK} is assembled from "
            f"the modules of Beam {ASSEMBLED_BEAM} instead",
            file=sys.stderr,
        )
        try:
            return JobServer(assemble_job_server(mvn, folder), ASSEMBLED_FLINK)
        except RunnerError as second:
            raise RunnerError(f"{error}; nor can its modules be fetched: {second}; {advice}") from second


def fetch_job_server(mvn: str, flink_version: str, folder: Path) -> Path:
    """Fetches the published jar of a job server into a folder, unless it is there.

    Maven verifies the jar against the checksum of its repository.

    Raises:
        RunnerError: Maven cannot fetch it.
    """
    jar = folder / _published_name(flink_version)
    artifact = f"org.apache.beam:{jar.stem.removesuffix(f'-{beam_version}')}:{beam_version}"
    copy = ["dependency:copy", f"-Dartifact={artifact}"]
    with created_once(jar, "Fetching") as place:
        if place is not None:
            run_command([mvn, *_MAVEN_FLAGS, *copy, f"-DoutputDirectory={place}"], _FETCH_TIMEOUT_S)
    return jar


def assemble_job_server(mvn: str, folder: Path) -> Path:
    """Fetches the modules of a job server into a folder, unless it is there; returns a jar that names them.

    Raises:
        RunnerError: Maven cannot fetch one of them, or it is not the pinned one.
    """
    place = _assembled_folder(folder)
    with created_once(place, "Assembling") as partial:
        if partial is not None:
            made = partial / place.name
            made.mkdir()
            shutil.copy(_MODULES / "pom.xml", partial)  # Maven may want to write beside it
            copy = ["-f", str(partial / "pom.xml"), "dependency:copy-dependencies"]
            run_command([mvn, *_MAVEN_FLAGS, *copy, f"-DoutputDirectory={made / 'lib'}"], _FETCH_TIMEOUT_S)
            _check_modules(made / "lib")
            with zipfile.ZipFile(made / "job-server.jar", "w") as jar:
                jar.writestr("META-INF/MANIFEST.MF", _manifest())
    return place / "job-server.jar"


def _published_name(flink_version: str) -> str:
    return f"beam-runners-flink-{flink_version}-job-server-{beam_version}.jar"


def _assembled_folder(folder: Path) -> Path:
    pins = sha256((_MODULES / "jars.sha256").read_bytes()).hexdigest()
    return folder / f"flink-{ASSEMBLED_FLINK}-job-server-{pins[:12]}"


def _pins() -> dict[str, str]:
    """Returns the SHA-256 of each module by the name of its jar."""
    lines = (_MODULES / "jars.sha256").read_text("utf-8").splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


def _check_modules(lib: Path) -> None:
    for name, digest in _pins().items():
        if not (lib / name).is_file():
            raise RunnerError(f"{name}, a module of the job server, was not fetched")
        with (lib / name).open("rb") as file:
            if sha256(file.read()).hexdigest() != digest:
                raise RunnerError(f"{name}, a module of the job server, is not the one with SHA-256 {digest}")


def _manifest() -> str:
    """Returns the manifest of a jar that holds nothing else: its class path names the modules beside it."""
    # A line may have 72 bytes; a space at its beginning continues the one before.
    class_path = "\n  ".join(f"lib/{name}" for name in _pins())
    return f"Manifest-Version: 1.0\nMain-Class: {_MAIN_CLASS}\nClass-Path: {class_path}\n"


def main() -> int:
    """Prints the path of a job server of `ASSEMBLED_FLINK`; returns the exit code."""
    mvn = shutil.which("mvn")
    try:
        if mvn is None:
            raise RunnerError("there is no Maven (mvn) to fetch the job server of Flink with")
        folder = cache_folder() / "jars"
        print(find_job_server(mvn, ASSEMBLED_FLINK, folder, may_assemble=True).jar)
    except RunnerError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
