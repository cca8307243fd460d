from __future__ import annotations

import io

import pytest

from transforms.audio.ogg import ogg_end


def page(flags: int, granule: int) -> bytes:
    return b"OggS\x00" + bytes([flags]) + granule.to_bytes(8, "little") + bytes(53)


def test_end_is_the_position_of_the_last_page() -> None:
    assert ogg_end(io.BytesIO(page(0, 5) * 5000 + page(4, 7_000))) == 7_000
    assert ogg_end(io.BytesIO(page(0, 5) * 5000)) is None
    assert ogg_end(io.BytesIO(page(4, 5) + b"OggS\x00")) is None
    assert ogg_end(io.BytesIO(b"")) is None


def test_file_truncated_in_its_last_page_has_no_end() -> None:
    complete = b"OggS\x00\x04" + bytes(20) + b"\x02" + bytes([255, 10]) + bytes(265)
    assert ogg_end(io.BytesIO(complete)) == 0
    assert [ogg_end(io.BytesIO(complete[:n])) for n in (len(complete) - 1, 28, 20)] == [None] * 3


@pytest.mark.parametrize("n_zeros", [1, 70_000, 200_000, 3 << 20])
def test_zeros_at_the_end_are_no_page(n_zeros: int) -> None:
    ends_with_zeros = (
        b"OggS\x00\x04" + (7).to_bytes(8, "little") + bytes(12) + b"\x02" + bytes([255, 10]) + bytes(265)
    )
    assert ogg_end(io.BytesIO(page(0, 5) * 3000 + ends_with_zeros + bytes(n_zeros))) == 7
    assert ogg_end(io.BytesIO(page(0, 5) * 3000 + bytes(n_zeros))) is None
    assert ogg_end(io.BytesIO(bytes(n_zeros))) is None
