from __future__ import annotations

import logging
import re
from collections.abc import Iterator

import pytest

from transforms.core.log_redaction import hide_secrets

URL = "https://me:hunter2@h.example/a.wav?x=1&token=hunter3"


@pytest.fixture(autouse=True)
def _hidden() -> Iterator[None]:
    before = logging.getLogRecordFactory()
    hide_secrets()
    hide_secrets()  # idempotent
    yield
    logging.setLogRecordFactory(before)


def test_no_logger_writes_credentials(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    other = logging.getLogger("urllib3.connectionpool")
    other.debug('%s "%s %s HTTP/1.1" %s', "https://h:443", "GET", "/a.wav?x=1&token=hunter3", 200)
    other.warning("Failed to parse headers of %s", URL)
    other.info({"Authorization": "Basic aHVudGVyMg=="})
    digest = r"hidden-[0-9a-f]{16}"
    messages = [re.sub(digest, "*", record.getMessage()) for record in caplog.records]
    assert messages == [
        'https://h:443 "GET /a.wav?x=1&token=* HTTP/1.1" 200',
        "Failed to parse headers of https://h.example/a.wav?x=1&token=*",
        "{'Authorization': [hidden]}",
    ]


def test_no_traceback_contains_credentials(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError(f"cannot read {URL}")
    except ValueError:
        logging.getLogger("another").exception("failed")
    assert "hunter" not in caplog.text
    assert "ValueError: cannot read https://h.example/a.wav?x=1&token=hidden-" in caplog.text
    assert "Traceback" in caplog.text


def test_other_records_are_unchanged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    try:
        raise ValueError("plain")
    except ValueError:
        logging.getLogger("another").exception("%d of %s", 1, "two")
    (record,) = caplog.records
    assert (record.msg, record.args) == ("%d of %s", (1, "two"))
    assert record.exc_info is not None
