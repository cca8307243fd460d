from __future__ import annotations

import numpy as np
import pytest

from model.interface import SAMPLE_RATE
from tests.support.encoding import INTACT, condition_of, decoded
from transforms.audio.raw_gsm import FRAME_BYTES, is_raw_gsm

SILENCE = bytes.fromhex("d820a2e15a" + 4 * "50004924924924")
"""A frame of silence, as telephone systems send it."""


def frames(n_frames: int) -> bytes:
    """Frames with any content behind their signature."""
    content = np.random.default_rng(0).integers(0, 256, (n_frames, FRAME_BYTES), dtype=np.uint8)
    content[:, 0] = 0xD0 | content[:, 0] & 0xF
    return content.tobytes()


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (frames(10), True), (frames(1000), True), (frames(50)[:-7], True), (SILENCE * 20, True),
        (frames(9), False), (b"", False), (frames(20)[1:], False), (frames(20) + bytes(FRAME_BYTES), False),
        ("мама мыла раму ".encode() * 100, False), (bytes(10_000), False),
    ],
)  # fmt: skip
def test_frames_are_recognised_by_their_signatures(head: bytes, expected: bool) -> None:
    assert is_raw_gsm(head) == expected


def test_files_without_a_header_are_decoded() -> None:
    decoder, samples = decoded(frames(150))
    assert len(samples) == 3 * SAMPLE_RATE
    assert np.abs(samples).max() > 0.1
    assert condition_of(decoder) == INTACT
    assert decoder.declared_s is None
    _, silence = decoded(SILENCE * 50)
    assert np.abs(silence).max() < 0.01


def test_a_file_that_ends_within_a_frame_is_truncated() -> None:
    decoder, samples = decoded(frames(150)[:-7])
    assert len(samples) == 149 * 320
    assert condition_of(decoder).truncated
