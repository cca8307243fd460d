"""The published and the assembled job server, with scripts in place of java and mvn."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest
from apache_beam.version import __version__ as beam_version

from pipelines.runners import flink_job_server
from pipelines.runners.external_programs import RunnerError
from pipelines.runners.flink_job_server import (
    ASSEMBLED_BEAM,
    assemble_job_server,
    check_java,
    find_job_server,
    java_version,
    main,
)
from tests.support.fake_programs import MVN, Program

PUBLISHED = f"beam-runners-flink-2.0-job-server-{beam_version}.jar"


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


def calls(folder: Path) -> list[str]:
    """Returns the arguments of each call of mvn."""
    return (folder / "bin/mvn.log").read_text().splitlines()


def test_the_published_jar_is_fetched_once(program: Program, tmp_path: Path) -> None:
    mvn = str(program("mvn", MVN))
    for _ in range(2):
        server = find_job_server(mvn, "2.0", tmp_path / "jars", may_assemble=True)
        assert server == (tmp_path / "jars" / PUBLISHED, "2.0")
        assert server.jar.read_text() == "jar\n"
    (arguments,) = calls(tmp_path)
    assert "--strict-checksums" in arguments
    assert f"org.apache.beam:beam-runners-flink-2.0-job-server:{beam_version}" in arguments


def test_a_job_server_is_assembled_where_the_published_one_is_missing(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = find_job_server("mvn", "2.0", tmp_path / "jars", may_assemble=True)
    assert server.flink_version == "1.19"
    printed = capsys.readouterr().err
    assert f"{PUBLISHED} cannot be fetched (mvn failed: Could not find artifact {PUBLISHED})." in printed
    assert "A job server of Flink 1.19 is assembled from the modules of Beam 2.70.0 instead" in printed
    with zipfile.ZipFile(server.jar) as jar:
        manifest = jar.read("META-INF/MANIFEST.MF").decode()
    assert manifest == (
        "Manifest-Version: 1.0\n"
        "Main-Class: org.apache.beam.runners.flink.FlinkJobServerDriver\n"
        "Class-Path: lib/beam.jar\n  lib/flink.jar\n"
    )
    for name in ("beam.jar", "flink.jar"):
        assert (server.jar.parent / "lib" / name).read_text() == f"classes of {name}"
    assert [path.name for path in (tmp_path / "jars").iterdir()] == [server.jar.parent.name]
    n_calls = len(calls(tmp_path))
    assert find_job_server("mvn", "2.0", tmp_path / "jars", may_assemble=True) == server
    assert f"The job server is {server.jar.parent}, of Beam 2.70.0" in capsys.readouterr().err
    assert len(calls(tmp_path)) == n_calls


def test_a_published_jar_comes_before_an_assembled_one(repository: Path, tmp_path: Path) -> None:
    find_job_server("mvn", "2.0", tmp_path / "jars", may_assemble=True)
    (tmp_path / "jars" / PUBLISHED).touch()
    server = find_job_server("mvn", "2.0", tmp_path / "jars", may_assemble=True)
    assert server == (tmp_path / "jars" / PUBLISHED, "2.0")


def test_nothing_is_assembled_for_a_cluster_of_another_version(repository: Path, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(RunnerError, match=r"Could not find .*; give a jar that you have, --flink_job"):
            find_job_server("mvn", "2.0", tmp_path / "jars", may_assemble=False)
        assemble_job_server("mvn", tmp_path / "jars")


@pytest.mark.parametrize(
    ("name", "message"),
    [("pom.xml", "no modules"), ("flink.jar", "Could not find artifact flink.jar")],
)
def test_a_job_server_that_cannot_be_assembled_is_reported_and_leaves_no_files(
    name: str, message: str, repository: Path, tmp_path: Path
) -> None:
    (repository / name).unlink()
    with pytest.raises(
        RunnerError, match=rf"Could not find .*; nor can its modules be fetched: .*{message}; give a jar"
    ):
        find_job_server("mvn", "2.0", tmp_path / "jars", may_assemble=True)
    assert not list((tmp_path / "jars").iterdir())


def test_modules_are_the_pinned_ones(repository: Path, tmp_path: Path) -> None:
    (repository / "flink.jar").write_text("other classes")
    with pytest.raises(RunnerError, match=r"flink\.jar, a module of the job server, is not the one with SHA"):
        assemble_job_server("mvn", tmp_path / "jars")
    (repository / "pom.xml").write_text("beam.jar")
    with pytest.raises(RunnerError, match=r"flink\.jar, a module of the job server, was not fetched"):
        assemble_job_server("mvn", tmp_path / "jars")
    assert not list((tmp_path / "jars").iterdir())


def test_the_modules_are_those_of_one_version_and_fit_into_a_manifest() -> None:
    pom = (flink_job_server._MODULES / "pom.xml").read_text()
    (version,) = re.findall(r"beam-runners-flink-1\.19</artifactId>\s*<version>([^<]+)", pom)
    assert version == ASSEMBLED_BEAM
    manifest = flink_job_server._manifest()
    assert f"lib/beam-runners-flink-1.19-{ASSEMBLED_BEAM}.jar" in manifest
    assert max(len(line.encode()) for line in manifest.splitlines()) <= 72


def test_the_program_prints_the_path(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main() == 0
    jar = Path(capsys.readouterr().out.strip())
    assert jar.is_file()
    assert jar.is_relative_to(tmp_path / "cache/jars")


def test_the_program_needs_maven(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 1
    assert capsys.readouterr().err == "there is no Maven (mvn) to fetch the job server of Flink with\n"
