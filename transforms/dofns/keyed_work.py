"""Work items of a caller's collection: each once, with the keys that its results are for.

A key is a tuple: `(key,)` for an element (key, recording), and `()` for a recording without a key.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import apache_beam as beam
from apache_beam.coders import FastPrimitivesCoder
from apache_beam.pvalue import TaggedOutput

from transforms.core.clips import SEVERAL_CLIPS, SEVERAL_CLIPS_ADVICE, check_clip_times
from transforms.core.errors import AudioError, to_failure
from transforms.core.types import AudioSource, Failure, Transcript, file_id, media_fragment
from transforms.core.uris import audio_id_of, audio_source, plain
from transforms.dofns.assemble import Grouped
from transforms.dofns.open_work import OpenWork
from transforms.dofns.second_pass import PassAndOrigin, reopen_origin
from transforms.dofns.tags import FAILURES, ORIGINS, failed
from transforms.fetch.policy import DEFAULT_POLICY, FetchPolicy
from transforms.sources.archives import ArchiveShard
from transforms.sources.single_uri import absolute, work_of_uri
from transforms.sources.work_items import Work

KEYS = "keys"
TRANSCRIPTS = "transcripts"

Key = tuple[Any, ...]


def name_work(element: Any) -> tuple[str, Any]:  # noqa: ANN401  # an element of any pipeline
    """Returns (name, (key, work item)) of a recording: items of the same name are the same recording.

    Args:
        element: a URI, an `AudioSource`, a work item, or a pair of a key and one of these.

    Raises:
        TypeError: it is nothing of the kind.
        ValueError: the `audio_id` or the clips of an `AudioSource` cannot be used.
    """
    is_pair = isinstance(element, tuple) and len(element) == 2
    key, one = ((element[0],), element[1]) if is_pair else ((), element)
    if isinstance(one, str | os.PathLike):
        work = _work_or_failure(os.fspath(one))
    elif isinstance(one, AudioSource):
        work = _identified(one)
    elif isinstance(one, Work):
        work = one
    else:
        raise TypeError(
            f"cannot transcribe a {type(one).__name__}, {one!r:.100}: give a URI (str), an AudioSource, or a "
            "pair of a key and one of these"
        )
    return _name_of(work), (key, work)


def merge_keys(grouped: tuple[str, Iterable[tuple[Key, Work | Failure]]]) -> Iterator[Any]:
    """Emits a work item once, with all of its keys; an invalid one as a failure for each key.

    Of recordings that have the same id but other hints, the first by its description is taken in every run.
    Other clips make a failure: what is asked for is not clear.
    """
    values = list(grouped[1])
    keys = _distinct(key for key, _ in values)
    work = min((work for _, work in values), key=repr)
    clips = {work.clip_timestamps for _, work in values if isinstance(work, AudioSource)}
    if isinstance(work, AudioSource) and len(clips) > 1:
        work = to_failure(work, AudioError("list", SEVERAL_CLIPS, SEVERAL_CLIPS_ADVICE))
    if not isinstance(work, Failure):
        yield keys, work
        return
    for key in keys:
        yield TaggedOutput(FAILURES, _with_key(key, failed(work).value))


class OpenKeyedWork(beam.DoFn):
    """`OpenWork` for (keys, work item); also emits, on `KEYS`, the keys by the id of each recording.

    Its failures are keyed by that id.

    Args:
        opener: opens the work items.
    """

    def __init__(self, opener: OpenWork) -> None:
        self._opener = opener

    def setup(self) -> None:
        """Sets up the opener."""
        self._opener.setup()

    def process(self, keyed: tuple[tuple[Key, ...], Work]) -> Iterator[Any]:
        """Opens a work item row by row."""
        keys, work = keyed
        for output in self._opener.process(work):
            if not isinstance(output, TaggedOutput):
                yield output
            elif output.tag == FAILURES:
                audio_id = output.value.audio_id or _name_of(work)  # a shard that cannot be opened has no id
                yield TaggedOutput(KEYS, (audio_id, keys))
                yield TaggedOutput(FAILURES, (audio_id, output.value))
            else:
                if output.tag == ORIGINS:
                    yield TaggedOutput(KEYS, (output.value[0], keys))
                yield output


def reopen_keyed_origin(
    grouped: tuple[str, Iterable[PassAndOrigin]], policy: FetchPolicy = DEFAULT_POLICY
) -> Iterator[Any]:
    """`reopen_origin` with failures keyed by the id of a recording: that of an archive has none."""
    key, passes = grouped[0], list(grouped[1])
    audio_id = file_id(passes[0][0].audio_id)
    for output in reopen_origin((key, passes), policy):
        if isinstance(output, TaggedOutput):
            yield TaggedOutput(FAILURES, (audio_id, output.value))
        else:
            yield output


def by_file_id(value: Transcript | Failure) -> tuple[str, Any]:
    """Keys a result by the id of its file."""
    return file_id(value.audio_id), value


def emit_for_keys(grouped: Grouped) -> Iterator[Any]:
    """Emits the transcripts and failures of a file for each of its keys."""
    _, values = grouped
    transcripts, failures = list(values[TRANSCRIPTS]), list(values[FAILURES])
    for key in _distinct(key for keys in values[KEYS] for key in keys):
        yield from (_with_key(key, transcript) for transcript in transcripts)
        yield from (TaggedOutput(FAILURES, _with_key(key, failure)) for failure in failures)


def _work_or_failure(uri: str) -> Work | Failure:
    try:
        return work_of_uri(uri)
    except AudioError as error:
        return to_failure(audio_source(uri), error)


def _identified(source: AudioSource) -> AudioSource:
    """Returns the source with an id: that of its place, as of a URI, unless it has one."""
    check_clip_times(source.clip_timestamps)
    if not source.audio_id:
        uri = absolute(plain(source.uri)) if source.payload is None else source.uri
        fragment = media_fragment(source.start_s, source.end_s)
        return replace(source, audio_id=audio_id_of(uri, fragment), uri=uri)
    if file_id(source.audio_id) != source.audio_id:
        raise ValueError(
            f"audio_id {source.audio_id!r}: what follows '-' is an audio stream or a channel; leave the id "
            "empty, and give yours as a key"
        )
    return source


def _name_of(work: Work | Failure) -> str:
    if isinstance(work, AudioSource | Failure):
        return work.audio_id
    if isinstance(work, ArchiveShard):
        return f"{audio_id_of(work.uri)} archive"
    return repr(work)


def _distinct(keys: Iterable[Key]) -> tuple[Key, ...]:
    """Returns each key once, as Beam's own coder tells them apart: 1 and True are two keys."""
    coder = FastPrimitivesCoder()
    return tuple({coder.encode(key): key for key in keys}.values())


def _with_key(key: Key, value: Any) -> Any:  # noqa: ANN401  # an element of any pipeline
    return (*key, value) if key else value
