"""What the records that cross groupings have in common."""

from __future__ import annotations

from typing import Any


class Record:
    """A frozen dataclass that is shipped as the values of its fields, in their order.

    Python would ship their names with them, in each: more than the values, of short recordings. Every byte
    that crosses a grouping is paid for, and the local runner holds it in memory.
    """

    def __reduce__(self) -> tuple[type[Any], tuple[Any, ...]]:
        return type(self), tuple(vars(self).values())
