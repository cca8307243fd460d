from __future__ import annotations

import pytest

from model.interface import SAMPLE_RATE, SPEECH_CHUNK
from transforms.core.sections import BLOCK_S, WARMUP_S, Sections


@pytest.mark.parametrize("length_s", [0, 60, 90, 121, 150])
def test_a_length_that_is_no_multiple_of_the_warm_up_or_too_short_is_an_error(length_s: int) -> None:
    with pytest.raises(ValueError, match=f"{length_s} s.*multiple of 60 s, from 120 s"):
        Sections(length_s)


@pytest.mark.parametrize("length_s", [120, 180, 1800])
def test_a_time_is_in_the_section_that_starts_at_or_before_it(length_s: int) -> None:
    sections = Sections(length_s)
    for number in range(3):
        start_s = sections.start_s(number)
        assert start_s == number * length_s
        assert [sections.at(start_s + offset_s) for offset_s in (0, 0.5, length_s - 0.5)] == [number] * 3


def test_reading_warms_up_before_a_section_but_not_before_the_recording() -> None:
    sections = Sections(120)
    assert [sections.warmup_start_s(number) for number in range(3)] == [0, 60, 180]


def test_sections_and_their_warm_up_begin_at_a_block_and_at_a_chunk_of_the_detector() -> None:
    assert WARMUP_S % BLOCK_S == 0
    assert WARMUP_S * SAMPLE_RATE % SPEECH_CHUNK == 0
