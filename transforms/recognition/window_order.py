"""The order of windows that are decoded with the text before them: one after the other in each section.

Sections of a recording are independent (`transforms.core.sections`), so the text does not depend on how a
recording is divided among spans and workers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from transforms.recognition.decode_passes import DecodePass
from transforms.recognition.previous_text import PreviousText
from transforms.recognition.window_decode import WindowDecode

MAX_WAITING = 240
"""Windows that wait for others, at most, while further ones are read: 460 MB of samples. They are some four
sections of a long recording, which are decoded at the same time."""

KeyedDecode = tuple[str, WindowDecode]
_SectionId = tuple[str, int | None]


@dataclass
class _Section:
    """A section, of which one window is decoded at a time.

    Attributes:
        text: the text of the windows that are finished.
        waiting: the windows behind the one that is being decoded.
    """

    text: PreviousText = field(default_factory=PreviousText)
    waiting: deque[KeyedDecode] = field(default_factory=deque)
    is_busy: bool = False


class WindowOrder:
    """Holds windows back until those before them are finished. For use by a single thread.

    Windows come in the order of the recording, those of one section after the other.
    """

    def __init__(self) -> None:
        self._sections: dict[_SectionId, _Section] = {}
        self._last: _SectionId | None = None  # the section that is being read
        self._n_waiting = 0

    @property
    def is_full(self) -> bool:
        """Whether so many windows wait that no more should be read."""
        return self._n_waiting >= MAX_WAITING

    def added(self, key: str, decode: WindowDecode) -> KeyedDecode | None:
        """Adds a window; returns it with the text before it if it can be decoded now."""
        current = _id_of(decode)
        if self._last != current:
            ended, self._last = self._last, current
            self._drop_if_done(ended)
        section = self._sections.setdefault(current, _Section())
        section.waiting.append((key, decode))
        self._n_waiting += 1
        return self._next_of(section)

    def after(self, decode: WindowDecode, passes: Sequence[DecodePass]) -> KeyedDecode | None:
        """Ends a window; returns the one behind it with the text before that, if it waits.

        Args:
            decode: the decode that is finished.
            passes: its decodings with the segments that are kept; empty if none succeeded.
        """
        section = self._sections[_id_of(decode)]
        section.text = section.text.followed_by(passes) if passes else PreviousText()
        section.is_busy = False
        found = self._next_of(section)
        self._drop_if_done(_id_of(decode))
        return found

    def _next_of(self, section: _Section) -> KeyedDecode | None:
        if section.is_busy or not section.waiting:
            return None
        key, decode = section.waiting.popleft()
        section.is_busy = True
        self._n_waiting -= 1
        return key, replace(decode, previous=section.text)

    def _drop_if_done(self, which: _SectionId | None) -> None:
        """Forgets a section of which no further window comes."""
        section = None if which is None or which == self._last else self._sections.get(which)
        if which is not None and section is not None and not section.is_busy:
            del self._sections[which]


def _id_of(decode: WindowDecode) -> _SectionId:
    return decode.window.audio_id, decode.window.section
