"""A server on loopback for the tests of downloads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.downloads import BODY
from tests.support.servers import (
    Server,
    send,
    serving,
)
from transforms.fetch.host_slots import HOSTS


@pytest.fixture
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    HOSTS._n_unanswered.clear()
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server(_direct: None) -> Iterator[Server]:
    """Answers with `BODY` until it is told otherwise; no proxy is asked, and no host is known."""
    with serving(lambda handler: send(handler, 200, BODY)) as server:
        yield server
