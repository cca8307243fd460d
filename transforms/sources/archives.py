"""Recordings in archives, read in place: `zip`, `tar` and shards in the form of WebDataset.

A member that is audio by its extension is a recording; its URI is that of the archive, `//` and its name.
Members whose names are the same up to the first dot of the last part are a sample (WebDataset): beside
`talks/17.flac`, `talks/17.txt` is what was said, and `talks/17.json` an object with columns, as in a
manifest. A sample with several recordings has texts with their very names alone. Of a tar, which is read once
from its start to its end, members of a sample must follow each other.

Nothing is unpacked to a disk, archives in archives are not entered, hidden files are left out.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, replace

from transforms.core.errors import AudioError, to_failure
from transforms.core.redaction import redact
from transforms.core.types import AudioSource, Failure
from transforms.core.uris import audio_id_of, audio_source, suffix
from transforms.fetch.open_audio import open_audio
from transforms.fetch.policy import DEFAULT_POLICY, FetchPolicy
from transforms.sources.archive_members import Member, members_of, sample_of
from transforms.sources.columns import TEXT_COLUMNS, ColumnError, Row, choose_column, apply_row, get_text
from transforms.sources.file_types import is_audio, is_hidden
from transforms.sources.manifest_records import json_row

TEXT_SUFFIX, COLUMNS_SUFFIX = ".txt", ".json"
MAX_TEXT_BYTES = 16 << 20


@dataclass(frozen=True)
class ArchiveShard:
    """An archive, to be read by the worker that it is shipped to.

    Attributes:
        uri: a local path or a URL.
        text_column: the column of its `.json` members with the reference; None for the first that has a
            usual name, if any.
    """

    uri: str
    text_column: str | None = None

    def __str__(self) -> str:
        return self.uri


def read_archive(
    shard: ArchiveShard, policy: FetchPolicy = DEFAULT_POLICY
) -> Iterator[AudioSource | Failure]:
    """Reads an archive's recordings in order, with their bytes as `payload`: one at a time is held.

    A member that cannot be read is a `Failure`, and so is one whose name another had before it.

    Raises:
        AudioError: the archive cannot be fetched, or read to its end, or holds no audio; what could be read
            was given.
    """
    with open_audio(audio_source(shard.uri), policy) as file:
        samples = _Samples(shard)
        broken = None
        try:
            for member in members_of(file):
                yield from samples.add(member)
        except AudioError as error:
            broken = error
        yield from samples.end()
        if broken is not None:
            raise broken
        if not samples.names:
            raise AudioError("list", "empty", "an archive without a file that is audio by its extension")


class _Samples:
    """Makes recordings of members: one waits for the text behind it."""

    def __init__(self, shard: ArchiveShard) -> None:
        self.names: set[str] = set()
        self._shard = shard
        self._key: str | None = None
        self._waiting: tuple[str, bytes] | None = None  # a recording's name and bytes
        self._several = False  # the sample has more than one
        self._texts: dict[str, bytes] = {}

    def add(self, member: Member) -> Iterator[AudioSource | Failure]:
        """Takes the next member, and gives the recording that waits for no more text."""
        name = member.name
        if is_hidden(name):
            return
        if sample_of(name) != self._key:
            yield from self.end()
            self._key, self._several, self._texts = sample_of(name), False, {}
        try:
            if is_audio(name):
                yield from self._add_audio(member)
            elif suffix(name) in (TEXT_SUFFIX, COLUMNS_SUFFIX):
                self._texts[name] = member.read(MAX_TEXT_BYTES)
        except AudioError as error:
            yield to_failure(self._source(name), error)

    def end(self) -> Iterator[AudioSource | Failure]:
        """Gives the recording that waits, as nothing follows that belongs to it."""
        if self._waiting is None:
            return
        (name, payload), self._waiting = self._waiting, None
        source = replace(self._source(name), payload=payload)
        columns: Row = {}
        try:
            columns = json_row(self._text(name, COLUMNS_SUFFIX) or "{}")
        except ColumnError as error:
            yield to_failure(
                source, AudioError("list", "bad_metadata", f"its {COLUMNS_SUFFIX} file: {error}")
            )
        text_column = choose_column(columns.keys(), self._shard.text_column, TEXT_COLUMNS)
        said = self._text(name, TEXT_SUFFIX)
        reference = get_text(columns, text_column) if said is None else said.strip()
        yield apply_row(replace(source, reference=reference), columns, {text_column})

    def _add_audio(self, member: Member) -> Iterator[AudioSource | Failure]:
        self._several = self._several or self._waiting is not None
        yield from self.end()
        if member.name in self.names:
            raise AudioError(
                "list", "duplicate", "two members of the archive have this name; this is the later"
            )
        self.names.add(member.name)
        self._waiting = member.name, member.read()

    def _text(self, name: str, wanted: str) -> str | None:
        """The text that belongs to a recording: with its very name, or else the only one of its sample."""
        found = self._texts.get(posixpath.splitext(name)[0] + wanted)
        others = [text for other, text in self._texts.items() if suffix(other) == wanted]
        if found is None and len(others) == 1 and not self._several:
            found = others[0]
        return None if found is None else found.decode("utf-8-sig", "surrogateescape")

    def _source(self, name: str) -> AudioSource:
        part = f"//{name}"
        return AudioSource(audio_id_of(self._shard.uri, part), redact(self._shard.uri) + part)
