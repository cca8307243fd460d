"""One file by the pipeline, from Python and over HTTP: the same text, times and scores, to the bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from model.checkpoint import PACKAGED_MODELS
from model.languages import LANGUAGES
from pipelines.backend import EMBEDDED_WHISPER, Backend
from pipelines.inference import Inference
from pipelines.options import TranscribeOptions
from pipelines.run import transcribe as run_pipeline
from pipelines.server.formats import words_of
from pipelines.server.server import Server
from tests.support.openai_answers import events_of, parse_srt, parse_vtt
from tests.support.raw_http import Answer, post
from tests.support.raw_http import form as form_of
from tests.support.same_rows import write_tones
from tests.support.server_backends import WORDS, talk
from tests.support.tone_backend import rows, write_talk

N_CLIENTS = 16
TINY = "openai/whisper-tiny.en"
OPTIONS: Mapping[str, Any] = {"model": TINY, "beam_size": 2}
REAL_SPEECH, SAMPLES = Path("../shared/data/english"), Path(__file__).parents[3] / "samples" / "en"
SCORES = ("avg_logprob", "no_speech_prob", "compression_ratio", "temperature")
VERBOSE = [
    ("response_format", "verbose_json"),
    ("timestamp_granularities[]", "word"),
    ("timestamp_granularities[]", "segment"),
]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Ways:
    """The rows of the pipeline by path, and the other two ways to transcribe with the same options."""

    rows: Mapping[Path, Row]
    inference: Inference
    server: Server

    def upload(self, path: Path, *fields: tuple[str, str]) -> Answer:
        answer = post(self.server.port, form_of(path.read_bytes(), fields, "upload"))
        assert answer.status == 200, answer.text
        return answer

    def check(self, path: Path) -> None:
        """The answer of the server has what the row has."""
        check_answer(self.upload(path, *VERBOSE).json, self.rows[path])


def check_answer(answer: Row, row: Row) -> None:
    assert answer["text"] == row["text"]
    assert answer["duration"] == row["duration_s"]
    assert answer["language"] == (LANGUAGES[row["language"]] if row["language"] else "unknown")
    assert answer.get("problem") == row["problem"]
    assert len(answer["segments"]) == len(row["segments"])
    for given, expected in zip(answer["segments"], row["segments"], strict=True):
        names = ("id", "start", "end", "text", *SCORES)
        assert {name: given[name] for name in names} == {name: expected[name] for name in names}
    assert answer["words"] == [word for segment in row["segments"] for word in words_of(segment)]


def check_all(ways: Ways, paths: Sequence[Path]) -> None:
    """Each path alone, from Python and over HTTP, then all of them at once."""
    for path in paths:
        result = ways.inference(path, word_timestamps=True)
        assert result["row"] == ways.rows[path]
        assert result["text"] == ways.rows[path]["text"]
        ways.check(path)
    with ThreadPoolExecutor(N_CLIENTS) as clients:
        list(clients.map(ways.check, [paths[n % len(paths)] for n in range(N_CLIENTS)]))
    with ThreadPoolExecutor(N_CLIENTS) as threads:
        results = list(threads.map(lambda path: ways.inference(path, word_timestamps=True), paths))
    assert [result["row"] for result in results] == [ways.rows[path] for path in paths]


def rows_of(paths: Sequence[Path], out: Path, backend: Backend, **options: Any) -> dict[Path, Row]:  # noqa: ANN401
    run_pipeline(
        TranscribeOptions(input=tuple(map(str, paths)), output=str(out), word_timestamps=True, **options),
        backend=backend,
    )
    by_uri = {row["uri"]: row for row in rows(out)}
    return {path: by_uri[str(path)] for path in paths}


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("tones")
    readable = [path for path in write_tones(folder) if path.stem not in ("broken", "poisoned")]
    return [*readable, *(write_talk(folder / f"{n}.wav", 1 + 7 * n) for n in range(10))]


@pytest.mark.parametrize(
    "options",
    [{}, {"language": "fr", "windows": "grid"}, {"initial_prompt": "Ada", "redecode_boundaries": 0.9}],
    ids=str,
)
def test_tones(tmp_path: Path, tones: list[Path], options: dict[str, Any]) -> None:
    options = {"model": "m", "batch_size": 3, **options}
    expected = rows_of(tones, tmp_path / "out", WORDS, **options)
    with (
        Inference(backend=WORDS, **options) as inference,
        Server(backend=WORDS, port=0, **options) as server,
    ):
        check_all(Ways(expected, inference, server), tones)


def test_each_format_has_the_text_of_the_row(tmp_path: Path, tones: list[Path]) -> None:
    expected = rows_of(tones[:3], tmp_path / "out", WORDS, model="m")
    with Inference("m", backend=WORDS) as inference, Server(backend=WORDS, model="m", port=0) as server:
        ways = Ways(expected, inference, server)
        for path, row in expected.items():
            text = row["text"]
            assert ways.upload(path).json["text"] == text
            assert ways.upload(path, ("response_format", "text")).text == text
            segments = ways.upload(path, ("response_format", "verbose_json")).json["segments"]
            times = round(1000 * segments[0]["start"]), round(1000 * segments[-1]["end"])
            for name, parse in (("srt", parse_srt), ("vtt", parse_vtt)):
                cues = parse(ways.upload(path, ("response_format", name)).text)
                assert " ".join(cue.text for cue in cues).split() == text.split()
                assert (cues[0].start, cues[-1].end) == times
            *_, done = events_of(ways.upload(path, ("stream", "true"), *VERBOSE).body)
            check_answer({**done, "language": LANGUAGES[row["language"]], "duration": row["duration_s"]}, row)


def test_fields_are_the_options_of_the_pipeline(tmp_path: Path) -> None:
    """A request's fields are decoded as a run with these options."""
    path = tmp_path / "talk.wav"
    path.write_bytes(talk(40))
    cases: list[tuple[list[tuple[str, str]], dict[str, Any]]] = [
        ([("language", "fr")], {"language": "fr"}),
        ([("languages[]", "fr"), ("languages[]", "de")], {"languages": ("fr", "de")}),
        ([("prompt", "Ada"), ("keywords[]", "Byron")], {"initial_prompt": "Ada", "hotwords": "Byron"}),
        ([("temperature", "0.6")], {"temperature": (0.6,)}),
    ]
    with Inference("m", backend=WORDS) as inference, Server(backend=WORDS, model="m", port=0) as server:
        for number, (fields, options) in enumerate(cases):
            expected = rows_of([path], tmp_path / str(number), WORDS, model="m", **options)
            ways = Ways(expected, inference, server)
            check_answer(ways.upload(path, *VERBOSE, *fields).json, expected[path])
            assert inference(path, word_timestamps=True, **options)["row"] == expected[path]


@pytest.mark.weights
def test_real_speech(tmp_path: Path) -> None:
    if any(file.locate() is None for file in PACKAGED_MODELS[TINY].files):
        pytest.skip(f"the package with the weights of {TINY} is not installed")
    folder = REAL_SPEECH if REAL_SPEECH.exists() else SAMPLES
    paths = [path for path in folder.resolve().iterdir() if path.suffix in {".wav", ".mp3", ".flac"}]
    if not paths:
        pytest.skip(f"{folder} has no recordings")
    chosen = sorted(paths, key=lambda path: path.stat().st_size)[:N_CLIENTS]
    expected = rows_of(chosen, tmp_path / "out", EMBEDDED_WHISPER, **OPTIONS)
    assert all(row["text"] for row in expected.values())
    with Server(port=0, **OPTIONS) as server:
        inference = server.wait_until_ready()
        ways = Ways(expected, inference, server)
        for path in chosen[:3]:
            assert inference(path, word_timestamps=True)["row"] == expected[path]
            ways.check(path)
        with ThreadPoolExecutor(N_CLIENTS) as clients:
            list(clients.map(ways.check, chosen))
