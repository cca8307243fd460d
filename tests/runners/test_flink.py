"""Runs on the cluster inside Flink's job server, which is killed."""

from __future__ import annotations

import os
import signal

import pytest

from tests.runners.machinery import Bench, children


@pytest.fixture(params=["1", "2"])
def flags(request: pytest.FixtureRequest, flink_job_server: str) -> list[str]:
    """With one slot and with two."""
    java = ["--flink_job_server_jar", flink_job_server, "--job_server_jvm_properties=-Xmx768m"]
    return ["--runner", "FlinkRunner", "--flink_master", "[local]", "--parallelism", request.param, *java]


def test_rows_are_those_of_the_local_runner_to_the_byte(
    bench: Bench, flags: list[str], request: pytest.FixtureRequest
) -> None:
    code, said = bench.run(request.node.name, *flags).end()
    assert code == 2, said
    bench.assert_same(request.node.name)


def test_after_the_job_server_was_killed_the_same_command_goes_on(
    bench: Bench, flags: list[str], request: pytest.FixtureRequest
) -> None:
    run = bench.run(request.node.name, *flags)
    bench.wait_for_batches(12)
    for child in children(run.process.pid):
        os.kill(child, signal.SIGKILL)
    code, said = run.end()
    assert code == 1, said
    assert "the job server does not answer any more" in said
    bench.assert_goes_on(request.node.name, *flags)
