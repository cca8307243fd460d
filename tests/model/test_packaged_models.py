import pytest

from model.model_names import HUB_NAMES
from model.packaged_models import PACKAGED_MODELS


@pytest.mark.parametrize("name", PACKAGED_MODELS)
def test_all_files_of_a_model_are_pinned(name: str) -> None:
    files = PACKAGED_MODELS[name].files
    assert name in HUB_NAMES
    assert len(files) == len({file.sha256 for file in files}) == len(PACKAGED_MODELS[name].weights) + 2
