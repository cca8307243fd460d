"""Runs on Flink: the cluster inside its job server, and one of task managers; what is killed goes on."""

from __future__ import annotations

import os
import signal

import pytest

from tests.support.runner_fixtures import Bench, Cluster, children, wait_until
from tests.support.runner_program import ASKED, LOADED
from tests.support.tone_backend import write_talk


@pytest.fixture(params=["1", "2"])
def embedded(request: pytest.FixtureRequest, flink_job_server: str) -> list[str]:
    """The cluster inside the job server, with one slot and with two; workers are threads of the program."""
    java = ["--flink_job_server_jar", flink_job_server, "--job_server_jvm_properties=-Xmx768m"]
    return ["--runner", "FlinkRunner", "--flink_master", "[local]", "--parallelism", request.param, *java]


PAIR = pytest.mark.parametrize("cluster", [2], indirect=True)
"""Of two task managers alone."""


def test_rows_are_those_of_the_local_runner_to_the_byte(
    bench: Bench, embedded: list[str], request: pytest.FixtureRequest
) -> None:
    code, said = bench.run(request.node.name, *embedded).end()
    assert code == 2, said
    bench.assert_same(request.node.name)
    assert len(bench.notes(LOADED)) == 1


def test_after_the_job_server_was_killed_the_same_command_goes_on(
    bench: Bench, embedded: list[str], request: pytest.FixtureRequest
) -> None:
    run = bench.run(request.node.name, *embedded)
    bench.wait_for_batches(8)
    kill_all(children(run.process.pid))
    code, said = run.end()
    assert code == 1, said
    assert "the job server does not answer any more" in said
    bench.assert_goes_on(request.node.name, *embedded)


def test_task_managers_give_the_same_bytes_and_load_one_model_each(
    bench: Bench, cluster: Cluster, request: pytest.FixtureRequest
) -> None:
    code, said = bench.run(request.node.name, *cluster.flags()).end()
    assert code == 2, said
    bench.assert_same(request.node.name)
    loaded = bench.notes(LOADED)
    assert len(set(loaded)) == len(loaded) == cluster.n_task_managers
    batches = [int(line.split()[1]) for line in bench.notes(ASKED)]
    assert batches.count(2) > len(batches) / 2


@PAIR
def test_spans_of_one_recording_are_shared_by_task_managers(
    bench: Bench, cluster: Cluster, request: pytest.FixtureRequest
) -> None:
    name = request.node.name
    talk = bench.folder / f"{name}.wav"
    write_talk(talk, 280)
    flags = ["--input", str(talk), "--max_span_s", "30"]
    for run, more in ((f"{name}_direct", []), (name, cluster.flags())):
        code, said = bench.run(run, *flags, *more, talks=False).end()
        assert code == 0, said
    workers = {line.split()[0] for line in bench.notes(ASKED)}
    assert len(workers) == 2
    assert bench.files(name) == bench.files(f"{name}_direct")


@PAIR
def test_a_run_whose_worker_was_killed_goes_on_by_itself(
    bench: Bench, cluster: Cluster, request: pytest.FixtureRequest
) -> None:
    run = bench.run(request.node.name, *cluster.flags())
    kill_all(bench.wait_for_batches(8)[:1])
    code, said = run.end()
    assert code == 2, said
    bench.assert_same(request.node.name)
    assert bench.report(request.node.name)["counts"]["done_before"] > 0


@PAIR
def test_a_run_whose_task_manager_was_killed_goes_on_by_itself(
    bench: Bench, cluster: Cluster, request: pytest.FixtureRequest
) -> None:
    run = bench.run(request.node.name, *cluster.flags())
    bench.wait_for_batches(8)
    cluster.kill_task_manager()
    code, said = run.end()
    assert code == 2, said
    bench.assert_same(request.node.name)


@PAIR
def test_a_job_goes_on_without_its_job_server_and_the_same_command_ends_the_run(
    bench: Bench, cluster: Cluster, request: pytest.FixtureRequest
) -> None:
    run = bench.run(request.node.name, *cluster.flags())
    bench.wait_for_batches(8)
    kill_all(children(run.process.pid))
    code, said = run.end()
    assert code == 1, said
    assert "the job server does not answer any more" in said
    wait_until(cluster.is_idle)
    bench.assert_goes_on(request.node.name, *cluster.flags())


def kill_all(processes: list[int]) -> None:
    for process in processes:
        os.kill(process, signal.SIGKILL)
