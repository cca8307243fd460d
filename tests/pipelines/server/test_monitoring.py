from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipelines.server.monitoring import CONTENT_TYPE, OTHER, ServerMetrics, endpoint_of
from transforms.core.metrics import Metrics, count_seconds


def samples(metrics: ServerMetrics) -> dict[tuple[str, ...], float]:
    """Values by name and labels, without the buckets of histograms and the figures of the process."""
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (sample.name.removeprefix("whisper_beam_"), *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith(("_bucket", "_created")) and not sample.name.startswith("process_")
    }


def test_requests_are_counted_by_endpoint_and_status() -> None:
    metrics = ServerMetrics()
    for status, seconds in ((200, 1.5), (200, 2.5), (429, 0.25)):
        metrics.count_request("/v1/audio/transcriptions", status, seconds)
    found = samples(metrics)
    assert found["requests_total", "/v1/audio/transcriptions", "200"] == 2
    assert found["requests_total", "/v1/audio/transcriptions", "429"] == 1
    assert found["request_seconds_sum", "/v1/audio/transcriptions"] == 4.25
    assert found["request_seconds_count", "/v1/audio/transcriptions"] == 3


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/health", "/health"),
        ("/v1/models", "/v1/models"),
        ("/v1/models/openai/whisper-base", "/v1/models/{model}"),
        ("/v1/models/1", "/v1/models/{model}"),
        ("/wp-login.php", OTHER),
        ("/v1/modelsX", OTHER),
        ("", OTHER),
    ],
)
def test_unknown_paths_are_one_endpoint(path: str, endpoint: str) -> None:
    assert endpoint_of(path) == endpoint


def test_requests_of_random_paths_do_not_add_series() -> None:
    metrics = ServerMetrics()
    for n in range(100):
        metrics.count_request(f"/scan/{n}", 404, 0.001)
    assert len([name for name in samples(metrics) if name[0] == "requests_total"]) == 1


def test_queue_is_read_when_it_is_asked_for() -> None:
    metrics, queue = ServerMetrics(), list[int]()
    metrics.watch(queue.__len__, lambda: 2)
    queue += [1, 2, 3]
    found = samples(metrics)
    assert (found["transcriptions_waiting",], found["transcriptions_running",]) == (3, 2)


def test_fill_of_batches_follows_from_the_figures() -> None:
    metrics = ServerMetrics()
    metrics.set_batch_size(4)
    for n_windows in (4, 4, 1):
        metrics.recognition.distribute("batch_windows", n_windows)
    found = samples(metrics)
    n_rows = found["batch_windows_count",] * found["batch_size",]
    assert found["batch_windows_sum",] / n_rows == 0.75


def test_counts_of_the_transcriptions() -> None:
    metrics = ServerMetrics()
    sink: Metrics = metrics.recognition
    count_seconds(sink, "model", 1.5)
    count_seconds(sink, "model", -0.5)  # a call whose compiling another call waited for
    sink.count("windows", 3)
    sink.count("failed_us")  # not a stage
    sink.distribute("batch_model_ms", 250)
    sink.distribute("recording_s", 10)
    metrics.count_audio(9.5)
    found = samples(metrics)
    assert found["stage_seconds_total", "model"] == 1.5
    assert found["events_total", "windows"] == 3
    assert found["events_total", "failed_us"] == 1
    assert found["batch_seconds_sum",] == 0.25
    assert found["values_sum", "recording_s"] == 10
    assert found["audio_seconds_total",] == 9.5


def test_servers_of_one_process_count_apart() -> None:
    one, other = ServerMetrics(), ServerMetrics()
    one.recognition.count("windows")
    assert ("events_total", "windows") in samples(one)
    assert ("events_total", "windows") not in samples(other)


def test_threads_lose_no_counts() -> None:
    metrics = ServerMetrics()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: metrics.recognition.count("windows"), range(2000)))
    assert samples(metrics)["events_total", "windows"] == 2000


def test_body_has_the_figures_of_the_process_and_its_format() -> None:
    body = ServerMetrics().render().decode()
    assert "process_resident_memory_bytes" in body
    assert "process_open_fds" in body
    assert CONTENT_TYPE.startswith("text/plain")


def test_names_follow_the_conventions_of_prometheus() -> None:
    families: Mapping[str, str] = {
        family.name: family.type
        for family in text_string_to_metric_families(ServerMetrics().render().decode())
    }
    assert all(name.startswith(("whisper_beam_", "process_")) for name in families)
    assert families["whisper_beam_request_seconds"] == "histogram"
