"""Previous text of a window: what the model wrote for the windows before, as context, where it is asked for.

As in openai/whisper (`whisper/transcribe.py`, `condition_on_previous_text`), it has the times that the model
wrote, and it begins anew after a text that was sampled at a high temperature. It also begins anew after a
repetition, and where the language changes: the model goes on as a text began.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.interface import Segment
from transforms.recognition.decode_passes import DecodePass
from transforms.recognition.pieces import Piece, PieceKind

MAX_TOKENS = 224
"""Tokens that are kept, about: the model reads no more than half of its 448."""

MAX_TEMPERATURE = 0.5
"""A text that was sampled at a higher temperature is not relied on, as in openai/whisper."""


@dataclass(frozen=True)
class PreviousText:
    """The text before a window.

    Attributes:
        segments: as the model wrote them, with times in their own windows.
        language: code of their language; empty if there are none.
    """

    segments: tuple[Segment, ...] = ()
    language: str = ""

    def before(self, piece: Piece, passes: Sequence[DecodePass]) -> tuple[Segment, ...]:
        """Returns the segments before a piece of the window; for pieces that are decoded alone, none.

        Args:
            piece: the window, or a piece of it.
            passes: the decodings of what is before the piece in the window.
        """
        is_alone = piece.kind not in (PieceKind.WINDOW, PieceKind.TAIL)
        return () if is_alone else self.followed_by(passes).segments

    def followed_by(self, passes: Sequence[DecodePass]) -> PreviousText:
        """Returns the text with that of further decodings, which come after it in this order."""
        text = self
        for one in passes:
            result = one.result
            if result.repeated or result.temperature > MAX_TEMPERATURE:
                text = PreviousText()
            elif result.segments:
                before = text.segments if result.language == text.language else ()
                text = PreviousText(_last((*before, *result.segments)), result.language)
        return text


def _last(segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """Returns the last segments that have `MAX_TOKENS` together, or all."""
    n_tokens, first = 0, len(segments)
    while first and n_tokens < MAX_TOKENS:
        first -= 1
        n_tokens += len(segments[first].tokens)
    return segments[first:]
