"""The file that was read last, kept open for further parts of it that follow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from transforms.audio.decoded_file import AudioFile, DecodedFile
from transforms.checkpoint.spans import WorkUnit
from transforms.core.cancellation import Check
from transforms.core.types import AudioSource
from transforms.fetch.open_audio import Opener
from transforms.fetch.policy import FetchPolicy

AudioOpener = Callable[[AudioSource, FetchPolicy, Check], AbstractContextManager[AudioFile]]
"""Opens the file of a recording for its reader."""


class KeptFile:
    """A file that stays open, with what was decoded of it last, until another one is opened."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._uri: str | None = None
        self._file: DecodedFile | None = None

    @staticmethod
    def accepts(unit: WorkUnit) -> bool:
        """Whether the file of a unit is kept: others of the same file may follow a part of one.

        One that may crash the process is read by itself, from a file of its own.
        """
        source = unit.span.source
        return source.is_part and source.payload is None and not unit.is_suspect

    def is_of(self, unit: WorkUnit) -> bool:
        """Whether a unit is a part of the file that is open."""
        return self.accepts(unit) and self._uri == unit.span.source.uri

    def opener(self, opener: Opener) -> AudioOpener:
        """Returns an opener that opens a file only if it is another one than the last."""

        @contextmanager
        def opened(source: AudioSource, policy: FetchPolicy, check: Check) -> Iterator[AudioFile]:
            yield self._opened(source, policy, check, opener)

        return opened

    def close_unless_of(self, unit: WorkUnit) -> None:
        """Closes the file if a unit is of another one."""
        if self._uri != unit.span.source.uri:
            self.close()

    def close(self) -> None:
        """Closes the file, and deletes its copy if it is one."""
        if self._file is not None:
            self._file.close()
        self._uri = self._file = None
        self._stack.close()

    def _opened(self, source: AudioSource, policy: FetchPolicy, check: Check, opener: Opener) -> DecodedFile:
        if self._file is not None and self._uri == source.uri:
            return self._file
        self.close()
        with ExitStack() as stack:
            self._file = DecodedFile(stack.enter_context(opener(source, policy, check)))
            self._uri, self._stack = source.uri, stack.pop_all()
        return self._file
