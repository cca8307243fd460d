"""References from a manifest: their texts and times, and their assignment to the recordings of a run."""

from __future__ import annotations

import math
import os
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeGuard

from pipelines.evaluation.timestamp_errors import TimedText
from transforms.core.errors import InputError, ManifestError
from transforms.core.uris import audio_source, is_http, is_url, plain
from transforms.fetch.open_audio import open_audio
from transforms.fetch.policy import FetchPolicy
from transforms.sources.file_types import manifest_kind
from transforms.sources.manifest_lines import open_lines
from transforms.sources.manifest_records import JSON_KINDS, parse_row, read_records
from transforms.sources.manifests import read_manifest

POLICY = FetchPolicy(allow_private_hosts=True, trust_manifests=True)
"""Unrestricted: the user names the manifest, and nothing that it lists is fetched."""

Named = tuple[str, str]
"""A recording of a run: `audio_id` and `uri`."""


@dataclass(frozen=True)
class Reference:
    """Reference transcript of a recording.

    Attributes:
        uri: URI of the recording, as in the manifest.
        text: the transcript; None if only timed words are known.
        times: words, or else segments, with times in seconds of the recording; empty if unknown.
    """

    uri: str
    text: str | None
    times: tuple[TimedText, ...] = ()


@dataclass(frozen=True)
class Matches:
    """Assignment of references to recordings.

    Attributes:
        by_id: reference by the recording's `audio_id`.
        n_ambiguous: recordings without a reference, as their file name matches several of either.
        n_unused: references without a recording.
    """

    by_id: Mapping[str, Reference]
    n_ambiguous: int = 0
    n_unused: int = 0


def read_references(
    uri: str, audio_column: str | None = None, text_column: str | None = None
) -> dict[str, Reference]:
    """Reads all references of a manifest; returns them by the `audio_id` of their recordings.

    Args:
        uri: local path or URL of a `.jsonl`, `.json`, `.csv` or `.tsv` file. In JSON, `words` (or else
            `segments`) is read too: a list of `{"start", "end", "word" or "text"}` in seconds.
        audio_column: see `transforms.sources.manifests.read_manifest`.
        text_column: see `transforms.sources.manifests.read_manifest`.

    Raises:
        InputError: the manifest cannot be read, has an invalid line, or has two different references for a
            recording.
    """
    uri = plain(uri)
    kind = manifest_kind(uri)
    if kind is None or kind == ".txt":
        raise InputError(
            f"--references {uri}: a manifest with a column of text was expected (.jsonl, .json, .csv, .tsv)"
        )
    uri = uri if is_url(uri) else os.path.abspath(os.path.expanduser(uri))
    sources = list(read_manifest(uri, audio_column, text_column, POLICY))
    times = _times(uri, kind) if kind in JSON_KINDS else [()] * len(sources)
    references: dict[str, Reference] = {}
    for source, timed in zip(sources, times, strict=True):
        reference = Reference(source.uri, source.reference, timed)
        if reference.text is None and not reference.times:
            continue
        if references.setdefault(source.audio_id, reference) != reference:
            raise InputError(f"{uri} has two different references for {source.uri}; keep one")
    return references


def match(references: Mapping[str, Reference], recordings: Iterable[Named]) -> Matches:
    """Assigns references to recordings with the same path or URL, or else with the same unique file name.

    Args:
        references: references by `audio_id`.
        recordings: recordings of the run; they may repeat.
    """
    names = _unique_names(references)
    exact: set[str] = set()
    named: dict[str, set[str]] = {name: set() for name in names}  # the recordings of each file name
    for audio_id, uri in recordings:
        if audio_id in references:
            exact.add(audio_id)
        elif (name := _file_name(uri)) in named:
            named[name].add(audio_id)
    by_id = {audio_id: references[audio_id] for audio_id in exact}
    used = len(exact)
    n_ambiguous = 0
    for name, audio_ids in named.items():
        reference_id = names[name]
        if reference_id is None or len(audio_ids) > 1:
            n_ambiguous += len(audio_ids)
        elif audio_ids and reference_id not in exact:
            by_id[audio_ids.pop()] = references[reference_id]
            used += 1
    return Matches(by_id, n_ambiguous, len(references) - used)


def _unique_names(references: Mapping[str, Reference]) -> dict[str, str | None]:
    """Returns the `audio_id` of the reference with each file name; None for a name of several."""
    names: dict[str, str | None] = {}
    for audio_id, reference in references.items():
        name = _file_name(reference.uri)
        names[name] = None if name in names else audio_id
    return names


def _file_name(uri: str) -> str:
    return posixpath.basename(uri.partition("?")[0] if is_http(uri) else uri)


def _times(uri: str, kind: str) -> list[tuple[TimedText, ...]]:
    """Returns the timed words of each line that `read_manifest` lists, in the same order."""
    with open_audio(audio_source(uri), POLICY) as file:
        records = read_records(open_lines(file, kind).file, kind)
        return [
            _times_of(parse_row(record, kind, None), f"{uri}, line {record.number}") for record in records
        ]


def _times_of(row: Mapping[str, object], place: str) -> tuple[TimedText, ...]:
    column = next((name for name in ("words", "segments") if row.get(name)), None)
    if column is None:
        return ()
    items = row[column]
    if not isinstance(items, list):
        raise ManifestError(f"{place}: {column} is {str(items)[:40]!r}, where a list was expected")
    return tuple(_timed(item, f"{place}: {column}[{index}]") for index, item in enumerate(items))


def _timed(item: object, place: str) -> TimedText:
    fields = item if isinstance(item, dict) else {}
    start_s, end_s, text = fields.get("start"), fields.get("end"), fields.get("word", fields.get("text"))
    if not isinstance(text, str) or not _is_time(start_s) or not _is_time(end_s):
        shown = str(item)[:80]
        raise ManifestError(
            f'{place} is {shown}, where {{"start": seconds, "end": seconds, "text"}} was expected'
        )
    return TimedText(start_s, end_s, text)


def _is_time(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)
