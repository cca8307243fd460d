"""Parts of a file that are decoded together are those of decoders of their own, to the bit."""

from __future__ import annotations

import io
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
import soundfile as sf

from model.interface import SAMPLE_RATE, Samples
from tests.support.encoding import encoded, ffmpeg_encoded, flipped, siren
from tests.support.several_streams import Sound, several_streams
from transforms.audio import decoding_pass, stream_choice
from transforms.audio.clip import Clip
from transforms.audio.decoded_file import AudioFile, DecodedFile
from transforms.audio.decoder import AudioDecoder
from transforms.core.errors import AudioError
from transforms.core.sections import BLOCK_S, Sections
from transforms.core.types import AudioSource

N_S = 130
SHORT = Sections(120)


class Part(NamedTuple):
    """A part of a file: start and end in seconds, and its channel."""

    start_s: float
    end_s: float | None
    channel: int | None = None
    takes_mono: bool = False


PARTS = (
    Part(0.0, 3.0), Part(0.0, 3.0), Part(0.3, 4.25), Part(1.0, 2.0, 1), Part(1.0, 2.0, 1, True),
    Part(2.0, 40.0), Part(3.0, 3.00001), Part(29.99, 30.01), Part(30.0, 31.0), Part(30.5, 31.0, 0),
    Part(59.5, 121.0), Part(60.0, 60.1), Part(61.5, 62.0, 1), Part(62.0, 64.0, 5), Part(91.0, 92.5),
    Part(119.0, 123.0),
    Part(120.5, None), Part(125.0, 140.0), Part(128.0, 131.0, 1), Part(150.0, 155.0), Part(400.0, None),
    Part(5.0, 6.0), Part(100.0, 101.0),
)  # fmt: skip
"""In order but for the last two, with gaps, overlaps, ends after the file's, and channels it may not have."""


def stereo(rate: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    left = siren(N_S, rate)
    return np.stack([left, -0.5 * np.roll(left, rate)], axis=1)


def mp3(samples: np.ndarray[Any, Any], rate: int, mode: str) -> bytes:
    file = io.BytesIO()
    sf.write(file, samples, rate, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode=mode)
    return file.getvalue()


def with_invalid() -> bytes:
    samples = siren(N_S)
    samples[31 * SAMPLE_RATE : 33 * SAMPLE_RATE] = np.nan
    return encoded(samples, subtype="FLOAT")


def of_two_rates() -> bytes:
    return mp3(siren(50, 44_100), 44_100, "CONSTANT") + mp3(siren(80, 32_000), 32_000, "CONSTANT")


FILES: dict[str, Callable[[], bytes]] = {
    "wav": lambda: encoded(stereo(44_100), 44_100),
    "wav of 16 kHz with invalid samples": with_invalid,
    "flac": lambda: encoded(stereo(44_100), 44_100, "FLAC"),
    "damaged flac": lambda: flipped(encoded(siren(N_S, 22_050), 22_050, "FLAC"), 20_000),
    "mp3 of a constant bit rate": lambda: mp3(siren(N_S, 44_100), 44_100, "CONSTANT"),
    "mp3 of a variable bit rate": lambda: mp3(stereo(44_100), 44_100, "VARIABLE"),
    "mp3 of 16 kHz": lambda: mp3(siren(N_S), SAMPLE_RATE, "VARIABLE"),
    "damaged mp3": lambda: flipped(mp3(siren(N_S, 44_100), 44_100, "CONSTANT"), 40_000),
    "cut mp3": lambda: mp3(siren(N_S, 44_100), 44_100, "CONSTANT")[:-500_001],
    "mp3 of two rates": of_two_rates,
    "m4a": lambda: ffmpeg_encoded(siren(N_S, 44_100), "ipod", "aac", 44_100),
    "opus": lambda: ffmpeg_encoded(siren(N_S, 48_000), "ogg", "libopus"),
    "cut opus": lambda: ffmpeg_encoded(siren(N_S, 48_000), "ogg", "libopus")[:-30_000],
    "several streams": lambda: several_streams([Sound(0 * siren(N_S)), Sound(siren(N_S))]),
    "no audio": lambda: b"no audio, " * 1000,
}


@cache
def file_of(name: str) -> bytes:
    return FILES[name]()


@pytest.fixture(params=list(FILES))
def data(request: pytest.FixtureRequest) -> bytes:
    return file_of(request.param)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts how often a file is decoded from its start or from a position."""
    found: Counter[str] = Counter()
    opened = stream_choice.open_chosen

    def counted(*args: Any) -> Any:  # noqa: ANN401  # those of the function
        found["passes"] += 1
        return opened(*args)

    monkeypatch.setattr(decoding_pass, "open_chosen", counted)
    return found


def decoder_of(file: AudioFile, part: Part) -> tuple[AudioDecoder, Clip]:
    origin_s = int(part.start_s) // BLOCK_S * BLOCK_S
    decoder = AudioDecoder(file, part.channel, takes_mono=part.takes_mono, sections=SHORT, start_s=origin_s)
    source = AudioSource("id", "x", start_s=part.start_s or None, end_s=part.end_s)
    return decoder, Clip(source, origin_s * SAMPLE_RATE)


def outcome(file: AudioFile, part: Part) -> tuple[object, ...]:
    """All that is known of a part once it was decoded."""
    decoder, clip = decoder_of(file, part)
    samples: list[Samples] = []
    error = None
    try:
        samples.extend(clip.blocks(decoder.blocks()))
    except AudioError as found:
        error = found.kind, found.message
    origin_s = int(part.start_s) // BLOCK_S * BLOCK_S
    sizes, content = [len(block) for block in samples], b"".join(block.tobytes() for block in samples)
    damage = decoder.damage(origin_s, None), decoder.damage(origin_s, origin_s + BLOCK_S)
    known = decoder.declared_s, decoder.decoded_s, decoder.n_channels, decoder.streams
    return sizes, content, error, damage, known, clip.problem, clip.n_samples


@cache
def alone(data: bytes, part: Part) -> tuple[object, ...]:
    return outcome(io.BytesIO(data), part)


@pytest.mark.parametrize("max_bytes", [64 << 20, 1])
def test_parts_that_are_decoded_together_are_those_decoded_alone(data: bytes, max_bytes: int) -> None:
    together = DecodedFile(io.BytesIO(data), max_bytes)
    for part in PARTS:
        assert outcome(together, part) == alone(data, part), part


def test_any_order_of_parts_gives_the_same(data: bytes) -> None:
    together = DecodedFile(io.BytesIO(data))
    for number in np.random.default_rng(1).permutation(len(PARTS))[:12]:
        assert outcome(together, PARTS[number]) == alone(data, PARTS[number]), PARTS[number]


@pytest.mark.parametrize("max_bytes", [64 << 20, 6_000_000, 1])
def test_channels_that_are_read_in_turns_are_those_read_alone(max_bytes: int, passes: Counter[str]) -> None:
    data = file_of("mp3 of a variable bit rate")
    together = DecodedFile(io.BytesIO(data), max_bytes)
    parts = [Part(31.0, 125.0, channel) for channel in (None, 0, 1)]
    found: list[list[Any]] = [[] for _ in parts]
    clips = [decoder_of(together, part) for part in parts]
    for blocks in itertools.zip_longest(*(clip.blocks(decoder.blocks()) for decoder, clip in clips)):
        for one, block in zip(found, blocks, strict=True):
            one.append(block)
    n_passes = passes["passes"]
    for part, one in zip(parts, found, strict=True):
        assert b"".join(block.tobytes() for block in one) == alone(data, part)[1]
    assert (n_passes == 1) == (max_bytes == 64 << 20)


@pytest.mark.parametrize("name", ["flac", "mp3 of a variable bit rate", "m4a", "opus", "several streams"])
def test_parts_in_order_are_one_pass(name: str, passes: Counter[str]) -> None:
    together = DecodedFile(io.BytesIO(file_of(name)))
    for part in PARTS[:-2]:
        outcome(together, part)
    assert passes["passes"] == 1
    outcome(together, PARTS[-2])
    assert passes["passes"] == 2


def test_what_is_far_ahead_in_an_uncompressed_file_is_sought(passes: Counter[str]) -> None:
    file = io.BytesIO(file_of("wav"))
    together = DecodedFile(file)
    for start_s in (1.0, 5.0, 28.0, 31.0):
        outcome(together, Part(start_s, start_s + 1))
    assert passes["passes"] == 1
    outcome(together, Part(121.0, 122.0))
    assert passes["passes"] == 2


def test_what_others_decoded_is_not_read_again(passes: Counter[str]) -> None:
    """A long part leaves the first blocks for short ones within it, even where its last ones are not kept."""
    data = file_of("mp3 of a constant bit rate")
    together = DecodedFile(io.BytesIO(data), 6_000_000)
    assert outcome(together, Part(0.0, 129.0)) == alone(data, Part(0.0, 129.0))
    assert passes.pop("passes") == 2
    assert outcome(together, Part(1.0, 2.0)) == alone(data, Part(1.0, 2.0))
    assert passes["passes"] == 1  # only that of the part alone


def test_memory_does_not_grow_with_the_file() -> None:
    data = file_of("mp3 of a constant bit rate")
    together = DecodedFile(io.BytesIO(data), 20_000_000)
    for start_s in range(0, N_S, 5):
        outcome(together, Part(start_s, start_s + 5))
        assert kept_bytes(together) <= 20_000_000
    outcome(together, Part(0.0, None))
    assert 5_000_000 < kept_bytes(together) <= 20_000_000


def kept_bytes(together: DecodedFile) -> int:
    decoding = together._pass
    assert decoding is not None
    return sum(block.values.nbytes for block, _, _ in decoding._kept)


class FailingOnce(io.BytesIO):
    """A file whose network is down while `is_down`."""

    is_down = False

    def read(self, size: int | None = -1, /) -> bytes:
        if self.is_down and self.tell() > 100_000:
            raise OSError("no answer from the file server")
        return super().read(size)


def test_after_an_error_of_reading_the_file_is_opened_anew() -> None:
    data = file_of("mp3 of a constant bit rate")
    file = FailingOnce(data)
    together = DecodedFile(file)
    assert outcome(together, Part(0.0, 1.0)) == alone(data, Part(0.0, 1.0))
    file.is_down = True
    _, _, error, *_ = outcome(together, Part(100.0, 101.0))
    assert "the file ends at" in str(error)
    file.is_down = False
    assert outcome(together, Part(101.0, 102.0)) == alone(data, Part(101.0, 102.0))


def test_a_stop_ends_only_the_part_that_is_read() -> None:
    data = file_of("mp3 of a constant bit rate")
    together = DecodedFile(io.BytesIO(data))

    def check() -> None:
        raise KeyError("stopped")

    with pytest.raises(KeyError, match="stopped"):
        list(AudioDecoder(together, sections=SHORT, check=check).blocks())
    assert outcome(together, Part(0.0, 40.0)) == alone(data, Part(0.0, 40.0))


def test_samples_that_are_shared_cannot_be_changed() -> None:
    together = DecodedFile(io.BytesIO(file_of("mp3 of 16 kHz")))
    block: Iterator[Any] = AudioDecoder(together).blocks()
    with pytest.raises(ValueError, match="read-only"):
        next(block)[:] = 0
