from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import BinaryIO

import pytest

from transforms.checkpoint.spans import WorkUnit
from transforms.core.cancellation import STOP, Check, StopRequestedError, check_stop
from transforms.core.errors import AudioError
from transforms.core.types import AudioSource, AudioSpan
from transforms.core.uris import audio_source
from transforms.fetch.policy import DEFAULT_POLICY, FetchPolicy
from transforms.reading.fetch_ahead import MAX_AHEAD, FetchAhead


def unit(name: str) -> WorkUnit:
    return WorkUnit(name, AudioSpan(audio_source(f"https://host/{name}")))


class Downloads:
    """Opens recordings whose downloads a test ends; remembers which are open."""

    def __init__(self) -> None:
        self.arrived = {name: threading.Event() for name in "abcdefghijkl"}
        self.open: set[str] = set()
        self.closed: list[str] = []
        self.no_room: set[str] = set()
        self.changed = threading.Condition()

    @contextmanager
    def __call__(self, source: AudioSource, _: FetchPolicy, check: Check) -> Iterator[BinaryIO]:
        name = source.uri[-1]
        with self.changed:
            self.open.add(name)
            self.changed.notify_all()
        try:
            while not self.arrived[name].wait(0.005):
                check()
            if name in self.no_room:
                raise AudioError("fetch", "no_room", "no disk space for a copy", retryable=True)
            if name == "f":
                raise AudioError("fetch", "not_found", "404")
            yield io.BytesIO(name.encode())
        finally:
            with self.changed:
                self.open.remove(name)
                self.closed.append(name)
                self.changed.notify_all()

    def wait_until_open(self, names: str) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.open == set(names), timeout=60)


@pytest.fixture
def downloads() -> Downloads:
    return Downloads()


@pytest.fixture
def ahead(downloads: Downloads) -> Iterator[FetchAhead]:
    ahead = FetchAhead(DEFAULT_POLICY, check_stop, downloads)
    yield ahead
    ahead.close()


def taken(ahead: FetchAhead) -> str:
    found = ahead.take(block=True)
    assert found is not None
    (one,), opener = found
    with opener(one.span.source, DEFAULT_POLICY, check_stop) as file:
        assert file.read() == one.key.encode()
    return one.key


def test_recordings_are_fetched_at_the_same_time(ahead: FetchAhead, downloads: Downloads) -> None:
    for name in "abcdefgh":
        assert not ahead.is_full
        ahead.submit(unit(name))
    downloads.wait_until_open("abcdefgh")
    assert (ahead.is_full, len(ahead)) == (True, MAX_AHEAD)
    assert ahead.take(block=False) is None


def test_what_arrives_first_is_taken_first(ahead: FetchAhead, downloads: Downloads) -> None:
    for name in "abc":
        ahead.submit(unit(name))
    for name in "bca":  # the first one stalls
        downloads.arrived[name].set()
        assert taken(ahead) == name
        assert downloads.closed[-1] == name  # the copy is dropped once it was read
    assert len(ahead) == 0


def test_an_error_comes_when_the_recording_is_opened(ahead: FetchAhead, downloads: Downloads) -> None:
    ahead.submit(unit("f"))
    downloads.arrived["f"].set()
    found = ahead.take(block=True)
    assert found is not None
    with (
        pytest.raises(AudioError, match="404"),
        found[1](found[0][0].span.source, DEFAULT_POLICY, check_stop),
    ):
        pass


def test_recording_without_room_beside_others_is_fetched_anew_once_they_were_taken(
    ahead: FetchAhead, downloads: Downloads
) -> None:
    downloads.no_room = {"b"}
    for name in "ab":
        ahead.submit(unit(name))
    downloads.arrived["a"].set()
    assert taken(ahead) == "a"
    downloads.arrived["b"].set()
    downloads.wait_until_open("")
    downloads.arrived["b"].clear()
    assert ahead.take(block=False) is None
    downloads.no_room = set()
    downloads.arrived["b"].set()
    assert taken(ahead) == "b"
    assert downloads.closed == ["a", "b", "b"]


def test_recording_without_room_is_an_error_if_no_other_was_taken(
    ahead: FetchAhead, downloads: Downloads
) -> None:
    downloads.no_room = {"a", "b", "c"}
    for name in "abc":
        ahead.submit(unit(name))
        downloads.arrived[name].set()
    for _ in range(3):
        found = ahead.take(block=True)
        assert found is not None
        (one,), opener = found
        with pytest.raises(AudioError, match="no_room"):
            opener(one.span.source, DEFAULT_POLICY, check_stop).__enter__()
    assert len(ahead) == 0


def test_a_wait_ends_when_a_stop_is_requested(downloads: Downloads) -> None:
    stopped = threading.Event()

    def check() -> None:
        if stopped.is_set() and threading.current_thread() is threading.main_thread():
            raise StopRequestedError

    ahead = FetchAhead(DEFAULT_POLICY, check, downloads)
    ahead.submit(unit("a"))
    stopped.set()
    with pytest.raises(StopRequestedError):
        ahead.take(block=True)
    ahead.close()
    downloads.wait_until_open("")


def test_a_download_ends_when_a_stop_is_requested(ahead: FetchAhead, downloads: Downloads) -> None:
    ahead.submit(unit("a"))
    STOP.set()
    with pytest.raises(StopRequestedError):
        taken(ahead)


def test_copies_that_are_not_taken_are_dropped(ahead: FetchAhead, downloads: Downloads) -> None:
    for name in "abcd":
        ahead.submit(unit(name))
    downloads.wait_until_open("abcd")
    downloads.arrived["a"].set()  # it has arrived, the others are under way
    ahead.close()
    downloads.wait_until_open("")
    assert len(ahead) == 0


def part(name: str, start_s: float) -> WorkUnit:
    return WorkUnit(f"{name}{start_s}", AudioSpan(replace(unit(name).span.source, start_s=start_s)))


def test_parts_of_one_file_are_fetched_and_taken_together(ahead: FetchAhead, downloads: Downloads) -> None:
    assert [ahead.submit(one) for one in (part("a", 1), part("b", 1), part("a", 2), part("a", 3))] == [
        True, True, False, False,
    ]  # fmt: skip
    assert len(ahead) == 2
    downloads.arrived["a"].set()
    downloads.wait_until_open("ab")  # no more copies than files
    found = ahead.take(block=True)
    assert found is not None
    assert [one.key for one in found[0]] == ["a1", "a2", "a3"]
    assert ahead.submit(part("a", 4))  # what was taken is not shared with later ones


def test_the_error_of_a_download_is_that_of_each_part(ahead: FetchAhead, downloads: Downloads) -> None:
    for start_s in (1, 2):
        ahead.submit(part("f", start_s))
    downloads.arrived["f"].set()
    found = ahead.take(block=True)
    assert found is not None
    for one in found[0]:
        with pytest.raises(AudioError, match="404"):
            found[1](one.span.source, DEFAULT_POLICY, check_stop).__enter__()


def test_units_that_are_here_or_may_crash_the_process_are_not_fetched_ahead() -> None:
    remote = unit("a")
    assert FetchAhead.accepts(remote)
    assert not FetchAhead.accepts(replace(remote, n_crashes=2))
    for source in (audio_source("/a.wav"), replace(audio_source("https://host/a"), payload=b"1")):
        assert not FetchAhead.accepts(WorkUnit("key", AudioSpan(source)))
