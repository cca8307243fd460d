"""`WhisperTranscriber`: windows that share a batch."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile as sf

from model.checkpoint import Checkpoint
from model.interface import SAMPLE_RATE, Request
from model.row_inputs import hypothesis_seed
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


def test_of_several_samples_the_best_of_as_many_lone_ones_is_kept(tiny_folder: Path) -> None:
    """The lone ones are those of the seeds of the hypotheses, from a model that draws one sample.

    All texts reach the limit of tokens, so that the likeliest has the highest average log probability.
    """
    n_samples, given = 4, {"batch_size": 4, "max_new_tokens": 20}
    one, several = load(tiny_folder, **given), load(tiny_folder, **given, best_of=n_samples)
    options: tuple[dict[str, Any], ...] = (
        {"temperature": 0.4},
        {"temperature": 1.0, "timestamps": False},
        {"temperature": 0.8, "language": None, "full_window": True, "word_timestamps": True},
        {"temperature": 1.0, "prompt": "Dear sir", "task": "translate"},
    )
    kept = []
    for seed, changed in enumerate(options):
        request = Request(noise(5, seed), **{"language": "en", "seed": seed, **changed})
        seeds = (hypothesis_seed(seed, number) for number in range(n_samples))
        alone = one.transcribe([replace(request, seed=own) for own in seeds])
        assert len({result.segments for result in alone}) == n_samples
        kept.append(max(range(n_samples), key=lambda number, alone=alone: alone[number].avg_logprob))
        expected, (found,) = alone[kept[-1]], several.transcribe([request])
        # The programs differ, and round differently; texts and times do not.
        rounded = {name: pytest.approx(getattr(expected, name), rel=1e-4) for name in ROUNDED}
        words = [[word.text for word in segment.words] for segment in expected.segments]
        assert [[word.text for word in segment.words] for segment in found.segments] == words
        without_words = tuple(replace(segment, words=()) for segment in expected.segments)
        assert replace(
            found, segments=tuple(replace(segment, words=()) for segment in found.segments)
        ) == replace(expected, segments=without_words, **rounded)
    assert len(set(kept)) > 1, "the same hypothesis is always the best"


ROUNDED = ("avg_logprob", "no_speech_prob", "language_probs")


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
