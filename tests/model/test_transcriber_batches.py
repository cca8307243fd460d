"""`WhisperTranscriber`: windows that share a batch."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import soundfile as sf

from model.checkpoint import Checkpoint
from model.interface import SAMPLE_RATE, Request
from model.transcriber import WhisperTranscriber
from tests.support.running_batches import decoded_alone, decoded_in_turns
from tests.support.transcribers import load, noise, requests_of


def test_a_window_does_not_depend_on_its_neighbours(tiny: WhisperTranscriber) -> None:
    alone = tiny.transcribe(requests_of([noise(5, seed=1)], ["en"]))[0]
    first, second = tiny.transcribe(requests_of([noise(8, seed=2), noise(5, seed=1)], ["en", "en"]))
    assert second == alone  # to the bit
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
    batch = model.new_batch(model.batch_group(requests[0]))
    assert decoded_in_turns(batch, requests[::-1], n_steps=7) == together[::-1]
    assert decoded_in_turns(batch, requests, n_steps=5) == together  # in rows that others have left


@pytest.fixture(scope="module")
def tiny_beams(tiny_folder: Path) -> WhisperTranscriber:
    return load(tiny_folder, batch_size=4, beam_size=2, max_new_tokens=20)


def test_what_differs_in_program_is_divided_over_batches(tiny_beams: WhisperTranscriber) -> None:
    cold, hot = Request(noise(5), "en"), Request(noise(5), "en", temperature=0.8, seed=7)
    mixed = tiny_beams.transcribe([cold, hot])
    assert tiny_beams.batch_group(cold) != tiny_beams.batch_group(hot)
    assert mixed == [tiny_beams.transcribe([one])[0] for one in (cold, hot)]
    assert (mixed[0].temperature, mixed[1].temperature) == (0.0, 0.8)


def test_sampling_is_that_of_a_greedy_model(tiny_beams: WhisperTranscriber, tiny_folder: Path) -> None:
    hot = Request(noise(5), "en", temperature=0.8, seed=7)
    greedy = load(tiny_folder, batch_size=4, beam_size=1, max_new_tokens=20)
    assert greedy.transcribe([hot]) == tiny_beams.transcribe([hot])


MIXED: dict[str, tuple[dict[str, Any], ...]] = {
    "tasks": ({"task": "transcribe"}, {"task": "translate"}, {"language": None}),
    "words": ({"word_timestamps": True}, {"word_timestamps": False}),
    "full": ({"timestamps": True, "full_window": True}, {"timestamps": False}),
    "prompts": ({"prompt": "Dear sir"}, {"prompt": "My dear", "hotwords": "Mainz"}, {"hotwords": "Bonn"}),
    "temperatures": ({"temperature": 0.4, "seed": 1}, {"temperature": 0.8, "seed": 3}),
    "everything": (
        {"task": "translate", "timestamps": False, "word_timestamps": True, "prompt": "Dear sir"},
        {"temperature": 0.8, "seed": 3},
        {"timestamps": False, "temperature": 0.8, "seed": 3, "hotwords": "Mainz"},
        {"task": "translate", "word_timestamps": True},
    ),
}
"""Options of requests by the name of the case; all but the last share a batch."""


def assert_as_alone(model: WhisperTranscriber, requests: Sequence[Request]) -> None:
    together = model.transcribe(requests)
    for request, result in zip(requests, together, strict=True):
        assert model.transcribe([request]) == [result]  # to the bit
        assert result.timestamped == request.timestamps
        has_words = any(segment.words for segment in result.segments)
        assert has_words == (request.word_timestamps and bool(result.segments))


@pytest.mark.parametrize("case", [case for case in MIXED if case != "everything"])
def test_requests_that_differ_share_a_batch(tiny_beams: WhisperTranscriber, case: str) -> None:
    requests = [
        Request(noise(5, seed), **{"language": "en", **options}) for seed, options in enumerate(MIXED[case])
    ]
    assert len({tiny_beams.batch_group(request) for request in requests}) == 1
    assert_as_alone(tiny_beams, requests)


@pytest.mark.parametrize(
    "options",
    [{}, {"temperature": 1.0}, {"prompt": "Dear sir", "word_timestamps": True}, {"full_window": True}],
    ids=["search", "sampling", "prompts", "full"],
)
def test_a_row_does_not_depend_on_when_it_began_or_what_was_in_it(
    tiny_beams: WhisperTranscriber, options: dict[str, Any]
) -> None:
    requests = [Request(noise(5 - seed % 2 / 2, seed), "en", seed=seed, **options) for seed in range(1, 10)]
    batch = tiny_beams.new_batch(tiny_beams.batch_group(requests[0]))
    alone = [decoded_alone(batch, request) for request in requests]
    assert len({result.avg_logprob for result in alone}) == len(alone), "some windows are the same"
    assert decoded_in_turns(batch, requests, n_steps=2) == alone
    assert decoded_in_turns(batch, requests[::-1], n_steps=5) == alone[::-1]
    assert tiny_beams.transcribe(requests) == alone


@pytest.mark.weights
def test_requests_that_differ_share_a_batch_of_a_real_model(packaged: Callable[[str], Checkpoint]) -> None:
    packaged("openai/whisper-base")
    talk, _ = sf.read("samples/en/joined.flac", dtype="float32")
    options = MIXED["everything"]  # compiles a program for each kind of request: one case is slow enough
    windows = [talk[n * 5 * SAMPLE_RATE :][: 8 * SAMPLE_RATE] for n in range(len(options))]
    assert_as_alone(
        load("openai/whisper-base", batch_size=4),
        [Request(window, "en", **one) for window, one in zip(windows, options, strict=True)],
    )
