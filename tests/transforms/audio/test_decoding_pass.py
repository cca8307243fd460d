from __future__ import annotations

import io

import numpy as np
import pytest

from model.interface import SAMPLE_RATE
from tests.support.encoding import encoded, ffmpeg_encoded, siren, speechlike
from transforms.audio.decoding_pass import BlocksDroppedError, DecodingPass
from transforms.core.cancellation import check_stop
from transforms.core.errors import AudioError

FLAC = encoded(siren(125), fmt="FLAC")
BLOCK_BYTES = 30 * SAMPLE_RATE * 2


def decoding(data: bytes = FLAC, start_s: int = 0, max_bytes: int = 0) -> DecodingPass:
    return DecodingPass(io.BytesIO(data), None, start_s, None, check_stop, max_bytes)


def positions(one: DecodingPass, start_s: int) -> list[int]:
    return [block.position // SAMPLE_RATE for block, _, _ in one.blocks(start_s)]


def test_blocks_come_from_a_time_on_and_what_is_known_at_the_end_after_them() -> None:
    one = decoding(start_s=30)
    blocks = one.blocks(30)
    first = next(blocks)
    assert (first.block.position, first.block.values.shape, first.n_channels) == (
        30 * SAMPLE_RATE, (1, 30 * SAMPLE_RATE), 1,
    )  # fmt: skip
    assert one.end is None
    assert [block.position // SAMPLE_RATE for block, _, _ in blocks] == [60, 90, 120]
    assert one.end is not None
    assert (one.end.n_samples, one.end.is_cut, one.end.read_error) == (125 * SAMPLE_RATE, False, None)


def test_a_reader_that_comes_later_gets_what_is_kept() -> None:
    one = decoding(max_bytes=3 * BLOCK_BYTES)
    assert positions(one, 0) == [0, 30, 60, 90, 120]
    assert not one.covers(30)
    assert one.covers(60)
    assert positions(one, 60) == [60, 90, 120]
    assert not one.covers(30)


def test_a_reader_that_starts_ahead_decodes_on_and_what_is_between_is_dropped() -> None:
    one = decoding(max_bytes=100 * BLOCK_BYTES)
    blocks = one.blocks(0)
    whole = [block.values for block, _, _ in decoding().blocks(0)]
    np.testing.assert_array_equal(next(blocks).block.values, whole[0])
    later = [found.block for found in one.blocks(90)]
    assert [block.position // SAMPLE_RATE for block in later] == [90, 120]
    np.testing.assert_array_equal(later[0].values, whole[3])
    with pytest.raises(BlocksDroppedError):
        next(blocks)


def test_uncompressed_files_are_not_decoded_through_to_a_later_start() -> None:
    one = decoding(encoded(speechlike(125)), max_bytes=100 * BLOCK_BYTES)
    next(one.blocks(0))
    assert one.covers(0)
    assert one.covers(30)
    assert not one.covers(60)


def test_a_closed_pass_covers_nothing_and_its_readers_are_told() -> None:
    one = decoding(max_bytes=100 * BLOCK_BYTES)
    blocks = one.blocks(0)
    next(blocks)
    one.close()
    assert not one.covers(0)
    with pytest.raises(BlocksDroppedError):
        next(blocks)


def test_a_file_that_cannot_be_opened_is_tried_again_by_another_pass() -> None:
    one = decoding(b"no audio" * 100, max_bytes=1)
    with pytest.raises(AudioError, match="no audio format"):
        next(one.blocks(0))
    assert one.is_broken
    assert not one.covers(0)


def test_damage_before_a_start_is_in_the_log_of_the_first_block() -> None:
    data = bytearray(ffmpeg_encoded(siren(125), "mp2", "mp2", SAMPLE_RATE))
    for at in range(len(data) // 10, len(data) // 10 + 5000):
        data[at] ^= 0x5A
    one = decoding(bytes(data), max_bytes=100 * BLOCK_BYTES)
    logs = [log.between(0, None).n_damaged for _, _, log in one.blocks(0)]
    assert logs[0] > 0
    assert logs[1:] == [0] * 4
    again = [log.between(0, None).n_damaged for _, _, log in one.blocks(90)]
    assert again == [logs[0], 0]
