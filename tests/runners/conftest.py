"""The runners' programs, skipped where they cannot be had, and what a test starts, ended with it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.runners import RunnerError, build_prism, check_java, fetch_job_server
from tests.runners.machinery import Bench

FLINK_VERSION = "2.0"
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
    """The jar of Flink's job server, fetched by Maven or found where it was."""
    mvn = shutil.which("mvn")
    if mvn is None:
        pytest.skip("there is no Maven to fetch Flink's job server with")
    try:
        check_java("java")
        return str(fetch_job_server(mvn, FLINK_VERSION, KEPT / "jars"))
    except RunnerError as error:
        pytest.skip(str(error))


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
