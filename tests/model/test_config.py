import pytest

from model.config import WhisperConfig


def config(n_vocab: int = 51_865, heads: int = 8) -> WhisperConfig:
    return WhisperConfig(80, 512, 2048, 6, heads, 6, 8, n_vocab)


@pytest.mark.parametrize(("n_vocab", "multilingual"), [(51_864, False), (51_865, True), (51_866, True)])
def test_the_vocabulary_tells_english_only_models(n_vocab: int, multilingual: bool) -> None:
    assert config(n_vocab).is_multilingual is multilingual


@pytest.mark.parametrize("heads", [0, 7, -8])
def test_heads_must_divide_the_width(heads: int) -> None:
    with pytest.raises(ValueError, match=f"d_model 512 does not divide into encoder_heads {heads}"):
        config(heads=heads)
