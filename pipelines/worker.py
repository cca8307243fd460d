"""A worker that a runner starts as a process: `--environment_type PROCESS`, with this program as its command.

    whisper-beam-worker --id=ID --provision_endpoint=HOST:PORT

Flink's task managers each start one, and start another when it dies. It is for machines on which whisper-beam
is installed; Beam's own program for this, `boot`, installs things, and comes with container images alone.
"""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

import grpc
from apache_beam.portability.api import beam_provision_api_pb2, beam_provision_api_pb2_grpc
from apache_beam.runners.worker import sdk_worker_main
from google.protobuf import json_format, text_format

from pipelines.process.memory import use_few_arenas
from transforms.checkpoint.commit_log import leave_all

_PROVISION_S = 60.0


def main(argv: Sequence[str] | None = None) -> None:
    """Works until the runner closes the connection, or sends SIGTERM, and ends the process.

    What it was at work on then, as a job was cancelled or another worker died, is not held against its
    recordings.

    Args:
        argv: without the program's name; None for those of the process.
    """
    arguments = _parser().parse_known_args(argv)[0]
    signal.signal(signal.SIGTERM, _terminated)
    use_few_arenas()
    os.environ.update(environment(arguments.id, provision(arguments.id, arguments.provision_endpoint)))
    exit_code = 1
    try:
        sdk_worker_main.main([])
        exit_code = 0
    finally:
        _end(exit_code)


def provision(worker_id: str, endpoint: str) -> beam_provision_api_pb2.ProvisionInfo:
    """Asks the runner whom to connect to, and for the options of the job.

    Raises:
        grpc.RpcError: it does not answer.
    """
    with grpc.insecure_channel(endpoint) as channel:
        service = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        answer: beam_provision_api_pb2.GetProvisionInfoResponse = service.GetProvisionInfo(
            beam_provision_api_pb2.GetProvisionInfoRequest(),
            timeout=_PROVISION_S,
            metadata=[("worker_id", worker_id)],
        )
    return answer.info


def environment(worker_id: str, info: beam_provision_api_pb2.ProvisionInfo) -> dict[str, str]:
    """The variables that Beam's worker reads, as `boot` sets them."""
    endpoints = {"CONTROL": info.control_endpoint, "LOGGING": info.logging_endpoint}
    return {
        "WORKER_ID": worker_id,
        "PIPELINE_OPTIONS": json_format.MessageToJson(info.pipeline_options),
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
        **{
            f"{name}_API_SERVICE_DESCRIPTOR": text_format.MessageToString(endpoint)
            for name, endpoint in endpoints.items()
            if endpoint.url
        },
    }


def _terminated(signal_number: int, frame: FrameType | None) -> NoReturn:
    _end(128 + signal_number)


def _end(exit_code: int) -> NoReturn:
    """Ends at once: the model may be at work on what nobody asks for any more, and others do it again."""
    try:
        leave_all()  # which Python does when it ends by itself
    finally:
        os._exit(exit_code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="whisper-beam-worker", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--id", required=True, help="the worker's name, which the runner gives")
    parser.add_argument(
        "--provision_endpoint", required=True, metavar="HOST:PORT", help="where the runner tells the rest"
    )
    return parser


if __name__ == "__main__":
    main()
