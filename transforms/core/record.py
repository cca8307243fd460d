"""Base of the records that flow through the pipeline."""

from __future__ import annotations

from typing import Any


class Record:
    """Base of frozen dataclasses that are pickled as the values of their fields, in order.

    Python would pickle the names of the fields with each record: more bytes than the values, for short
    recordings. Each byte that crosses a grouping has a cost, and the local runner keeps it in memory.
    """

    def __reduce__(self) -> tuple[type[Any], tuple[Any, ...]]:
        return type(self), tuple(vars(self).values())
