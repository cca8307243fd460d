"""Runs on Prism: workers in this process and in others, killed and interrupted."""

from __future__ import annotations

import os
import signal

import pytest

from tests.support.runner_fixtures import Bench, children, free_port, wait_for_port, wait_until
from tests.support.runner_program import ASKED, LOADED


@pytest.fixture(params=["loopback", "external", "job server"])
def flags(request: pytest.FixtureRequest, bench: Bench, prism: str) -> list[str]:
    """Workers are threads of the program; a process of a pool; the same, and Prism was there before."""
    if request.param == "loopback":
        return ["--runner", "PrismRunner", "--prism_location", prism]
    external = ["--environment_type", "EXTERNAL", "--environment_config", bench.pool()]
    if request.param == "external":
        return ["--runner", "PrismRunner", "--prism_location", prism, *external]
    port = free_port()
    bench.start(prism, "--job_port", f"{port}", "--serve_http=false")
    return ["--runner", "PortableRunner", "--job_endpoint", wait_for_port(port), *external]


def test_rows_are_those_of_the_local_runner_to_the_byte(
    bench: Bench, flags: list[str], request: pytest.FixtureRequest
) -> None:
    name = request.node.name
    code, said = bench.run(name, *flags).end()
    assert code == 2, said
    assert "failures are listed in" in said
    assert "Traceback" not in said
    bench.assert_same(name)
    assert len(bench.notes(LOADED)) == 1  # of one process, which has one model
    batches = [int(line.split()[1]) for line in bench.notes(ASKED)]
    assert batches.count(2) > len(batches) / 2  # of different recordings, too


def test_after_a_worker_was_killed_the_same_command_goes_on(
    bench: Bench, prism: str, request: pytest.FixtureRequest
) -> None:
    name = request.node.name
    flags = ["--runner", "PrismRunner", "--prism_location", prism, "--environment_type", "EXTERNAL"]
    flags += ["--environment_config", bench.pool()]
    run = bench.run(name, *flags)
    (worker,) = bench.wait_for_batches(12)
    os.kill(worker, signal.SIGKILL)
    code, said = run.end()
    assert code == 1, said
    assert said.startswith("The run failed: ")
    assert "worker disconnected" in said
    bench.assert_goes_on(name, *flags)


def test_after_the_job_server_was_killed_the_same_command_goes_on(
    bench: Bench, prism: str, request: pytest.FixtureRequest
) -> None:
    name = request.node.name
    flags = ["--runner", "PrismRunner", "--prism_location", prism]
    run = bench.run(name, *flags)
    bench.wait_for_batches(12)
    for child in children(run.process.pid):
        os.kill(child, signal.SIGKILL)
    code, said = run.end()
    assert code == 1, said
    # Beam's workers, here threads of the program, may print tracebacks of their own, before it or behind it.
    assert "The run failed: the job server does not answer any more" in said
    bench.assert_goes_on(name, *flags)


def test_an_interrupted_run_ends_its_job(bench: Bench, prism: str, request: pytest.FixtureRequest) -> None:
    name, port = request.node.name, free_port()
    bench.start(prism, "--job_port", f"{port}", "--serve_http=false")
    flags = ["--runner", "PortableRunner", "--job_endpoint", wait_for_port(port), "--environment_type"]
    flags += ["EXTERNAL", "--environment_config", bench.pool()]
    run = bench.run(name, *flags)
    bench.wait_for_batches(12)
    run.kill(signal.SIGINT)
    code, said = run.end()
    assert code == 130, said
    wait_until(bench.is_idle)
    assert bench.windows_asked() < bench.report("direct")["counts"]["windows"]
    bench.assert_goes_on(name, *flags)
