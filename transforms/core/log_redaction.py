"""Redacts credentials in the log records of all loggers and handlers of this process."""

from __future__ import annotations

import logging
from typing import Any

from transforms.core.redaction import redact

_FORMATTER = logging.Formatter()


class _RecordFactory:
    """Wraps a record factory and redacts credentials in its records.

    A filter on a handler would not suffice, because workers have the handlers of their runner.
    """

    def __init__(self, make: Any) -> None:  # noqa: ANN401  # as in `logging`
        self._make = make

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:  # noqa: ANN401
        record: logging.LogRecord = self._make(*args, **kwargs)
        try:
            message = record.getMessage()
        except Exception:  # the message does not fit its arguments, which `logging` reports itself
            return record
        if (redacted := redact(message)) != message:
            record.msg, record.args = redacted, None
        if record.exc_info and record.exc_info[0] is not None:
            trace = _FORMATTER.formatException(record.exc_info)
            if (redacted := redact(trace)) != trace:
                record.exc_info, record.exc_text = None, redacted
        return record


def hide_secrets() -> None:
    """Applies `transforms.core.redaction.redact` to all log records of this process; idempotent.

    urllib3 logs paths with their parameters, and tracebacks quote URLs.
    """
    make = logging.getLogRecordFactory()
    if not isinstance(make, _RecordFactory):
        logging.setLogRecordFactory(_RecordFactory(make))
