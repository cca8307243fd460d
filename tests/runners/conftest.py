"""The runners' programs, skipped where they cannot be had, and what a test starts, ended with it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.runners.find_runner import RunnerError, build_prism, check_java
from tests.support.runner_fixtures import SCRIPTS, Bench, Cluster

KEPT = Path.home() / ".cache/whisper-beam"  # from one time to the next: to build Prism takes minutes


@pytest.fixture(scope="session")
def prism() -> str:
    """Prism, built by Go or found where it was."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("there is no Go to build Prism with")
    try:
        return str(build_prism(go, KEPT / "prism"))
    except RunnerError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def flink_job_server() -> str:
    """The jar of Flink's job server, as Maven gets it or found where it was."""
    try:
        check_java("java")
    except RunnerError as error:
        pytest.skip(str(error))
    said = subprocess.run([SCRIPTS / "flink_job_server.sh"], capture_output=True, text=True, check=False)
    if said.returncode:
        pytest.skip(f"there is no job server for Flink: {said.stderr}")
    return said.stdout.strip()


@pytest.fixture(scope="module", params=[1, 2])
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, flink_job_server: str
) -> Iterator[Cluster]:
    """A Flink cluster of one task manager, and one of two."""
    assert flink_job_server
    cluster = Cluster(tmp_path_factory.mktemp("flink"), request.param)
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Talks, and in `direct` what the local runner makes of them."""
    bench = Bench(tmp_path_factory.mktemp("talks"))
    bench.write_talks()
    code, said = bench.run("direct").end()
    assert code == 2, said
    yield bench
    bench.close()


@pytest.fixture
def bench(finished: Bench) -> Iterator[Bench]:
    """The same, for one test."""
    one = Bench(finished.folder)
    yield one
    one.close()
