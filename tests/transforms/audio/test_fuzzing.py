from __future__ import annotations

from time import perf_counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fuzzing import CHANGES, MAX_S, Change, changed, outcome, small_files


@pytest.mark.parametrize("name", small_files())
def test_undamaged_files_are_decoded(name: str) -> None:
    assert outcome(small_files()[name]) == "decoded"


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(small_files())), st.lists(CHANGES, min_size=1, max_size=5), st.booleans())
def test_damaged_files_are_decoded_or_refused(name: str, changes: list[Change], split: bool) -> None:
    data = changed(small_files()[name], changes)
    started = perf_counter()
    outcome(data, 0 if split else None)
    assert perf_counter() - started < MAX_S
