"""The figures of a server for /metrics, in Prometheus's text format.

Each server has a registry of its own, so that two of them can live in one process. The mean fill of batches
is `whisper_beam_batch_windows_sum / whisper_beam_batch_windows_count / whisper_beam_batch_size`.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, Summary
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from transforms.core.metrics import NAMESPACE, STAGES

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
OTHER = "other"
"""The endpoint of all paths that the server does not have: their number must not grow with requests."""
_MODELS = "/v1/models"
_BY_ID = f"{_MODELS}/{{model}}"
ENDPOINTS = (
    "/",
    "/health",
    "/metrics",
    "/openapi.json",
    "/ready",
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
    _MODELS,
)
_REQUEST_BUCKETS_S = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600, 1800, 3600)
_BATCH_BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128)
_BATCH_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60)


def endpoint_of(path: str) -> str:
    """Returns the endpoint of a path: one of few, whatever clients ask for."""
    if path in ENDPOINTS:
        return path
    return _BY_ID if path.startswith(f"{_MODELS}/") else OTHER


class ServerMetrics:
    """The figures of one server. Threads may share it.

    Attributes:
        recognition: counts of the transcriptions, to be passed to them as their metrics.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            f"{NAMESPACE}_requests", "Answered requests", ["endpoint", "status"], registry=registry
        )
        self._request_s = Histogram(
            f"{NAMESPACE}_request_seconds",
            "Seconds from the first byte of a request to the last byte of its answer",
            ["endpoint"],
            buckets=_REQUEST_BUCKETS_S,
            registry=registry,
        )
        self._audio_s = Counter(
            f"{NAMESPACE}_audio_seconds", "Seconds of audio that were transcribed", registry=registry
        )
        self._waiting = Gauge(
            f"{NAMESPACE}_transcriptions_waiting",
            "Transcriptions that wait for their turn",
            registry=registry,
        )
        self._running = Gauge(
            f"{NAMESPACE}_transcriptions_running", "Transcriptions that are running", registry=registry
        )
        self._batch_size = Gauge(
            f"{NAMESPACE}_batch_size", "Windows that fit into a batch of the model", registry=registry
        )
        self.recognition = RecognitionMetrics(registry)

    def watch(self, waiting: Callable[[], int], running: Callable[[], int]) -> None:
        """Sets the functions that return the number of waiting and running transcriptions."""
        self._waiting.set_function(waiting)
        self._running.set_function(running)

    def set_batch_size(self, n_windows: int) -> None:
        """Sets the number of windows that fit into a batch."""
        self._batch_size.set(n_windows)

    def count_request(self, path: str, status: int, seconds: float) -> None:
        """Counts an answered request."""
        endpoint = endpoint_of(path)
        self._requests.labels(endpoint, str(status)).inc()
        self._request_s.labels(endpoint).observe(seconds)

    def count_audio(self, duration_s: float) -> None:
        """Counts the seconds of a recording that was transcribed."""
        self._audio_s.inc(duration_s)

    def render(self) -> bytes:
        """Returns the body of /metrics, of `CONTENT_TYPE`."""
        return generate_latest(self._registry)


class RecognitionMetrics:
    """The sink of counts and distributions (`transforms.core.metrics.Metrics`) in a registry.

    Seconds of stages are a counter by stage, and batches have histograms; every other counter or distribution
    is one with its name as a label.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._stage_s = Counter(
            f"{NAMESPACE}_stage_seconds", "Seconds of each stage", ["stage"], registry=registry
        )
        self._events = Counter(f"{NAMESPACE}_events", "Events by name", ["name"], registry=registry)
        self._values = Summary(f"{NAMESPACE}_values", "Values by name", ["name"], registry=registry)
        self._batch_windows = Histogram(
            f"{NAMESPACE}_batch_windows", "Windows in a batch", buckets=_BATCH_BUCKETS, registry=registry
        )
        self._batch_s = Histogram(
            f"{NAMESPACE}_batch_seconds",
            "Seconds of the model for a batch",
            buckets=_BATCH_BUCKETS_S,
            registry=registry,
        )

    def count(self, name: str, n: int = 1) -> None:
        """See `transforms.core.metrics.Metrics`."""
        stage = name.removesuffix("_us")
        if stage in STAGES and stage != name:
            self._stage_s.labels(stage).inc(max(n, 0) / 1e6)  # seconds less those of compiling may be below 0
        else:
            self._events.labels(name).inc(n)

    def distribute(self, name: str, value: float) -> None:
        """See `transforms.core.metrics.Metrics`."""
        match name:
            case "batch_windows":
                self._batch_windows.observe(value)
            case "batch_model_ms":
                self._batch_s.observe(value / 1000)
            case _:
                self._values.labels(name).observe(value)
