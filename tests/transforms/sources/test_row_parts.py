from __future__ import annotations

import pytest

from transforms.core.types import AudioSource
from transforms.core.uris import audio_id_of, audio_source
from transforms.sources.columns import ColumnError
from transforms.sources.row_parts import apply_channel, apply_clip, apply_part

SOURCE = audio_source("/calls/a.wav")
NEMO = ("offset", "duration")


@pytest.mark.parametrize(
    ("row", "expected", "used"),
    [
        ({"start": 1.5, "end": 3}, (1.5, 3.0), {"start", "end"}),
        ({"start": "1.5", "end": ""}, (1.5, None), {"start", "end"}),
        ({"start": 0, "end": None}, (None, None), {"start", "end"}),
        ({"offset": 4.0, "duration": 2.5}, (4.0, 6.5), {"offset", "duration"}),
        ({"offset": 4.0}, (4.0, None), {"offset"}),
        ({"duration": 7.5}, (None, None), set()),
        # Lhotse's cuts
        ({"start": 3.0, "duration": 5.0}, (3.0, 8.0), {"start", "end", "duration"}),
        ({"start": 0, "duration": 12.5}, (None, None), {"start", "end"}),
        ({"start": "", "duration": 12.5}, (None, None), {"start", "end"}),
        ({"start": 3.0, "end": 4.0, "duration": 60.0}, (3.0, 4.0), {"start", "end"}),
        ({"start": "", "end": "", "offset": "2", "duration": "1"}, (2.0, 3.0), {"start", "end", *NEMO}),
        # normal play time, as in media fragments; commas, as in SRT files and in tables of many countries
        ({"start": "1:05.5", "end": "00:01:06"}, (65.5, 66.0), {"start", "end"}),
        ({"start": "01:00:00,250", "end": "90:00"}, (3600.25, 5400.0), {"start", "end"}),
        ({"start": "12,5"}, (12.5, None), {"start", "end"}),
    ],
)  # fmt: skip
def test_part_of_a_file(
    row: dict[str, object], expected: tuple[float | None, float | None], used: set[str]
) -> None:
    part = apply_clip(SOURCE, row)
    assert ((part.source.start_s, part.source.end_s), part.remarks) == (expected, ())
    assert part.used == used


@pytest.mark.parametrize(
    "row",
    [
        {"start": "2021-05-03"}, {"start": "2021-05-03T10:00:00", "end": "2021-05-03T10:00:09"},
        {"start": "x", "end": 4}, {"start": 1, "end": "late"}, {"end": True}, {"start": [1]},
        {"start": "inf"}, {"start": float("nan")}, {"start": 10**400}, {"start": "1:99"},
        {"start": 1_620_000_000, "end": 1_620_000_009}, {"offset": "no", "duration": 2},
        {"start": "9" * 5000 + ":00"},
    ],
)  # fmt: skip
def test_value_that_is_no_time_is_metadata_with_a_remark(row: dict[str, object]) -> None:
    part = apply_clip(SOURCE, row)
    assert (part.source, part.used) == (SOURCE, frozenset())
    (remark,) = part.remarks
    assert "where seconds or h:mm:ss were expected: it is kept as metadata" in remark
    assert len(remark) < 300


@pytest.mark.parametrize("duration", ["3 min", -1, 0, "0", float("nan"), True])
def test_unknown_duration_does_not_end_a_part(duration: object) -> None:
    part = apply_clip(SOURCE, {"start": 5, "duration": duration})
    assert (part.source.start_s, part.source.end_s) == (5.0, None)
    assert part.source.audio_id == audio_id_of(SOURCE.uri, "#t=5")
    assert part.used == {"start", "end"}
    (remark,) = part.remarks
    assert remark.startswith(f"duration is {duration!r}, where seconds or h:mm:ss were expected: it is kept")


def test_duration_of_the_file_after_a_start_of_zero_leaves_its_id() -> None:
    assert apply_clip(SOURCE, {"start": 0, "duration": 12.5}).source == SOURCE


def test_other_columns_name_the_part_where_the_first_are_no_times() -> None:
    part = apply_clip(SOURCE, {"start": "2021-05-03", "offset": 4, "duration": 2})
    assert (part.source.start_s, part.source.end_s) == (4.0, 6.0)
    assert part.used == {"offset", "duration"}
    assert part.remarks[0].startswith("start is '2021-05-03', where")


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ({"start": -1}, "start is -1, where seconds, 0 or more, were expected"),
        ({"start": "-0:05"}, "start is '-0:05', where"),
        ({"offset": 0, "duration": "-3"}, "duration is '-3', where"),
        ({"start": 3, "end": 3}, "ends at 3 s, which is not after its start at 3 s"),
        ({"start": "0:04", "end": "0:03"}, "ends at 3 s, which is not after its start at 4 s"),
        ({"offset": 3, "duration": 0}, "ends at 3 s"),
    ],
)
def test_negative_or_reversed_part_is_an_error(row: dict[str, object], error: str) -> None:
    with pytest.raises(ColumnError, match=error):
        apply_clip(SOURCE, row)


@pytest.mark.parametrize(
    ("row", "channel"),
    [
        ({"channel": 0}, 0), ({"channel": 1}, 1), ({"channel": [1]}, 1), ({"channel": "1"}, 1),
        ({"channel": 1.0}, 1), ({"channel": "A"}, 0), ({"channel": "b"}, 1), ({"channel": "Right"}, 1),
        ({"channel_id": 1}, 1), ({"channel_selector": 1}, 1), ({"channel": "", "channel_id": "B"}, 1),
    ],
)  # fmt: skip
def test_channel_of_a_file_is_a_recording_of_its_own(row: dict[str, object], channel: int) -> None:
    part = apply_channel(SOURCE, row)
    assert part.source == AudioSource(f"{SOURCE.audio_id}-{channel}", SOURCE.uri, channel=channel)
    assert (len(part.used), part.remarks) == (1, ())


@pytest.mark.parametrize("value", ["", None, "mix", "mono", "average"])
def test_all_channels(value: str | None) -> None:
    part = apply_channel(SOURCE, {"channel": value})
    assert (part.source, part.remarks) == (SOURCE, ())


@pytest.mark.parametrize("value", ["BBC News", [0, 1], [], True, 1.5, -1, 64, "UC-9", "²", float("nan"), {}])
def test_value_that_is_no_channel_is_metadata_with_a_remark(value: object) -> None:
    part = apply_channel(SOURCE, {"channel": value})
    assert (part.source, part.used) == (SOURCE, frozenset())
    (remark,) = part.remarks
    assert "where a channel was expected: 0 to 63, or A or B: it is kept as metadata" in remark


def test_channel_of_a_part() -> None:
    part = apply_part(SOURCE, {"start": 1, "end": 2, "channel": "B", "snr": 3})
    audio_id = audio_id_of(SOURCE.uri, "#t=1,2")
    assert part.source == AudioSource(f"{audio_id}-1", SOURCE.uri, start_s=1.0, end_s=2.0, channel=1)
    assert part.used == {"start", "end", "channel"}
    remarks = apply_part(SOURCE, {"start": "x", "channel": "y"}).remarks
    assert [remark.split(" is ")[0] for remark in remarks] == ["start", "channel"]
