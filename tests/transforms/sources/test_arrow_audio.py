from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile as sf
from numpy.typing import NDArray

from transforms.core.errors import AudioError
from transforms.sources.arrow_audio import RowAudio, audio_of, can_be_audio

TONE = (0.5 * np.sin(np.arange(800) / 5)).astype(np.float32)


def row(audio: list[Any], kind: pa.DataType | None = None, **columns: list[Any]) -> pa.RecordBatch:
    return pa.record_batch({"audio": pa.array(audio, kind), **columns})


def samples_of(audio: RowAudio) -> tuple[NDArray[np.float32], int]:
    assert audio.payload is not None
    return sf.read(io.BytesIO(audio.payload), dtype="float32")


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int16(), pa.string())],
    ids=str,
)
def test_paths(kind: pa.DataType) -> None:
    assert audio_of(row(["a.wav"], kind), "audio") == RowAudio(path="a.wav")
    assert can_be_audio(kind)


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()], ids=str)
def test_bytes(kind: pa.DataType) -> None:
    assert audio_of(row([b"RIFF"], kind), "audio") == RowAudio(b"RIFF")
    assert can_be_audio(kind)


def test_structs_of_views_and_categories() -> None:
    kind = pa.struct([("bytes", pa.binary_view()), ("path", pa.dictionary(pa.int8(), pa.large_string()))])
    assert audio_of(row([{"bytes": b"RIFF", "path": "a.wav"}], kind), "audio") == RowAudio(b"RIFF", "a.wav")
    assert audio_of(row([None], kind), "audio") == RowAudio()


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()], ids=str)
@pytest.mark.parametrize("lists", [pa.list_, pa.large_list])
def test_decoded_samples(kind: pa.DataType, lists: Any) -> None:  # noqa: ANN401
    audio = [{"path": "a.wav", "array": TONE.astype(kind.to_pandas_dtype()), "sampling_rate": 8000}]
    struct = pa.struct([("path", pa.string()), ("array", lists(kind)), ("sampling_rate", pa.int64())])
    found = audio_of(row(audio, struct), "audio")
    assert found.path == "a.wav"
    samples, rate = samples_of(found)
    assert rate == 8000
    np.testing.assert_allclose(samples, TONE, atol=1e-3)


def test_samples_take_precedence_over_a_path_and_bytes_over_both() -> None:
    audio = {"bytes": None, "path": "a.wav", "array": TONE.tolist(), "sampling_rate": 16_000}
    assert len(samples_of(audio_of(row([audio]), "audio"))[0]) == len(TONE)
    kind = row([{**audio, "bytes": b"x"}]).schema.field("audio").type
    assert audio_of(row([{**audio, "bytes": b"RIFF"}], kind), "audio").payload == b"RIFF"
    assert audio_of(row([{**audio, "array": None}], kind), "audio") == RowAudio(path="a.wav")


@pytest.mark.parametrize("column", ["sampling_rate", "sample_rate"])
def test_bare_list_with_a_column_of_rates(column: str) -> None:
    samples, rate = samples_of(audio_of(row([TONE.tolist()], **{column: [22_050]}), "audio"))
    assert (len(samples), rate) == (len(TONE), 22_050)


def test_integers_have_their_full_scale_and_lists_of_lists_are_channels() -> None:
    kind = pa.list_(pa.list_(pa.int16()))
    stereo = [[0, 16_384, -32_768], [32_767, 0, 0]]
    samples, _ = samples_of(audio_of(row([stereo], kind, sampling_rate=[16_000]), "audio"))
    np.testing.assert_allclose(samples.T, [[0, 0.5, -1], [1, 0, 0]], atol=1e-4)


def test_only_the_samples_of_the_row_are_read() -> None:
    rows = row([[0.0] * 3, [0.5] * 4, [1.0] * 2], pa.list_(pa.float32()), sampling_rate=[8000, 16_000, 8000])
    samples, rate = samples_of(audio_of(rows.slice(1, 1), "audio"))
    assert (samples.tolist(), rate) == ([0.5] * 4, 16_000)


@pytest.mark.parametrize(
    ("audio", "kind", "columns", "message"),
    [
        ([0.1, 0.2], pa.list_(pa.float32()), {}, "audio holds samples without their rate: add a column samp"),
        ([0.1], pa.list_(pa.float32()), {"sampling_rate": [None]}, "without their rate"),
        ([0.1], pa.list_(pa.float32()), {"sampling_rate": [0]}, "sampling_rate 0: give a whole number from"),
        ([0.1], pa.list_(pa.float32()), {"sampling_rate": ["fast"]}, "sampling_rate 'fast': give a whole"),
        (
            [1, 2],
            pa.list_(pa.int64()),
            {"sampling_rate": [16_000]},
            "array of int64, whose full scale is unk",
        ),
        ([1, None], pa.list_(pa.int16()), {"sampling_rate": [16_000]}, "1 of its 2 samples are missing"),
        (
            [[0.1], [0.1, 0.2]],
            pa.list_(pa.list_(pa.float32())),
            {"sampling_rate": [16_000]},
            "differ in length",
        ),
        (7, pa.int64(), {}, "the column 'audio' holds int64, where audio was expected"),
        ({"array": ["a"]}, None, {}, "audio holds list<item: string>, where samples were expected"),
    ],
)
def test_what_is_no_audio_is_an_error_of_the_row(
    audio: object, kind: pa.DataType | None, columns: dict[str, list[Any]], message: str
) -> None:
    with pytest.raises(AudioError, match=message) as caught:
        audio_of(row([audio], kind, **columns), "audio")
    assert (caught.value.stage, caught.value.kind) == ("list", "bad_row")


@pytest.mark.parametrize(
    "kind",
    [pa.list_(pa.float32()), pa.struct([("array", pa.list_(pa.float32())), ("sampling_rate", pa.int64())])],
    ids=str,
)
def test_row_without_samples_has_no_audio(kind: pa.DataType) -> None:
    empty: Any = {"array": [], "sampling_rate": 16_000} if pa.types.is_struct(kind) else []
    assert audio_of(row([None], kind), "audio") == audio_of(row([empty], kind), "audio") == RowAudio()


@pytest.mark.parametrize("kind", [pa.int64(), pa.list_(pa.string()), pa.struct([("a", pa.int8())])], ids=str)
def test_other_types_are_no_audio(kind: pa.DataType) -> None:
    assert not can_be_audio(kind)
