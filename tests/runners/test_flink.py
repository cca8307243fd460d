"""Runs on Flink, in the job server's embedded cluster and on task managers; killed runs are resumed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.runner_fixtures import CACHE, Cluster, RunnerHarness, children, wait_until
from tests.support.runner_program import LOAD_LOG, REQUEST_LOG
from tests.support.tone_backend import write_talk


@pytest.fixture(params=["1", "2"])
def embedded(request: pytest.FixtureRequest, flink_job_server: str) -> list[str]:
    """Options for the job server's embedded cluster with one or two slots; workers are threads."""
    java = ["--flink_job_server_jar", flink_job_server, "--job_server_jvm_properties=-Xmx768m"]
    return ["--runner", "FlinkRunner", "--flink_master", "[local]", "--parallelism", request.param, *java]


PAIR = pytest.mark.parametrize("cluster", [2], indirect=True)
"""Runs a test on two task managers only."""


def test_files_equal_those_of_the_local_runner(
    harness: RunnerHarness, embedded: list[str], request: pytest.FixtureRequest
) -> None:
    code, stderr = harness.run(request.node.name, *embedded).end()
    assert code == 2, stderr
    harness.assert_same(request.node.name)
    assert len(harness.log_lines(LOAD_LOG)) == 1


def test_a_job_server_is_found_where_none_is_given(
    harness: RunnerHarness,
    flink_job_server: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WHISPER_BEAM_CACHE", str(CACHE))
    flags = ["--flink_master", "[local]", "--parallelism", "1", "--job_server_jvm_properties=-Xmx768m"]
    code, stderr = harness.run(request.node.name, "--runner", "FlinkRunner", *flags).end()
    assert code == 2, stderr
    is_assembled = flink_job_server.endswith("/job-server.jar")
    assert (f"The job server is {Path(flink_job_server).parent}, of Beam 2.70.0" in stderr) == is_assembled
    harness.assert_same(request.node.name)


def test_same_command_resumes_after_the_job_server_was_killed(
    harness: RunnerHarness, embedded: list[str], request: pytest.FixtureRequest
) -> None:
    run = harness.run(request.node.name, *embedded)
    harness.wait_for_batches(8)
    kill_all(children(run.process.pid))
    code, stderr = run.end()
    assert code == 1, stderr
    assert "the job server no longer answers" in stderr
    harness.assert_resumes(request.node.name, *embedded)


def test_task_managers_write_the_same_files_and_load_one_model_each(
    harness: RunnerHarness, cluster: Cluster, request: pytest.FixtureRequest
) -> None:
    code, stderr = harness.run(request.node.name, *cluster.flags()).end()
    assert code == 2, stderr
    harness.assert_same(request.node.name)
    loaded = harness.log_lines(LOAD_LOG)
    assert len(set(loaded)) == len(loaded) == cluster.n_task_managers
    batches = [int(line.split()[1]) for line in harness.log_lines(REQUEST_LOG)]
    assert 2 in batches  # windows of several recordings share one


@PAIR
def test_spans_of_a_recording_are_distributed_over_task_managers(
    harness: RunnerHarness, cluster: Cluster, request: pytest.FixtureRequest
) -> None:
    name = request.node.name
    talk = harness.folder / f"{name}.wav"
    write_talk(talk, 280)
    flags = ["--input", str(talk), "--max_span_s", "30"]
    for run, more in ((f"{name}_direct", []), (name, cluster.flags())):
        code, stderr = harness.run(run, *flags, *more, talks=False).end()
        assert code == 0, stderr
    workers = {line.split()[0] for line in harness.log_lines(REQUEST_LOG)}
    assert len(workers) == 2
    assert harness.files(name) == harness.files(f"{name}_direct")


@PAIR
def test_run_continues_after_a_worker_was_killed(
    harness: RunnerHarness, cluster: Cluster, request: pytest.FixtureRequest
) -> None:
    run = harness.run(request.node.name, *cluster.flags())
    kill_all(harness.wait_for_batches(8)[:1])
    code, stderr = run.end()
    assert code == 2, stderr
    harness.assert_same(request.node.name)
    assert harness.report(request.node.name)["counts"]["done_before"] > 0


@PAIR
def test_run_continues_after_a_task_manager_was_killed(
    harness: RunnerHarness, cluster: Cluster, request: pytest.FixtureRequest
) -> None:
    run = harness.run(request.node.name, *cluster.flags())
    harness.wait_for_batches(8)
    cluster.kill_task_manager()
    code, stderr = run.end()
    assert code == 2, stderr
    harness.assert_same(request.node.name)


@PAIR
def test_job_continues_without_its_job_server_and_the_same_command_finishes_the_run(
    harness: RunnerHarness, cluster: Cluster, request: pytest.FixtureRequest
) -> None:
    run = harness.run(request.node.name, *cluster.flags())
    harness.wait_for_batches(8)
    kill_all(children(run.process.pid))
    code, stderr = run.end()
    assert code == 1, stderr
    assert "the job server no longer answers" in stderr
    wait_until(cluster.is_idle)
    harness.assert_resumes(request.node.name, *cluster.flags())


def kill_all(processes: list[int]) -> None:
    for process in processes:
        os.kill(process, signal.SIGKILL)
