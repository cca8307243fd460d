"""Fixtures for runs on other runners; tests are skipped where a runner is not available."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.runners.find_runner import RunnerError, build_prism, check_java
from tests.support.runner_fixtures import SCRIPTS, Cluster, RunnerHarness

CACHE = Path.home() / ".cache/whisper-beam"  # kept between test sessions, as building Prism takes minutes


@pytest.fixture(scope="session")
def prism() -> str:
    """Path of Prism, built by Go or cached."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("building Prism needs Go")
    try:
        return str(build_prism(go, CACHE / "prism"))
    except RunnerError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def flink_job_server() -> str:
    """Path of the jar of Flink's job server, fetched by Maven or cached."""
    try:
        check_java("java")
    except RunnerError as error:
        pytest.skip(str(error))
    stderr = subprocess.run([SCRIPTS / "flink_job_server.sh"], capture_output=True, text=True, check=False)
    if stderr.returncode:
        pytest.skip(f"there is no job server for Flink: {stderr.stderr}")
    return stderr.stdout.strip()


@pytest.fixture(scope="module", params=[1, 2])
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, flink_job_server: str
) -> Iterator[Cluster]:
    """A Flink cluster, with one task manager and with two."""
    assert flink_job_server
    cluster = Cluster(tmp_path_factory.mktemp("flink"), request.param)
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunnerHarness]:
    """A folder with talks, and in `direct` the output of the local runner."""
    harness = RunnerHarness(tmp_path_factory.mktemp("talks"))
    harness.write_talks()
    code, stderr = harness.run("direct").end()
    assert code == 2, stderr
    yield harness
    harness.close()


@pytest.fixture
def harness(finished: RunnerHarness) -> Iterator[RunnerHarness]:
    """The folder of `finished` for one test, which ends its processes."""
    one = RunnerHarness(finished.folder)
    yield one
    one.close()
