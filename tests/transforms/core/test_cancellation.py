from __future__ import annotations

import pytest

from transforms.core.cancellation import STOP, StopRequestedError, check_stop


def test_check_raises_only_after_a_stop_request() -> None:
    check_stop()
    STOP.set()
    try:
        with pytest.raises(StopRequestedError, match="was asked to stop"):
            check_stop()
    finally:
        STOP.clear()
    check_stop()
