"""How the windows of a recording are merged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transforms.core.types import (
    AudioSource,
)

Grouped = tuple[str, dict[str, list[Any]]]
"""What `CoGroupByKey` gives: an audio_id, and its values by the names of their collections."""


@dataclass(frozen=True)
class Assembly:
    """How a recording's windows are brought together.

    Attributes:
        language: the code that was given, or None; a recording's own goes first.
        per_window: without a given one, each window keeps its own language instead of the one voted for.
        redecode_below: boundaries that agree less are decoded again (`transforms.merging.weak_boundaries`);
        0 for none.
        window_s: seconds in a window about such a boundary.
        task: `transcribe` or `translate`, for the row.
        model: the name of the model, for the row.
    """

    language: str | None = None
    per_window: bool = False
    redecode_below: float = 0.0
    window_s: float = 30.0
    task: str = "transcribe"
    model: str = ""

    def language_of(self, source: AudioSource) -> str | None:
        """The language that was given for a recording, or None."""
        return source.language or self.language

    def votes_on(self, source: AudioSource) -> bool:
        """Whether a recording's windows in another language than most are decoded again."""
        return self.language_of(source) is None and not self.per_window

    @property
    def looks_twice(self) -> bool:
        """Whether any window may be decoded a second time."""
        return (self.language is None and not self.per_window) or self.redecode_below > 0
