from __future__ import annotations

from transforms.core.metrics import CountingMetrics
from transforms.sources.passed_over import (
    ARCHIVES,
    FOLDERS,
    MAX_EXTENSIONS,
    PassedOver,
    format_counts,
    format_places,
    passed_over,
)


def test_files_are_counted_by_extension() -> None:
    metrics = CountingMetrics()
    for place, names in {
        FOLDERS: ["a.JPG", "b.jpg", "notes.docx", ".DS_Store", "sub/.git/x", "README", "x.", "a.b c"],
        ARCHIVES: ["x/a.png", "b.zip", ".c", "a.x1", "a.x2", "LICENSE"],
    }.items():
        counter = PassedOver(place, metrics)
        for name in names:
            counter.add(name)
    found = passed_over(metrics.counters)
    assert found == {
        "folders": {
            ".docx": 1, ".jpg": 2, "hidden": 2, "with_other_extensions": 1, "without_extension": 2,
        },
        "archives": {".png": 1, ".zip": 1, "hidden": 1, "with_other_extensions": 2, "without_extension": 1},
    }  # fmt: skip
    assert format_places(found) == [
        "passed over in folders: 2 .jpg, 2 hidden, 2 without extension, 1 .docx, 1 with other extensions "
        "(not taken for audio)",
        "passed over in archives: 2 with other extensions, 1 .png, 1 .zip, 1 hidden, 1 without extension "
        "(not taken for audio)",
    ]


def test_number_of_extensions_is_limited() -> None:
    metrics = CountingMetrics()
    counter = PassedOver(FOLDERS, metrics)
    for n in range(10_000):
        counter.add(f"a.x{n}")
    assert len(metrics.counters) == MAX_EXTENSIONS + 1
    assert counter.counts.total() == 10_000
    assert format_counts(counter.counts).startswith("9960 with other extensions, 1 .x0, ")


def test_number_of_counters_of_archives_is_limited() -> None:
    metrics = CountingMetrics()
    for archive in range(100):
        counter = PassedOver(ARCHIVES, metrics)
        for n in range(3):
            counter.add(f"a.x{archive}{n}")
        assert counter.counts.keys() == {f".x{archive}{n}" for n in range(3)}
    assert passed_over(metrics.counters) == {"archives": {"with_other_extensions": 300}}


def test_nothing_is_said_where_nothing_was_passed_over() -> None:
    assert passed_over({"listed": 3, "passed_over_in_folders_.jpg": 0}) == {}
    assert format_places({}) == []
