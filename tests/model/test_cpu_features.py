import os
from pathlib import Path

import pytest

from model.cpu_features import cpu_features, n_usable_cpus


def test_the_flags_of_the_first_processor(tmp_path: Path) -> None:
    listing = tmp_path / "cpuinfo"
    listing.write_text("processor : 0\nflags\t\t: fpu avx2 avx512_vnni\n\nprocessor : 1\nflags : other\n")
    assert cpu_features(listing) == {"fpu", "avx2", "avx512_vnni"}


def test_a_listing_without_flags_has_no_features(tmp_path: Path) -> None:
    listing = tmp_path / "cpuinfo"
    listing.write_text("Features : asimd\n")
    assert cpu_features(listing) == frozenset()


def test_without_a_listing_there_are_no_features(tmp_path: Path) -> None:
    assert cpu_features(tmp_path / "none") == frozenset()


def test_only_the_cpus_that_the_process_may_use_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3}, raising=False)
    assert n_usable_cpus() == 2


def test_all_cpus_are_counted_on_a_system_without_affinities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert n_usable_cpus() == 6
