"""Counters of DoFns that are called without a runner."""

from __future__ import annotations

import pytest

from transforms.core.metrics import CountingMetrics
from transforms.dofns.counters import BeamMetrics


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> CountingMetrics:
    """Collects what the DoFns count, instead of Beam."""
    metrics = CountingMetrics()
    monkeypatch.setattr(BeamMetrics, "count", lambda _, name, n=1: metrics.count(name, n))
    monkeypatch.setattr(BeamMetrics, "distribute", lambda _, name, value: metrics.distribute(name, value))
    return metrics
