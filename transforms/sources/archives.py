"""Reads recordings from archives: `zip`, `tar` and WebDataset shards.

A member that is audio by its extension is a recording; its URI is that of the archive, `//` and its name.
Members whose names are equal up to the first dot of the last component are a sample (WebDataset): beside
`talks/17.flac`, `talks/17.txt` is the reference text, and `talks/17.json` an object with columns, as in a
manifest. In a sample with several recordings, a text belongs to the recording of exactly the same name. A tar
is read once from start to end, so the members of a sample must follow each other.

Nothing is unpacked to a disk. Archives in archives are not read, hidden files are left out. Members that are
neither recordings nor the texts of one are counted (`transforms.sources.passed_over`).
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from transforms.core.errors import AudioError, to_failure
from transforms.core.metrics import NO_METRICS, Metrics
from transforms.core.redaction import redact
from transforms.core.types import AudioSource, Failure
from transforms.core.uris import audio_id_of, audio_source, suffix
from transforms.fetch.open_audio import open_audio
from transforms.fetch.policy import DEFAULT_POLICY, FetchPolicy
from transforms.sources.archive_members import Member, read_members, sample_key
from transforms.sources.columns import TEXT_COLUMNS, ColumnError, Row, apply_row, choose_column, get_text
from transforms.sources.file_types import is_audio, is_hidden
from transforms.sources.manifest_records import parse_json_row
from transforms.sources.passed_over import ARCHIVES, PassedOver, format_counts

TEXT_SUFFIX, COLUMNS_SUFFIX = ".txt", ".json"
MAX_TEXT_BYTES = 16 << 20


@dataclass(frozen=True)
class ArchiveShard:
    """An archive as a work item, which a worker reads.

    Attributes:
        uri: a local path or a URL.
        text_column: the column of its `.json` members with the reference; None for the first with a usual
            name, if any.
    """

    uri: str
    text_column: str | None = None

    def __str__(self) -> str:
        return self.uri


def read_archive(
    shard: ArchiveShard,
    policy: FetchPolicy = DEFAULT_POLICY,
    metrics: Metrics = NO_METRICS,
    languages: Collection[str] = (),
) -> Iterator[AudioSource | Failure]:
    """Yields an archive's recordings in order, with their bytes as `payload`: one at a time is in memory.

    A member that cannot be read is a `Failure`, and so is one with the name of an earlier member.

    Args:
        shard: the archive.
        policy: which URIs may be fetched.
        metrics: sink of the counts of members that are passed over.
        languages: see `apply_row`.

    Raises:
        AudioError: the archive cannot be fetched or read to its end, or contains no audio; recordings before
            the error were yielded.
    """
    with open_audio(audio_source(shard.uri), policy) as file:
        passed_over = PassedOver(ARCHIVES, metrics)
        samples = _Samples(shard, passed_over, languages)
        broken = None
        try:
            for member in read_members(file):
                yield from samples.add(member)
        except AudioError as error:
            broken = error
        yield from samples.end_sample()
        if broken is not None:
            raise broken
        if not samples.names:
            found = format_counts(passed_over.counts)
            holds = f"; it holds {found}" if found else ""
            message = f"an archive without a file that is audio by its extension{holds}"
            raise AudioError("list", "empty", message)


class _Samples:
    """Groups members into recordings: a recording waits for texts that may follow it."""

    def __init__(self, shard: ArchiveShard, passed_over: PassedOver, languages: Collection[str]) -> None:
        self.names: set[str] = set()
        self._languages = languages
        self._shard, self._passed_over = shard, passed_over
        self._key: str | None = None
        self._waiting: tuple[str, bytes] | None = None  # a recording's name and bytes
        self._several = False  # whether the sample has more than one recording
        self._texts: dict[str, bytes] = {}
        self._used: set[str] = set()  # names of the texts that belong to a recording

    def add(self, member: Member) -> Iterator[AudioSource | Failure]:
        """Adds the next member, and yields the waiting recording once no text of it can follow."""
        name = member.name
        if is_hidden(name):
            self._passed_over.add(name)
            return
        if sample_key(name) != self._key:
            yield from self.end_sample()
            self._key = sample_key(name)
        try:
            if is_audio(name):
                yield from self._add_audio(member)
            elif suffix(name) in (TEXT_SUFFIX, COLUMNS_SUFFIX):
                self._texts[name] = member.read(MAX_TEXT_BYTES)
            else:
                self._passed_over.add(name)
        except AudioError as error:
            yield to_failure(self._source(name), error)

    def end_sample(self) -> Iterator[AudioSource | Failure]:
        """Yields the waiting recording, as no text of it follows, and begins another sample."""
        yield from self._end()
        for name in self._texts.keys() - self._used:
            self._passed_over.add(name)
        self._several, self._texts, self._used = False, {}, set()

    def _end(self) -> Iterator[AudioSource | Failure]:
        """Yields the waiting recording, as no text of it follows."""
        if self._waiting is None:
            return
        (name, payload), self._waiting = self._waiting, None
        source = replace(self._source(name), payload=payload)
        columns: Row = {}
        try:
            columns = parse_json_row(self._text(name, COLUMNS_SUFFIX) or "{}")
        except ColumnError as error:
            yield to_failure(
                source, AudioError("list", "bad_metadata", f"its {COLUMNS_SUFFIX} file: {error}")
            )
        text_column = choose_column(columns.keys(), self._shard.text_column, TEXT_COLUMNS)
        text = self._text(name, TEXT_SUFFIX)
        reference = get_text(columns, text_column) if text is None else text.strip()
        source = replace(source, reference=reference)
        try:
            yield apply_row(source, columns, {text_column}, languages=self._languages)
        except ColumnError as error:
            yield to_failure(source, AudioError("list", "bad_clips", f"its {COLUMNS_SUFFIX} file: {error}"))

    def _add_audio(self, member: Member) -> Iterator[AudioSource | Failure]:
        self._several = self._several or self._waiting is not None
        yield from self._end()
        if member.name in self.names:
            raise AudioError(
                "list", "duplicate", "two members of the archive have this name; this is the later"
            )
        self.names.add(member.name)
        self._waiting = member.name, member.read()

    def _text(self, name: str, wanted: str) -> str | None:
        """Returns the text of a recording: of the same name, or else the only one of its sample."""
        found = posixpath.splitext(name)[0] + wanted
        others = [other for other in self._texts if suffix(other) == wanted]
        if found not in self._texts and len(others) == 1 and not self._several:
            found = others[0]
        if found not in self._texts:
            return None
        self._used.add(found)
        return self._texts[found].decode("utf-8-sig", "surrogateescape")

    def _source(self, name: str) -> AudioSource:
        part = f"//{name}"
        return AudioSource(audio_id_of(self._shard.uri, part), redact(self._shard.uri) + part)
