import pytest

from model.alignment_heads import heads_of
from model.config import DecodingConfig, WhisperConfig


def config(encoder_layers: int, decoder_layers: int, n_heads: int, n_vocab: int) -> WhisperConfig:
    width = 64 * n_heads
    return WhisperConfig(80, width, 4 * width, encoder_layers, n_heads, decoder_layers, n_heads, n_vocab)


SIZES = {
    "tiny.en": ((4, 4, 6, 51_864), 8, (1, 0), (3, 4)),
    "tiny": ((4, 4, 6, 51_865), 6, (2, 2), (3, 5)),
    "base.en": ((6, 6, 8, 51_864), 5, (3, 3), (5, 7)),
    "base": ((6, 6, 8, 51_865), 8, (3, 1), (5, 6)),
    "small.en": ((12, 12, 12, 51_864), 19, (6, 6), (11, 4)),
    "small": ((12, 12, 12, 51_865), 10, (5, 3), (10, 5)),
    "medium.en": ((24, 24, 16, 51_864), 18, (11, 4), (21, 12)),
    "medium": ((24, 24, 16, 51_865), 6, (13, 15), (23, 4)),
    "large-v2": ((32, 32, 20, 51_865), 23, (10, 12), (27, 15)),
    "large-v3": ((32, 32, 20, 51_866), 10, (7, 0), (25, 6)),
    "large-v3-turbo": ((32, 4, 20, 51_866), 6, (2, 4), (3, 14)),
}


@pytest.mark.parametrize("name", SIZES)
def test_each_openai_size_has_its_heads(name: str) -> None:
    size, n_heads, first, last = SIZES[name]
    heads = heads_of(config(*size), DecodingConfig())
    assert len(set(heads)) == len(heads) == n_heads
    assert (heads[0], heads[-1]) == (first, last)
    assert list(heads) == sorted(heads)
    assert all(layer < size[1] and head < size[2] for layer, head in heads)


def test_heads_of_the_checkpoint_take_precedence() -> None:
    own = DecodingConfig(alignment_heads=((0, 5), (1, 2)))
    assert heads_of(config(4, 4, 6, 51_865), own) == ((0, 5), (1, 2))


def test_heads_that_the_decoder_lacks_are_ignored() -> None:
    teachers = DecodingConfig(alignment_heads=((0, 5), (10, 2), (1, 6), (1, -1)))
    assert heads_of(config(32, 2, 6, 51_865), teachers) == ((0, 5),)


def test_unknown_sizes_use_the_upper_half_of_the_decoder() -> None:
    unknown = ((1, 0), (1, 1), (2, 0), (2, 1))
    assert heads_of(config(7, 3, 2, 51_865), DecodingConfig()) == unknown
    assert heads_of(config(7, 3, 2, 51_865), DecodingConfig(alignment_heads=((9, 9),))) == unknown
    assert heads_of(config(1, 1, 1, 51_865), DecodingConfig()) == ((0, 0),)
