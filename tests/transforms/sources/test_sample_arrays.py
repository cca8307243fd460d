from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile as sf

from transforms.sources.sample_arrays import SampleArrayError, is_number, pcm_writer


@pytest.mark.parametrize("shape", [(800,), (800, 2), (2, 800)])
def test_samples_are_written_as_a_file(shape: tuple[int, ...]) -> None:
    samples = np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    file = io.BytesIO()
    pcm_writer(samples, 8000.0)(file)
    found, rate = sf.read(io.BytesIO(file.getvalue()), dtype="float32")
    assert rate == 8000
    np.testing.assert_array_equal(found, samples.T if shape == (2, 800) else samples)


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        ([0.1], 16_000.5, r"sampling_rate 16000\.5: give a whole number"),
        ([0.1], None, "sampling_rate None: give a whole number"),
        ([], 16_000, r"an array of shape \[0\]: give \[n\]"),
        ([[0.1], [0.1, 0.2]], 16_000, "audio is no array of samples"),
        (np.zeros((70, 80)), 16_000, "an array of 70 channels"),
        (np.zeros(3, np.int64), 16_000, "int64, whose full scale is unknown"),
    ],
)
def test_what_is_no_samples_is_refused(samples: object, rate: object, message: str) -> None:
    with pytest.raises(SampleArrayError, match=message):
        pcm_writer(samples, rate)


def test_numbers() -> None:
    assert is_number(1)
    assert is_number(np.float32(1))
    assert not is_number("1")


def test_samples_beyond_32_bits_become_infinite() -> None:
    file = io.BytesIO()
    pcm_writer([0.5, 1e300], 16_000)(file)
    found, _ = sf.read(io.BytesIO(file.getvalue()), dtype="float32")
    assert found.tolist() == [0.5, np.inf]
