"""Files over a socket: formats that must work, and those that are no audio, damaged or hostile."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pipelines.server.server import Server
from tests.support.bombs import gzipped, zipped
from tests.support.encoding import encoded, ffmpeg_encoded, flipped, siren, video
from tests.support.hostile_files import hostile_files
from tests.support.openai_answers import events_of
from tests.support.raw_http import form, post, transcribe
from tests.support.servers import send as send_answer
from tests.support.servers import serving

S_44, S_48 = siren(3, 44_100), siren(3, 48_000)
AUDIO: dict[str, Callable[[], bytes]] = {
    "flac": lambda: encoded(siren(3), fmt="FLAC"),
    "m4a, index at the end": lambda: ffmpeg_encoded(S_44, "ipod", "aac", 44_100),
    "mp3": lambda: ffmpeg_encoded(S_44, "mp3", "libmp3lame", 44_100),
    "mp4, fragmented": lambda: ffmpeg_encoded(
        S_44, "mp4", "aac", 44_100, {"movflags": "frag_keyframe+empty_moov"}
    ),
    "mpeg": lambda: ffmpeg_encoded(S_44, "mp2", "mp2", 44_100),
    "mov": lambda: ffmpeg_encoded(S_44, "mov", "aac", 44_100),
    "aac": lambda: ffmpeg_encoded(S_44, "adts", "aac", 44_100),
    "oga": lambda: encoded(siren(3), fmt="OGG", subtype="VORBIS"),
    "ogg": lambda: ffmpeg_encoded(S_48, "ogg", "libopus"),
    "wav": lambda: encoded(siren(3)),
    "wav of 24 bits": lambda: encoded(siren(3), subtype="PCM_24"),
    "webm, index at the end": lambda: ffmpeg_encoded(S_48, "webm", "libopus"),
    "webm, live": lambda: ffmpeg_encoded(S_48, "webm", "libopus", options={"live": "1"}),
    "video with audio": lambda: video(3, S_48),
}


@pytest.mark.parametrize("name", AUDIO)
def test_formats(server: Server, name: str) -> None:
    """By content, under names that say nothing, or something else."""
    answer = transcribe(server.port, AUDIO[name](), response_format="verbose_json", language="en")
    assert answer.status == 200
    assert answer.json["duration"] == pytest.approx(3, abs=0.1)
    assert "problem" not in answer.json
    assert answer.json["text"].startswith("en-4 en13")


SILENT_BODIES = {"text": "", "srt": "", "vtt": "WEBVTT\n\n"}


@pytest.mark.parametrize("language", ["", "fr"])
@pytest.mark.parametrize("response_format", ["json", "text", "srt", "vtt", "verbose_json"])
def test_silence_is_an_empty_text(server: Server, response_format: str, language: str) -> None:
    silence = encoded(np.zeros(48_000, np.float32))
    answer = transcribe(server.port, silence, response_format=response_format, language=language)
    assert answer.status == 200
    if response_format in SILENT_BODIES:
        assert answer.text == SILENT_BODIES[response_format]
        return
    assert (answer.json["text"], answer.json["usage"]["seconds"]) == ("", 3)
    if response_format == "verbose_json":
        assert answer.json["segments"] == []
        assert answer.json["language"] == ("french" if language else "unknown")


def test_silence_is_a_stream_of_one_event(server: Server) -> None:
    silence = encoded(np.zeros(48_000, np.float32))
    events = events_of(transcribe(server.port, silence, stream="true").body)
    assert [(event["type"], event["text"]) for event in events] == [("transcript.text.done", "")]


DAMAGED: dict[str, Callable[[], bytes]] = {
    "cut wav": lambda: encoded(siren(3))[:50_000],
    "cut flac": lambda: encoded(siren(3), fmt="FLAC")[:15_000],
    "flipped flac": lambda: flipped(encoded(siren(3), fmt="FLAC")),
}


@pytest.mark.parametrize("response_format", ["json", "verbose_json", "text", "vtt"])
@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_audio_is_answered_with_its_problem(server: Server, name: str, response_format: str) -> None:
    answer = transcribe(server.port, DAMAGED[name](), response_format=response_format)
    assert answer.status == 200
    assert "en-4" in answer.text
    in_json = response_format in ("json", "verbose_json")
    assert "of 3.00 s declared could be decoded" in (
        answer.json["problem"] if in_json else answer.headers["x-problem"]
    )


def test_problem_of_damaged_audio_is_in_the_last_event(server: Server) -> None:
    *_, done = events_of(transcribe(server.port, DAMAGED["cut wav"](), stream="true").body)
    assert "could be decoded" in done["problem"]


NOT_AUDIO: dict[str, Callable[[], bytes]] = {
    "png": lambda: b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0\x90wS\xde" + bytes(100),
    "jpeg": lambda: b"\xff\xd8\xff\xe0\0\x10JFIF\0\1" + bytes(range(256)) * 10,
    "pdf": lambda: b"%PDF-1.7\n" + bytes(range(256)) * 100,
    "text": lambda: b"Hello, world.\n" * 1_000,
    "json": lambda: b'{"detail": "no such file"}',
    "srt": lambda: b"1\n00:00:00,000 --> 00:00:01,000\nHello\n\n",
    "zip bomb": lambda: zipped(50_000_000),
    "gzip bomb": lambda: gzipped(50_000_000),
    "random": lambda: np.random.default_rng(0).bytes(100_000),
    "ones": lambda: b"\xff" * 100_000,
    "one byte": lambda: b"R",
    "byte order mark": lambda: b"\xff\xfe" + "Hello".encode("utf-16-le"),
}


@pytest.mark.parametrize("name", NOT_AUDIO)
def test_what_is_not_audio(server: Server, name: str) -> None:
    error = transcribe(server.port, NOT_AUDIO[name]()).error
    assert (error["type"], error["param"]) == ("invalid_request_error", "file")
    assert error["message"].startswith("Invalid file format. Supported formats: ['flac', ")


HOSTILE = dict(hostile_files())
NO_CODE = "no code"
CODES = {  # None is an answer
    "0 bytes": NO_CODE,
    "WAV, header only": "empty",
    "FLAC, header only": "corrupt",
    "MP4, header only": "corrupt",
    "Ogg, header only": "corrupt",
    "1 sample": None,
    "all NaN": "not_finite",
    "one NaN": None,
    "all infinite": "not_finite",
    "one infinite": None,
    "all absurd": "not_finite",
    "one absurd": None,
    "HTML": NO_CODE,
    "2^36 samples": None,
    "2^31 samples": None,
    "1 Hz": "unsupported",
    "2^32 Hz": "corrupt",
    "1,024 channels": "unsupported",
    "0 channels": "unsupported",
    "chunk of 2^32 bytes": "corrupt",
    "CAF of a million chunks": "corrupt",
    "MP4 of 100,000 boxes": "corrupt",
    "ID3 tag of 256 MB": "corrupt",
    "zeros": NO_CODE,
    "MP4 of 10^8 samples": "corrupt",
    "ALAC, frames of 2^24 samples": None,
    "Matroska of 10^10 s": None,
    "Matroska, gap of 10^9 s": None,
    "MP3 of 2^32 frames": None,
    "CAF, channels in another order": None,
}


@pytest.mark.parametrize("stream", ["false", "true"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(server: Server, name: str, stream: str) -> None:
    """Their errors have a status also where a stream was wanted."""
    answer = transcribe(server.port, HOSTILE[name], stream=stream)
    code = CODES[name]
    if code is None:
        assert answer.status == 200
        return
    assert answer.status == 400
    assert (answer.error["code"] or NO_CODE) == code
    assert answer.error["param"] == "file"


def test_video_without_audio(server: Server) -> None:
    error = transcribe(server.port, video(2)).error
    assert error["code"] == "no_audio_stream"
    assert error["param"] == "file"


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{url}\n#EXT-X-ENDLIST\n",
    "m3u": "#EXTM3U\n#EXTINF:10,a\n{url}\n",
    "concat": "ffconcat version 1.0\nfile {url}\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
    "<BaseURL>{url}</BaseURL></Period></MPD>",
    "pls": "[playlist]\nFile1={url}\nNumberOfEntries=1\n",
    "xspf": '<playlist version="1"><trackList><track><location>{url}</location></track></trackList>'
    "</playlist>",
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_files_that_refer_to_others_are_not_followed(server: Server, name: str) -> None:
    wav = encoded(siren(1))
    with serving(lambda handler: send_answer(handler, 200, wav)) as other:
        for url in (f"{other.url}/talk.wav", "file:///etc/hostname"):
            answer = transcribe(server.port, PLAYLISTS[name].format(url=url).encode())
            assert answer.status == 400
            assert answer.error["param"] == "file"
        assert other.accepted == 0


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "C:\\talk.wav", "http://127.0.0.1/a.wav", "a.pdf", "x" * 300]
)
def test_names_of_files_are_not_paths(server: Server, name: str) -> None:
    """The content counts, whatever the name says, and the name is in no answer."""
    answer = post(server.port, form(encoded(siren(1)), filename=name))
    assert answer.status == 200
    assert name not in answer.text
