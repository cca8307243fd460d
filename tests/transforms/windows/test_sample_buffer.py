from __future__ import annotations

import numpy as np

from transforms.windows.sample_buffer import SampleBuffer


def buffered(*lengths: int) -> SampleBuffer:
    buffer = SampleBuffer()
    for block in np.split(np.arange(sum(lengths), dtype=np.float32), np.cumsum(lengths)[:-1]):
        buffer.add(block)
    return buffer


def test_stretches_may_cross_blocks() -> None:
    buffer = buffered(3, 1, 6)
    assert buffer.n_read == 10
    assert buffer.take(((1, 9),)).tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert buffer.take(((0, 2), (3, 4), (8, 10))).tolist() == [0, 1, 3, 8, 9]


def test_taken_samples_are_a_copy() -> None:
    buffer = buffered(4)
    taken = buffer.take(((0, 4),))
    taken[0] = 7
    assert buffer.take(((0, 1),)).tolist() == [0]


def test_samples_not_kept_are_dropped_and_no_block_stays_referenced() -> None:
    buffer = buffered(5, 5)
    buffer.keep(((1, 2), (4, 7), (9, 10)))
    buffer.add(np.array([10, 11], np.float32))
    assert buffer.take(((0, 12),)).tolist() == [1, 4, 5, 6, 9, 10, 11]
    assert all(block.base is None for _, block in buffer._blocks[:-1])
