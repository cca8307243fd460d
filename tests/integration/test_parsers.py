"""Damaged manifests, archives, logs and checkpoints are read or refused; see `benchmarks.fuzz_parsers`."""

from __future__ import annotations

from time import perf_counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fuzzing import CHANGES, MAX_S, Change, changed
from tests.support.parsers import MANIFESTS, outcome, small_inputs

KINDS = ("manifest", "archive", "parquet", "log", "checkpoint")


def names_of(kind: str) -> list[str]:
    return sorted(name for name in small_inputs() if name.startswith(f"{kind}/"))


@pytest.mark.parametrize("name", [name for kind in KINDS for name in names_of(kind)])
def test_undamaged_inputs_are_read(name: str) -> None:
    assert outcome(name, small_inputs()[name]) == "read"


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=300, deadline=None)
@given(data=st.data(), changes=st.lists(CHANGES, min_size=1, max_size=5))
def test_damaged_inputs_are_read_or_refused(kind: str, data: st.DataObject, changes: list[Change]) -> None:
    name = data.draw(st.sampled_from(names_of(kind)))
    started = perf_counter()
    outcome(name, changed(small_inputs()[name], changes))
    assert perf_counter() - started < MAX_S


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(MANIFESTS)), st.binary(max_size=300))
def test_manifests_of_any_bytes_are_read_or_refused(suffix: str, content: bytes) -> None:
    outcome(f"manifest/{suffix}", content)
    outcome(f"manifest/{suffix}", MANIFESTS[suffix].partition(b"\n")[0] + b"\n" + content)
