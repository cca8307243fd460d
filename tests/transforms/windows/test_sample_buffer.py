from __future__ import annotations

import numpy as np

from transforms.windows.sample_buffer import HeldSamples


def held(*lengths: int) -> HeldSamples:
    samples = HeldSamples()
    for block in np.split(np.arange(sum(lengths), dtype=np.float32), np.cumsum(lengths)[:-1]):
        samples.add(block)
    return samples


def test_pieces_are_taken_out_of_any_blocks() -> None:
    samples = held(3, 1, 6)
    assert samples.n_read == 10
    assert samples.take(((1, 9),)).tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert samples.take(((0, 2), (3, 4), (8, 10))).tolist() == [0, 1, 3, 8, 9]


def test_what_is_taken_is_an_array_of_its_own() -> None:
    samples = held(4)
    taken = samples.take(((0, 4),))
    taken[0] = 7
    assert samples.take(((0, 1),)).tolist() == [0]


def test_what_is_not_kept_is_forgotten_and_holds_no_block() -> None:
    samples = held(5, 5)
    samples.keep(((1, 2), (4, 7), (9, 10)))
    samples.add(np.array([10, 11], np.float32))
    assert samples.take(((0, 12),)).tolist() == [1, 4, 5, 6, 9, 10, 11]
    assert all(block.base is None for _, block in samples._blocks[:-1])
