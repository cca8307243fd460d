"""Fixtures for runs on other runners; tests are skipped where a runner is not available."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from pipelines.runners.external_programs import RunnerError
from pipelines.runners.find_runner import build_prism
from pipelines.runners.flink_job_server import ASSEMBLED_FLINK, check_java, find_job_server
from tests.support.runner_fixtures import CACHE, Cluster, RunnerHarness


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
    """Path of the jar of Flink's job server, fetched by Maven, assembled or cached."""
    mvn = shutil.which("mvn")
    if mvn is None:
        pytest.skip("a job server for Flink needs Maven")
    try:
        check_java("java")
        return str(find_job_server(mvn, ASSEMBLED_FLINK, CACHE / "jars", may_assemble=True).jar)
    except RunnerError as error:
        pytest.skip(str(error))


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
