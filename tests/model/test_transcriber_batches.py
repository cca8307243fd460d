"""`WhisperTranscriber`: windows that share a batch."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import soundfile as sf

from model.checkpoint import Checkpoint
from model.interface import SAMPLE_RATE, Request
from model.transcriber import WhisperTranscriber
from tests.support.transcribers import load, noise, requests_of


def test_a_window_does_not_depend_on_its_neighbours(tiny: WhisperTranscriber) -> None:
    alone = tiny.transcribe(requests_of([noise(5, seed=1)], ["en"]))[0]
    first, second = tiny.transcribe(requests_of([noise(30, seed=2), noise(5, seed=1)], ["en", "en"]))
    assert second.segments == alone.segments
    assert second.avg_logprob == pytest.approx(alone.avg_logprob, abs=1e-4)
    assert first.segments != second.segments


@pytest.mark.parametrize("quantization", ["none", "auto"])
def test_a_window_has_the_same_result_in_every_batch_to_the_bit(quantization: str) -> None:
    talk, rate = sf.read("samples/en/joined.flac", dtype="float32")
    assert rate == SAMPLE_RATE
    model = load(
        "openai/whisper-base", batch_size=8, quantization=quantization
    )  # a real one: rounding shows, and in this one whether a program has 4 rows or 8
    windows = [talk[n * SAMPLE_RATE :][: (9 - n) * SAMPLE_RATE] for n in range(5)]
    requests = requests_of(windows, ["en"] * 5)
    together = model.transcribe(requests)
    for first, n in ((0, 4), (3, 2), (4, 1)):
        assert model.transcribe(requests[first : first + n]) == together[first : first + n]


@pytest.mark.parametrize(
    ("n_windows", "batch_size", "n_data", "size"),
    [(1, 8, 1, 8), (8, 8, 1, 8), (1, 1, 1, 4), (2, 6, 1, 6), (1, 12, 4, 12), (3, 16, 4, 16)],
)
def test_a_batch_always_has_all_its_rows(
    tiny: WhisperTranscriber,
    monkeypatch: pytest.MonkeyPatch,
    n_windows: int,
    batch_size: int,
    n_data: int,
    size: int,
) -> None:
    monkeypatch.setattr(tiny, "_batch_size", batch_size)
    monkeypatch.setattr(tiny, "_n_data", n_data)
    assert len(tiny._pad([noise(1)] * n_windows)) == size


def test_a_batch_may_mix_the_search_and_sampling(tiny_beams: WhisperTranscriber, tiny_folder: Path) -> None:
    cold, hot = Request(noise(5), "en"), Request(noise(5), "en", temperature=0.8, seed=7)
    mixed = tiny_beams.transcribe([cold, hot])
    assert mixed[0].segments == tiny_beams.transcribe([cold])[0].segments
    assert mixed[1].segments == tiny_beams.transcribe([hot])[0].segments
    assert mixed[1].segments == load(tiny_folder, max_new_tokens=20).transcribe([hot])[0].segments
    assert (mixed[0].temperature, mixed[1].temperature) == (0.0, 0.8)


MIXED = {
    "tasks": ({"task": "transcribe"}, {"task": "translate"}),
    "timestamps": ({"timestamps": True}, {"timestamps": False}),
    "words": ({"word_timestamps": True}, {"word_timestamps": False}),
    "prompts": ({"prompt": "Dear sir"}, {"timestamps": False}),
    "everything": (
        {"task": "translate", "timestamps": False, "word_timestamps": True, "prompt": "Dear sir"},
        {"temperature": 0.8, "seed": 3},
        {"timestamps": False, "temperature": 0.8, "seed": 3, "hotwords": "Mainz"},
        {"task": "translate", "word_timestamps": True},
    ),
}


def assert_as_alone(model: WhisperTranscriber, requests: Sequence[Request]) -> None:
    together = model.transcribe(requests)
    for request, result in zip(requests, together, strict=True):
        assert model.transcribe([request]) == [result]  # to the bit
        assert result.timestamped == request.timestamps
        has_words = any(segment.words for segment in result.segments)
        assert has_words == (request.word_timestamps and bool(result.segments))


@pytest.fixture(scope="module")
def tiny_beams(tiny_folder: Path) -> WhisperTranscriber:
    return load(tiny_folder, batch_size=4, beam_size=2, max_new_tokens=20)


@pytest.mark.parametrize("case", MIXED)
def test_requests_that_differ_share_a_batch(tiny_beams: WhisperTranscriber, case: str) -> None:
    requests = [Request(noise(5, seed), "ja", **options) for seed, options in enumerate(MIXED[case])]  # type: ignore[arg-type]
    assert_as_alone(tiny_beams, requests)


def test_a_batch_of_one_kind_runs_one_program(
    tiny: WhisperTranscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny._programs, "search", lambda *_, **__: pytest.fail("it searched"))
    calls = list(tiny._decode_calls([Request(noise(1)), Request(noise(1), task="translate")], 4))
    assert len(calls) == 1


@pytest.mark.weights
def test_requests_that_differ_share_a_batch_of_a_real_model(packaged: Callable[[str], Checkpoint]) -> None:
    packaged("openai/whisper-base")
    talk, _ = sf.read("samples/en/joined.flac", dtype="float32")
    options = MIXED["everything"]  # compiles a program for each kind of request: one case is slow enough
    windows = [talk[n * 5 * SAMPLE_RATE :][: 8 * SAMPLE_RATE] for n in range(len(options))]
    assert_as_alone(
        load("openai/whisper-base", batch_size=4),
        [Request(window, "en", **one) for window, one in zip(windows, options, strict=True)],  # type: ignore[arg-type]
    )
