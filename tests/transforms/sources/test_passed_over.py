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
        ARCHIVES: ["x/a.cls"],
    }.items():
        counter = PassedOver(place, metrics)
        for name in names:
            counter.add(name)
    found = passed_over(metrics.counters)
    assert found == {
        "folders": {
            ".docx": 1, ".jpg": 2, "hidden": 2, "with_other_extensions": 1, "without_extension": 2,
        },
        "archives": {".cls": 1},
    }  # fmt: skip
    assert format_places(found) == [
        "passed over in folders: 2 .jpg, 2 hidden, 2 without extension, 1 .docx, 1 with other extensions "
        "(not taken for audio)",
        "passed over in archives: 1 .cls (not taken for audio)",
    ]


def test_number_of_extensions_is_limited() -> None:
    metrics = CountingMetrics()
    counter = PassedOver(ARCHIVES, metrics)
    for n in range(10_000):
        counter.add(f"a.x{n}")
    assert len(metrics.counters) == MAX_EXTENSIONS + 1
    assert counter.counts.total() == 10_000
    assert format_counts(counter.counts).startswith("9960 with other extensions, 1 .x0, ")


def test_nothing_is_said_where_nothing_was_passed_over() -> None:
    assert passed_over({"listed": 3, "passed_over_in_folders_.jpg": 0}) == {}
    assert format_places({}) == []
