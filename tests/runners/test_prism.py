"""Runs on Prism with workers in threads and in other processes, killed and interrupted."""

from __future__ import annotations

import os
import signal

import pytest

from tests.support.runner_fixtures import RunnerHarness, children, free_port, wait_for_port, wait_until
from tests.support.runner_program import LOAD_LOG, NO_MODEL, REQUEST_LOG


@pytest.fixture(params=["loopback", "external", "job server"])
def flags(request: pytest.FixtureRequest, harness: RunnerHarness, prism: str) -> list[str]:
    """Options for workers in threads, in a worker pool, and in a worker pool with a running Prism."""
    if request.param == "loopback":
        return ["--runner", "PrismRunner", "--prism_location", prism]
    external = ["--environment_type", "EXTERNAL", "--environment_config", harness.pool()]
    if request.param == "external":
        return ["--runner", "PrismRunner", "--prism_location", prism, *external]
    port = free_port()
    harness.start(prism, "--job_port", f"{port}", "--serve_http=false")
    return ["--runner", "PortableRunner", "--job_endpoint", wait_for_port(port), *external]


def test_files_equal_those_of_the_local_runner(
    harness: RunnerHarness, flags: list[str], request: pytest.FixtureRequest
) -> None:
    name = request.node.name
    code, stderr = harness.run(name, *flags).end()
    assert code == 2, stderr
    assert "failures are listed in" in stderr
    assert "Traceback" not in stderr
    harness.assert_same(name)
    assert len(harness.log_lines(LOAD_LOG)) == 1  # one worker process, which loads one model
    batches = [int(line.split()[1]) for line in harness.log_lines(REQUEST_LOG)]
    assert 2 in batches  # windows of several recordings share one


def test_same_command_resumes_after_a_worker_was_killed(
    harness: RunnerHarness, prism: str, request: pytest.FixtureRequest
) -> None:
    name = request.node.name
    flags = ["--runner", "PrismRunner", "--prism_location", prism, "--environment_type", "EXTERNAL"]
    flags += ["--environment_config", harness.pool()]
    run = harness.run(name, *flags)
    (worker,) = harness.wait_for_batches(12)
    os.kill(worker, signal.SIGKILL)
    code, stderr = run.end()
    assert code == 1, stderr
    assert stderr.startswith("The run failed: ")
    assert "worker disconnected" in stderr
    harness.assert_resumes(name, *flags)


def test_same_command_resumes_after_the_job_server_was_killed(
    harness: RunnerHarness, prism: str, request: pytest.FixtureRequest
) -> None:
    name = request.node.name
    flags = ["--runner", "PrismRunner", "--prism_location", prism]
    run = harness.run(name, *flags)
    harness.wait_for_batches(12)
    for child in children(run.process.pid):
        os.kill(child, signal.SIGKILL)
    code, stderr = run.end()
    assert code == 1, stderr
    # Beam's workers, threads of the program here, may print their own tracebacks.
    assert "The run failed: the job server no longer answers" in stderr
    harness.assert_resumes(name, *flags)


def test_interrupted_run_cancels_its_job(
    harness: RunnerHarness, prism: str, request: pytest.FixtureRequest
) -> None:
    name, port = request.node.name, free_port()
    harness.start(prism, "--job_port", f"{port}", "--serve_http=false")
    flags = ["--runner", "PortableRunner", "--job_endpoint", wait_for_port(port), "--environment_type"]
    flags += ["EXTERNAL", "--environment_config", harness.pool()]
    run = harness.run(name, *flags)
    harness.wait_for_batches(12)
    run.kill(signal.SIGINT)
    code, stderr = run.end()
    assert code == 130, stderr
    wait_until(harness.is_idle)
    assert harness.n_windows_requested() < harness.report("direct")["counts"]["windows"]
    harness.assert_resumes(name, *flags)


def test_interrupt_while_the_job_is_submitted_ends_the_program(
    harness: RunnerHarness, prism: str, request: pytest.FixtureRequest
) -> None:
    run = harness.run(request.node.name, "--runner", "PrismRunner", "--prism_location", prism)
    wait_until(lambda: bool(children(run.process.pid)))  # Prism has been started
    os.kill(run.process.pid, signal.SIGINT)
    code, stderr = run.end()
    assert code == 130, stderr
    wait_until(lambda: not run.is_left())


def test_error_in_a_worker_ends_the_program(
    harness: RunnerHarness, prism: str, request: pytest.FixtureRequest
) -> None:
    (harness.folder / NO_MODEL).touch()
    run = harness.run(request.node.name, "--runner", "PrismRunner", "--prism_location", prism)
    code, stderr = run.end()
    (harness.folder / NO_MODEL).unlink()
    assert code == 1, stderr
    assert "there is no model" in stderr
    assert harness.log_lines(LOAD_LOG)
    wait_until(lambda: not run.is_left())
