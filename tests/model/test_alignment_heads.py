import pytest

from model.alignment_heads import Heads, heads_of
from model.config import DecodingConfig, WhisperConfig


def config(encoder_layers: int, decoder_layers: int, n_heads: int, n_mels: int = 80) -> WhisperConfig:
    width = 64 * n_heads
    sizes = (encoder_layers, n_heads, decoder_layers, n_heads)
    return WhisperConfig(n_mels, width, 4 * width, *sizes, n_vocab=51_870)  # fine-tuning added tokens


def known(*sizes: int, name: str = "mine", multilingual: bool = True) -> Heads:
    return heads_of(config(*sizes), DecodingConfig(), multilingual=multilingual, name=name)


SIZES = {
    "tiny.en": ((4, 4, 6), 8, (1, 0), (3, 4)),
    "tiny": ((4, 4, 6), 6, (2, 2), (3, 5)),
    "base.en": ((6, 6, 8), 5, (3, 3), (5, 7)),
    "base": ((6, 6, 8), 8, (3, 1), (5, 6)),
    "small.en": ((12, 12, 12), 19, (6, 6), (11, 4)),
    "small": ((12, 12, 12), 10, (5, 3), (10, 5)),
    "medium.en": ((24, 24, 16), 18, (11, 4), (21, 12)),
    "medium": ((24, 24, 16), 6, (13, 15), (23, 4)),
    "large-v2": ((32, 32, 20), 23, (10, 12), (27, 15)),
    "large-v3": ((32, 32, 20, 128), 10, (7, 0), (25, 6)),
    "large-v3-turbo": ((32, 4, 20, 128), 6, (2, 4), (3, 14)),
}


@pytest.mark.parametrize("name", SIZES)
def test_each_openai_size_has_its_heads(name: str) -> None:
    size, n_heads, first, last = SIZES[name]
    heads = known(*size, multilingual=not name.endswith(".en"))
    assert len(set(heads)) == len(heads) == n_heads
    assert (heads[0], heads[-1]) == (first, last)
    assert list(heads) == sorted(heads)
    assert all(layer < size[1] and head < size[2] for layer, head in heads)


@pytest.mark.parametrize(
    "name", ["openai/whisper-large", "/models/faster-whisper-large-v1/", "Large-V1", "ggml-large-v1.bin"]
)
def test_large_v1_is_known_by_its_name(name: str) -> None:
    heads = known(32, 32, 20, name=name)
    assert heads == ((9, 19), (11, 2), (11, 4), (11, 17), (22, 7), (22, 11), (22, 17), (23, 2), (23, 15))


@pytest.mark.parametrize("name", ["openai/whisper-large-v2", "mine", "whisper-large-finetuned", "large-v10"])
def test_other_names_of_its_sizes_are_large_v2(name: str) -> None:
    assert known(32, 32, 20, name=name) == known(32, 32, 20, name="large-v2")
    assert len(known(32, 32, 20, name=name)) == 23


def test_the_name_of_large_v1_does_not_change_other_sizes() -> None:
    assert known(32, 4, 20, 128, name="large-v1") == known(32, 4, 20, 128)


def naming(*heads: tuple[int, int]) -> DecodingConfig:
    return DecodingConfig(alignment_heads=heads)


def test_heads_of_the_checkpoint_take_precedence() -> None:
    own = naming((0, 5), (1, 2))
    assert heads_of(config(4, 4, 6), own, multilingual=True, name="tiny") == ((0, 5), (1, 2))


def test_heads_that_the_decoder_lacks_are_ignored() -> None:
    teachers = naming((0, 5), (10, 2), (1, 6), (1, -1))
    assert heads_of(config(32, 2, 6), teachers, multilingual=True, name="distil") == ((0, 5),)


def test_unknown_sizes_use_the_upper_half_of_the_decoder() -> None:
    unknown = ((1, 0), (1, 1), (2, 0), (2, 1))
    assert known(7, 3, 2) == unknown
    assert heads_of(config(7, 3, 2), naming((9, 9)), multilingual=True, name="mine") == unknown
    assert known(1, 1, 1) == ((0, 0),)
