from __future__ import annotations

import pytest

from transforms.core.cancellation import STOP, StopRequestedError, check_stop


def test_nothing_is_raised_before_it_is_asked_for() -> None:
    check_stop()
    STOP.set()
    try:
        with pytest.raises(StopRequestedError, match="was asked to stop"):
            check_stop()
    finally:
        STOP.clear()
    check_stop()
