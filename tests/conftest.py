import pytest

from transforms.progress import PROGRESS


@pytest.fixture(autouse=True)
def no_stop_of_another_test() -> None:
    """A run that was asked to stop says so to all that is in its process."""
    PROGRESS.reset()
