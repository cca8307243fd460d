from pathlib import Path

import numpy as np
import pytest

from model.formats.ggml_blocks import BLOCK_TYPES, dequantize

NUMBERS = {
    "Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8, "Q2_K": 10, "Q3_K": 11, "Q4_K": 12, "Q5_K": 13,
    "Q6_K": 14,
}  # fmt: skip
LARGEST_ERRORS = {"Q4_0": 0.35, "Q4_1": 0.2, "Q5_0": 0.2, "Q5_1": 0.1, "Q8_0": 0.016}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_those_that_ggml_reads(name: str) -> None:
    kind = BLOCK_TYPES[NUMBERS[name]]
    with np.load(Path(__file__).parent / "references" / "blocks.npz") as file:
        content, expected, original = file[name], file[f"{name} values"], file["values"]
    assert content.shape == (4, 512 // kind.n_values * kind.n_bytes)
    found = dequantize(kind, content, expected.shape)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    if name in LARGEST_ERRORS:
        assert np.abs(found - original).max() < LARGEST_ERRORS[name]


def test_every_type_is_tested() -> None:
    assert sorted(NUMBERS.values()) == sorted(BLOCK_TYPES)
