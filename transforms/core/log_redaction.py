"""Logs without secrets, whoever writes them and wherever they go."""

from __future__ import annotations

import logging
from typing import Any

from transforms.core.redaction import redact

_FORMATTER = logging.Formatter()


class _RecordFactory:
    """Makes records of what another factory makes, with credentials taken out.

    A filter on a handler would not do: workers have handlers of their runner's.
    """

    def __init__(self, make: Any) -> None:  # noqa: ANN401  # whatever `logging` has
        self._make = make

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:  # noqa: ANN401
        record: logging.LogRecord = self._make(*args, **kwargs)
        try:
            message = record.getMessage()
        except Exception:  # a message that does not fit its arguments: `logging` tells of that by itself
            return record
        if (shown := redact(message)) != message:
            record.msg, record.args = shown, None
        if record.exc_info and record.exc_info[0] is not None:
            trace = _FORMATTER.formatException(record.exc_info)
            if (shown := redact(trace)) != trace:
                record.exc_info, record.exc_text = None, shown
        return record


def hide_secrets() -> None:
    """From now on, no record of this process's logs holds what `transforms.core.redaction.redact` takes out.

    urllib3 logs paths with their parameters, and tracebacks quote URLs. Calling it again changes nothing.
    """
    make = logging.getLogRecordFactory()
    if not isinstance(make, _RecordFactory):
        logging.setLogRecordFactory(_RecordFactory(make))
