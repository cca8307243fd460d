"""Beam worker that a runner starts as a process (`--environment_type PROCESS`), for example Flink.

    whisper-beam-worker --id=ID --provision_endpoint=HOST:PORT

Each task manager of Flink starts one, and starts another when it dies. It is for machines on which
whisper-beam is installed; Beam's own worker program, `boot`, installs packages and exists only in container
images.
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

from pipelines.process.memory import limit_malloc_arenas
from transforms.checkpoint.commit_log import release_all_writers

_PROVISION_S = 60.0


def main(argv: Sequence[str] | None = None) -> None:
    """Serves the runner until it closes the connection or sends SIGTERM, then ends the process.

    The spans in progress at that moment are released in the commit log: a cancelled job, or the death of
    another worker, is not counted as a crash of their recordings.

    Args:
        argv: arguments without the program's name; None for those of the process.
    """
    arguments = _parser().parse_known_args(argv)[0]
    signal.signal(signal.SIGTERM, _terminated)
    limit_malloc_arenas()
    os.environ.update(environment(arguments.id, provision(arguments.id, arguments.provision_endpoint)))
    exit_code = 1
    try:
        sdk_worker_main.main([])
        exit_code = 0
    finally:
        _end(exit_code)


def provision(worker_id: str, endpoint: str) -> beam_provision_api_pb2.ProvisionInfo:
    """Fetches the endpoints and the options of the job from the runner.

    Raises:
        grpc.RpcError: the runner does not answer.
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
    """Returns the environment variables that Beam's worker reads, as `boot` sets them."""
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
    """Ends the process immediately, without waiting for a model call whose result is no longer needed."""
    try:
        release_all_writers()  # `os._exit` skips the handler that does so at a normal exit
    finally:
        os._exit(exit_code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="whisper-beam-worker", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--id", required=True, help="the worker's name, assigned by the runner")
    parser.add_argument(
        "--provision_endpoint", required=True, metavar="HOST:PORT", help="the runner's provision service"
    )
    return parser


if __name__ == "__main__":
    main()
