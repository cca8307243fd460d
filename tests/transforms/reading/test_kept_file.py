from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import BinaryIO

import pytest

from tests.support.encoding import encoded, siren
from transforms.audio.decoder import AudioDecoder
from transforms.checkpoint.spans import WorkUnit
from transforms.core.cancellation import Check, check_stop
from transforms.core.errors import AudioError
from transforms.core.types import AudioSource, AudioSpan
from transforms.core.uris import audio_source
from transforms.fetch.policy import DEFAULT_POLICY, FetchPolicy
from transforms.reading.kept_file import KeptFile

WAV = encoded(siren(3))


def part(uri: str = "/a.wav", start_s: float = 1.0) -> WorkUnit:
    return WorkUnit("key", AudioSpan(replace(audio_source(uri), start_s=start_s)))


class Files:
    """Opens files, and remembers which are open and how often they were."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.open: list[str] = []

    @contextmanager
    def __call__(self, source: AudioSource, _: FetchPolicy, __: Check) -> Iterator[BinaryIO]:
        self.opened.append(source.uri)
        if "missing" in source.uri:
            raise AudioError("fetch", "not_found", "no such file")
        self.open.append(source.uri)
        yield io.BytesIO(WAV)
        self.open.remove(source.uri)


def read(kept: KeptFile, files: Files, unit: WorkUnit) -> None:
    with kept.opener(files)(unit.span.source, DEFAULT_POLICY, check_stop) as file:
        assert sum(map(len, AudioDecoder(file).blocks())) == 3 * 16_000


def test_a_file_is_opened_once_for_parts_that_follow_each_other() -> None:
    kept, files = KeptFile(), Files()
    for start_s in (1.0, 2.0):
        read(kept, files, part(start_s=start_s))
        assert kept.is_of(part(start_s=3.0))
    assert (files.opened, files.open) == (["/a.wav"], ["/a.wav"])
    read(kept, files, part("/b.wav"))
    assert files.open == ["/b.wav"]
    kept.close_unless_of(part("/b.wav"))
    assert files.open == ["/b.wav"]
    kept.close_unless_of(part("/a.wav"))
    assert files.open == []
    assert not kept.is_of(part("/b.wav"))


def test_a_file_that_cannot_be_opened_is_an_error_of_each_part() -> None:
    kept, files = KeptFile(), Files()
    read(kept, files, part())
    for _ in range(2):
        with pytest.raises(AudioError, match="no such file"):
            read(kept, files, part("/missing.wav"))
        assert not kept.is_of(part("/missing.wav"))
    assert files.open == []
    assert files.opened == ["/a.wav", "/missing.wav", "/missing.wav"]


def test_only_parts_that_did_not_crash_the_process_share_a_file() -> None:
    assert KeptFile.accepts(part())
    whole = WorkUnit("key", AudioSpan(audio_source("/a.wav")))
    in_memory = WorkUnit("key", AudioSpan(replace(part().span.source, payload=b"1")))
    for unit in (whole, in_memory, replace(part(), n_crashes=2)):
        assert not KeptFile.accepts(unit)
