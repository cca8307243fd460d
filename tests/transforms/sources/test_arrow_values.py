from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from transforms.sources.arrow_values import MAX_VALUE_BYTES, decoded_type, row_values, value_of

NOON = datetime.datetime(2024, 2, 29, 12, 30)


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["de"], pa.dictionary(pa.int8(), pa.string()), "de"),
        (["de"], pa.dictionary(pa.int32(), pa.large_string()), "de"),
        (["de"], pa.large_string(), "de"),
        (["de"], pa.string_view(), "de"),
        ([b"text"], pa.binary_view(), "text"),
        ([b"text"], pa.binary(), "text"),
        ([b"\xff\x00"], pa.large_binary(), "/wA="),
        ([b"\xff\x00"], pa.binary(2), "/wA="),
        ([[1, 2]], pa.list_(pa.int16()), [1, 2]),
        ([["a", None]], pa.large_list(pa.string_view()), ["a", None]),
        ([[0.5, 1.5]], pa.list_(pa.float32(), 2), [0.5, 1.5]),
        ([["a"]], pa.list_(pa.dictionary(pa.int8(), pa.string())), ["a"]),
        ([{"a": 1, "b": [NOON.date()]}], None, {"a": 1, "b": ["2024-02-29"]}),
        ([[("a", 1), ("b", 2)]], pa.map_(pa.string(), pa.int64()), [["a", 1], ["b", 2]]),
        ([NOON.date()], pa.date32(), "2024-02-29"),
        ([NOON.date()], pa.date64(), "2024-02-29"),
        ([NOON], pa.timestamp("s"), "2024-02-29T12:30:00"),
        ([NOON], pa.timestamp("us", "UTC"), "2024-02-29T12:30:00+00:00"),
        ([NOON.time()], pa.time64("us"), "12:30:00"),
        ([datetime.timedelta(seconds=90)], pa.duration("ms"), 90.0),
        ([Decimal("12.50")], pa.decimal128(6, 2), "12.50"),
        ([1.5], pa.float16(), 1.5),
        ([True], pa.bool_(), True),
        ([None], pa.timestamp("ns"), None),
        ([None], pa.null(), None),
    ],
    ids=str,
)
def test_value_is_one_of_json(values: list[Any], kind: pa.DataType | None, expected: object) -> None:
    assert value_of(pa.array(values, kind)) == expected


def test_times_that_python_does_not_have_are_kept_as_text() -> None:
    exact = value_of(pa.array([1_709_209_800_000_000_001], pa.timestamp("ns")))
    assert "2024-02-29" in str(exact)
    assert str(exact).endswith("000000001")
    assert str(value_of(pa.array([400_000_000_000], pa.timestamp("s")))).startswith("14645-")


def test_run_end_encoded_value() -> None:
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array(["de", "fr"]))
    assert value_of(runs.slice(2, 1)) == "fr"
    assert decoded_type(runs.type) == pa.string()


def test_large_values_that_are_no_text_are_told_by_their_size() -> None:
    text = "a" * (MAX_VALUE_BYTES + 1)
    assert value_of(pa.array([text])) == text
    assert value_of(pa.array([text.encode()])) == "left out: 65,541 bytes of binary"
    features = value_of(pa.array([[0.0] * 10_000]))
    assert str(features).startswith("left out: 80,0")
    assert str(features).endswith(" bytes of list<item: double>")


def test_row_has_all_columns_but_the_audio() -> None:
    table = pa.table({"audio": [b"x", b"y"], "text": [b"eins", b"zwei"], "tags": [["a"], ["b"]]})
    row = table.to_batches()[0].slice(1, 1)
    assert row_values(row, "audio", "text") == ({"text": "zwei", "tags": ["b"]}, ())


@pytest.mark.parametrize(
    ("value", "reference", "remarks"),
    [
        ("für".encode(), "für", ()),
        (None, None, ()),
        (b"f\xfcr", "für", ("text is not UTF-8: it was read as Windows-1252",)),
        (b"\xff\x81", "\udcff\udc81", ("text is neither UTF-8 nor Windows-1252: its bytes were kept",)),
    ],
)
def test_reference_of_bytes(value: bytes | None, reference: str | None, remarks: tuple[str, ...]) -> None:
    row = pa.record_batch({"audio": pa.array([b"x"]), "text": pa.array([value], pa.binary())})
    assert row_values(row, "audio", "text") == ({"text": reference}, remarks)


@pytest.mark.parametrize("zone", ["Foo/Bar", "+25:99"])
def test_time_of_an_unknown_zone_is_in_utc(zone: str) -> None:
    times = pa.array([1_709_209_800], pa.timestamp("s", zone))
    assert value_of(times) == "2024-02-29 12:30:00Z"
    nested = value_of(pa.array([[1_709_209_800]], pa.list_(times.type)))
    assert str(nested).startswith("left out: list<")
