"""The worker fetches its endpoints from the runner, and ends when the runner does."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from apache_beam.portability.api import (
    beam_fn_api_pb2,
    beam_fn_api_pb2_grpc,
    beam_provision_api_pb2,
    beam_provision_api_pb2_grpc,
    endpoints_pb2,
)
from apache_beam.runners.worker import sdk_worker_main
from google.protobuf import struct_pb2

from pipelines.worker import environment
from transforms.checkpoint.commit_log import read_index

ROOT = Path(__file__).parents[2]
LIMIT_S = 60.0


@dataclass
class Runner(
    beam_provision_api_pb2_grpc.ProvisionServiceServicer, beam_fn_api_pb2_grpc.BeamFnControlServicer
):
    """Provides its address to workers, and no work until it ends."""

    metadata: dict[str, str] = field(default_factory=dict)
    connected: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    address: str = ""

    def GetProvisionInfo(  # noqa: N802  # of the service
        self, request: object, context: grpc.ServicerContext
    ) -> beam_provision_api_pb2.GetProvisionInfoResponse:
        self.metadata = {pair.key: pair.value for pair in context.invocation_metadata()}
        control = endpoints_pb2.ApiServiceDescriptor(url=self.address)
        info = beam_provision_api_pb2.ProvisionInfo(control_endpoint=control)
        return beam_provision_api_pb2.GetProvisionInfoResponse(info=info)

    def Control(  # noqa: N802
        self, requests: object, context: grpc.ServicerContext
    ) -> Iterator[beam_fn_api_pb2.InstructionRequest]:
        self.connected.set()
        self.ended.wait()
        yield from ()


@pytest.fixture
def runner() -> Iterator[Runner]:
    server, runner = grpc.server(ThreadPoolExecutor(8)), Runner()
    beam_provision_api_pb2_grpc.add_ProvisionServiceServicer_to_server(runner, server)
    beam_fn_api_pb2_grpc.add_BeamFnControlServicer_to_server(runner, server)
    runner.address = f"localhost:{server.add_insecure_port('localhost:0')}"
    server.start()
    yield runner
    runner.ended.set()
    server.stop(None).wait()


def start(address: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pipelines.worker", "--id=7-1", f"--provision_endpoint={address}"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_worker_sends_its_id_and_ends_with_its_runner(runner: Runner) -> None:
    with start(runner.address) as worker:
        assert runner.connected.wait(LIMIT_S)
        assert runner.metadata["worker_id"] == "7-1"
        assert worker.poll() is None
        runner.ended.set()
        assert worker.wait(LIMIT_S) == 0


AT_WORK = """
import sys
from pipelines.worker import main
from transforms.checkpoint.commit_log import LogWriter

log, address = sys.argv[1:]
writer = LogWriter(log)
writer.begin(["a", "b"])
main(["--id=7-1", f"--provision_endpoint={address}"])
"""


@pytest.mark.parametrize("how", ["closed", "terminated", "killed"])
def test_stopped_worker_releases_its_spans(runner: Runner, tmp_path: Path, how: str) -> None:
    command = [sys.executable, "-c", AT_WORK, str(tmp_path), runner.address]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as worker:
        assert runner.connected.wait(LIMIT_S)
        assert read_index(str(tmp_path)).n_crashed == {"a": 1, "b": 1}
        end = {"closed": runner.ended.set, "terminated": worker.terminate, "killed": worker.kill}[how]
        end()
        expected = {"closed": 0, "terminated": 128 + signal.SIGTERM, "killed": -signal.SIGKILL}[how]
        assert worker.wait(LIMIT_S) == expected
    assert read_index(str(tmp_path)).n_crashed == ({"a": 1, "b": 1} if how == "killed" else {})


def test_worker_ends_without_a_runner() -> None:
    with start("localhost:1") as worker:
        assert worker.wait(LIMIT_S) == 1


def test_environment_can_be_read_by_beam(monkeypatch: pytest.MonkeyPatch) -> None:
    options = struct_pb2.Struct()
    options["beam:option:job_name:v1"] = "talks"
    info = beam_provision_api_pb2.ProvisionInfo(
        control_endpoint=endpoints_pb2.ApiServiceDescriptor(url="localhost:1"),
        pipeline_options=options,
        runner_capabilities=["a", "b"],
    )
    variables = environment("7-1", info)
    assert variables["RUNNER_CAPABILITIES"] == "a b"
    assert "LOGGING_API_SERVICE_DESCRIPTOR" not in variables  # Beam treats a missing variable as no endpoint
    made = {}
    monkeypatch.setattr(sdk_worker_main, "SdkHarness", lambda **given: made.update(given))
    sdk_worker_main.create_harness(variables)
    assert made["control_address"] == "localhost:1"
    assert made["worker_id"] == "7-1"
    assert sdk_worker_main._load_pipeline_options(variables["PIPELINE_OPTIONS"]) == {"job_name": "talks"}
