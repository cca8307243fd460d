from __future__ import annotations

import pickle
from dataclasses import dataclass, field

from transforms.core.record import Record


@dataclass(frozen=True)
class Named(Record):
    long_name_of_a_field: int
    another_long_name: tuple[str, ...] = field(default=())


def test_a_record_is_pickled_as_its_values() -> None:
    record = Named(3, ("a",))
    pickled = pickle.dumps(record)
    assert pickle.loads(pickled) == record
    assert b"long_name" not in pickled
