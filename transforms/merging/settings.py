"""Settings of the merge of a recording's windows."""

from __future__ import annotations

from dataclasses import dataclass

from transforms.core.types import AudioSource


@dataclass(frozen=True)
class MergeSettings:
    """How the windows of a recording are merged.

    Attributes:
        language: code of the language of the run, or None; that of a recording takes precedence.
        per_window: without a given language, each window keeps its own instead of the one voted for.
        redecode_below: boundaries with a lower agreement are decoded again
            (`transforms.merging.weak_boundaries`); 0 for none.
        window_s: seconds in a window about a boundary that is decoded again.
        task: `transcribe` or `translate`, for the row.
        model: the name of the model, for the row.
        languages: codes of the languages that the vote is restricted to; empty for all.
    """

    language: str | None = None
    per_window: bool = False
    redecode_below: float = 0.0
    window_s: float = 30.0
    task: str = "transcribe"
    model: str = ""
    languages: tuple[str, ...] = ()

    def language_of(self, source: AudioSource) -> str | None:
        """Returns the language that was given for a recording, or None."""
        return source.language or self.language

    def votes_on(self, source: AudioSource) -> bool:
        """Whether windows of a recording in another language than the one voted for are decoded again."""
        return self.language_of(source) is None and not self.per_window

    def may_redecode(self, source: AudioSource) -> bool:
        """Whether any window of a recording may be decoded a second time."""
        return self.votes_on(source) or self.redecode_below > 0

    @property
    def needs_second_pass(self) -> bool:
        """Whether any window of the run may be decoded a second time."""
        return (self.language is None and not self.per_window) or self.redecode_below > 0
