from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from model.interface import SAMPLE_RATE
from pipelines import audio_input as audio_input_module
from pipelines.audio_input import AudioInput, AudioInputError, audio_input, from_file
from transforms.audio.decoder import AudioDecoder
from transforms.core.cancellation import check_stop
from transforms.core.errors import AudioError
from transforms.core.uris import audio_source
from transforms.fetch.policy import DEFAULT_POLICY

LEVELS = np.arange(-8000, 8000, dtype=np.int16)  # a second, each value once
STEREO = np.stack([LEVELS, LEVELS[::-1] // 2], axis=1)


def decoded(audio: AudioInput) -> NDArray[np.float32]:
    """The samples that the pipeline reads of a recording."""
    with audio.opener(audio.source, DEFAULT_POLICY, check_stop) as file:
        return np.concatenate(list(AudioDecoder(file).blocks()))


def wav(samples: NDArray[Any], rate: int = SAMPLE_RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "a.wav"
    found.write_bytes(wav(LEVELS))
    return found


def test_a_path_is_a_recording_under_the_name_that_the_pipeline_gives_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    monkeypatch.setenv("HOME", str(path.parent))
    expected = audio_source(str(path))
    for audio in (str(path), path, path.name, f"file://{path}", "~/a.wav", os.fspath(path)):
        assert audio_input(audio).source == expected
    assert np.array_equal(decoded(audio_input("a.wav")), LEVELS / np.float32(32_768))


def test_a_url_is_opened_as_by_the_pipeline() -> None:
    audio = audio_input("http://127.0.0.1:9/a.wav")
    assert audio.source.uri == "http://127.0.0.1:9/a.wav"
    with pytest.raises(AudioError, match="forbidden_host"):
        decoded(audio)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_are_the_content_of_a_file(path: Path, kind: Any) -> None:  # noqa: ANN401
    audio = audio_input(kind(path.read_bytes()))
    assert np.array_equal(decoded(audio), decoded(audio_input(path)))
    assert audio.source.uri == "audio"


def test_a_change_of_the_bytes_comes_too_late(path: Path) -> None:
    content = bytearray(path.read_bytes())
    audio = audio_input(content)
    content[:] = bytes(len(content))
    assert np.array_equal(decoded(audio), decoded(audio_input(path)))


def test_the_same_content_has_the_same_id_and_other_content_another(path: Path) -> None:
    content = path.read_bytes()
    ids = {audio_input(content).source.audio_id, audio_input(io.BytesIO(content)).source.audio_id}
    assert len(ids) == 1
    assert audio_input(wav(LEVELS[::-1])).source.audio_id not in ids
    (known,) = ids
    assert from_file(io.BytesIO(b"?"), digest=known + "0" * 48).source.audio_id == known


@pytest.mark.parametrize("position", [0, 100, -1])
def test_an_open_file_is_read_from_its_start_as_often_as_is_needed(path: Path, position: int) -> None:
    expected = decoded(audio_input(path))
    for buffering in (-1, 0):
        with path.open("rb", buffering=buffering) as file:
            file.seek(position, os.SEEK_END if position < 0 else os.SEEK_SET)
            audio = audio_input(file)
            assert audio.source.uri == str(path)
            assert audio.source.audio_id == audio_input(path.read_bytes()).source.audio_id
            for _ in range(2):
                with audio.opener(audio.source, DEFAULT_POLICY, check_stop) as opened:
                    assert opened.tell() == 0
                assert np.array_equal(decoded(audio), expected)
            audio.close()
            assert not file.closed


@pytest.fixture
def pipe(path: Path) -> Iterator[BinaryIO]:
    reading, writing = os.pipe()

    with open(writing, "wb") as file:
        file.write(path.read_bytes())  # which fits into the pipe
    with open(reading, "rb") as file:
        yield file


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_pipe_is_copied_and_the_copy_deleted(
    path: Path, pipe: BinaryIO, in_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not in_memory:
        monkeypatch.setattr(audio_input_module, "_BYTES_IN_MEMORY", 1000)
    n_open = len(os.listdir("/proc/self/fd"))
    audio = audio_input(pipe)
    assert len(os.listdir("/proc/self/fd")) == n_open + (not in_memory)
    for _ in range(2):
        assert np.array_equal(decoded(audio), decoded(audio_input(path)))
    audio.close()
    assert len(os.listdir("/proc/self/fd")) == n_open


def test_a_copy_that_breaks_off_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.RawIOBase):
        n_read = 0

        def readinto(self, buffer: Any) -> int:  # noqa: ANN401
            self.n_read += 1
            if self.n_read > 3:
                raise ConnectionResetError("reset by peer")
            buffer[:] = bytes(len(buffer))
            return len(buffer)

        def readable(self) -> bool:
            return True

    monkeypatch.setattr(audio_input_module, "_BYTES_IN_MEMORY", 10)
    n_open = len(os.listdir("/proc/self/fd"))
    with pytest.raises(AudioInputError, match="reset by peer"):
        audio_input(Broken())
    assert len(os.listdir("/proc/self/fd")) == n_open


def test_files_that_cannot_be_read_are_refused(path: Path, tmp_path: Path) -> None:
    with path.open() as text, pytest.raises(AudioInputError, match="opened as text: open it with 'rb'"):
        audio_input(text)
    with pytest.raises(AudioInputError, match="opened as text"):
        audio_input(io.StringIO("text"))
    with (tmp_path / "new").open("wb") as written, pytest.raises(AudioInputError, match="cannot be read"):
        audio_input(written)
    with pytest.raises(AudioInputError, match="closed file"):
        audio_input(written)

    class OfText:
        def read(self, size: int = -1) -> str:
            return "text"

    with pytest.raises(AudioInputError, match="cannot be read"):
        audio_input(OfText())


ARRAYS: dict[str, Any] = {
    "int16": LEVELS,
    "int32": LEVELS.astype(np.int32) << 16,
    "float32": LEVELS.astype(np.float32) / 32_768,
    "float64": LEVELS / 32_768,
    "big-endian": (LEVELS / 32_768).astype(">f4"),
    "strided": np.repeat(LEVELS, 2)[::2],
    "jax": jnp.asarray(LEVELS / 32_768, jnp.float32),
    "list": (LEVELS / 32_768).tolist(),
    "tuple": tuple((LEVELS / 32_768).tolist()),
    "row": LEVELS[None],
    "column": LEVELS[:, None],
    "the same twice": np.stack([LEVELS, LEVELS]),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_has_the_samples_of_the_same_file(path: Path, name: str) -> None:
    expected, found = decoded(audio_input(path)), audio_input(ARRAYS[name], SAMPLE_RATE)
    assert np.array_equal(decoded(found), expected)
    found.close()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8", "uint8"])
def test_narrow_types_have_their_full_scale(dtype: str) -> None:
    scale = {"int8": 128, "uint8": 128}.get(dtype, 1)
    values = np.array([-1, -0.5, 0, 0.25, 0.5] * 4000)
    samples = values * scale + (128 if dtype == "uint8" else 0)
    given = jnp.asarray(samples, jnp.bfloat16) if dtype == "bfloat16" else samples.astype(dtype)
    audio = audio_input(given, SAMPLE_RATE)
    assert np.array_equal(decoded(audio), values.astype(np.float32))
    audio.close()


@pytest.mark.parametrize("rate", [8000, 44_100, 48_000])
@pytest.mark.parametrize("n_channels", [1, 2, 6])
def test_arrays_are_mixed_and_resampled_as_files(rate: int, n_channels: int) -> None:
    samples = np.random.default_rng(0).integers(-9000, 9000, (2 * rate, n_channels), dtype=np.int16)
    expected = decoded(audio_input(wav(samples, rate)))
    for given in (samples, samples.T, (samples / 32_768).astype(np.float32)):
        audio = audio_input(given, rate)
        assert np.array_equal(decoded(audio), expected)
        audio.close()


def test_pairs_and_dicts_bring_their_rate(path: Path) -> None:
    expected = decoded(audio_input(path))
    given: list[Any] = [
        (LEVELS, SAMPLE_RATE),
        (SAMPLE_RATE, LEVELS),  # as scipy and gradio have it
        (LEVELS, np.int64(SAMPLE_RATE)),
        [LEVELS, float(SAMPLE_RATE)],
        {"array": LEVELS, "sampling_rate": SAMPLE_RATE, "path": "elsewhere.wav"},
        {"raw": LEVELS, "sampling_rate": SAMPLE_RATE},
        {"bytes": path.read_bytes(), "path": None},
        {"bytes": None, "path": str(path)},
    ]
    for audio in given:
        found = audio_input(audio)
        assert np.array_equal(decoded(found), expected)
        found.close()
    with_rate = audio_input({"array": LEVELS}, SAMPLE_RATE)
    assert np.array_equal(decoded(with_rate), expected)
    with_rate.close()


@pytest.mark.parametrize(
    ("audio", "rate", "message"),
    [
        (LEVELS, None, "give its sampling_rate too"),
        (LEVELS, 0, "sampling_rate 0: give a whole number from 4000 to 384000"),
        (LEVELS, 16_000.5, "sampling_rate 16000.5"),
        (LEVELS, float("nan"), "sampling_rate nan"),
        (LEVELS, "16000", "sampling_rate '16000'"),
        (np.zeros(0), 16_000, r"shape \[0\]: give \[n\]"),
        (np.zeros((5, 0)), 16_000, r"shape \[5, 0\]"),
        (np.zeros((2, 3, 4)), 16_000, r"shape \[2, 3, 4\]"),
        (np.float32(0.5), 16_000, r"shape \[\]"),
        (np.zeros((100, 101)), 16_000, "100 channels: give at most 64"),
        (LEVELS.tolist(), 16_000, "int64, whose full scale is unknown: give floats"),
        (LEVELS.astype(np.uint16), 16_000, "uint16, whose full scale"),
        (np.zeros(9, complex), 16_000, "complex128"),
        (np.zeros(9, bool), 16_000, "bool"),
        (["a", "b"], 16_000, "<U1"),
        ([[0.1], [0.1, 0.2], [0.3]], 16_000, "no array of samples"),
        ("", None, "an empty path"),
        (object(), None, "audio is a object: give a path, a URL"),
        (None, None, "audio is a NoneType"),
        (7, None, "audio is a int"),
        ({"text": "a"}, None, "a dict with text: give one with array and sampling_rate"),
        ({}, None, "a dict with no keys"),
        ({"array": LEVELS}, None, "give its sampling_rate too"),
    ],
)
def test_what_is_no_audio_is_refused_with_advice(audio: Any, rate: Any, message: str) -> None:  # noqa: ANN401
    with pytest.raises(AudioInputError, match=message) as caught:
        audio_input(audio, rate)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ValueError)


def test_a_path_of_bytes_is_refused() -> None:
    class OfBytes(os.PathLike[bytes]):
        def __fspath__(self) -> bytes:
            return b"a.wav"

    with pytest.raises(AudioInputError, match="a path of type bytes: give text"):
        audio_input(OfBytes())


def test_an_empty_file_is_an_error_when_it_is_opened() -> None:
    with pytest.raises(AudioError, match="fetch: empty"):
        decoded(audio_input(b""))


def test_a_long_array_takes_no_memory_for_its_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio_input_module, "_BYTES_IN_MEMORY", 1 << 16)
    audio = audio_input(np.zeros(1 << 18, np.int8), SAMPLE_RATE)
    assert cast(Any, audio.copy)._rolled
    audio.close()
