"""A clock that tests set, in place of the one that seconds are measured with."""

from __future__ import annotations

from dataclasses import dataclass

import pytest


@dataclass
class Clock:
    """Seconds that pass only where a test lets them pass."""

    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s

    def pass_s(self, seconds: float) -> None:
        """Lets seconds pass."""
        self.now_s += seconds


def set_clock(monkeypatch: pytest.MonkeyPatch, *modules: object) -> Clock:
    """Replaces `perf_counter` of modules by one clock, and returns it."""
    clock = Clock()
    for module in modules:
        monkeypatch.setattr(module, "perf_counter", clock)
    return clock
