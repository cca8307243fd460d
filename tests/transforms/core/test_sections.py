from __future__ import annotations

import pytest

from model.interface import SAMPLE_RATE, SPEECH_CHUNK
from transforms.core.sections import BLOCK_S, WARMUP_S, Sections


@pytest.mark.parametrize("length_s", [0, 60, 90, 121, 150])
def test_length_is_a_multiple_of_the_warm_up(length_s: int) -> None:
    with pytest.raises(ValueError, match=f"{length_s} s.*multiple of 60 s, from 120 s"):
        Sections(length_s)


@pytest.mark.parametrize("length_s", [120, 180, 1800])
def test_section_of_a_time(length_s: int) -> None:
    sections = Sections(length_s)
    for number in range(3):
        start_s = sections.start_s(number)
        assert start_s == number * length_s
        assert [sections.at(start_s + offset_s) for offset_s in (0, 0.5, length_s - 0.5)] == [number] * 3


def test_warm_up_starts_within_the_recording() -> None:
    sections = Sections(120)
    assert [sections.warmup_start_s(number) for number in range(3)] == [0, 60, 180]


def test_warm_up_is_a_multiple_of_blocks_and_vad_chunks() -> None:
    assert WARMUP_S % BLOCK_S == 0
    assert WARMUP_S * SAMPLE_RATE % SPEECH_CHUNK == 0
