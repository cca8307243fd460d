"""`RunningBatch`: rows that are taken, advanced, freed and taken again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.interface import Request, WindowBatch, WindowResult
from model.running_batch import RunningBatch
from model.transcriber import WhisperTranscriber
from tests.support.running_batches import decoded_alone, decoded_in_turns
from tests.support.transcribers import load, noise

N_ROWS, MAX_NEW_TOKENS = 4, 20
N_PREFIX = 3  # tokens before the first that is written
STAGGER = 4  # steps


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> WhisperTranscriber:
    return load(tiny_folder, batch_size=N_ROWS, beam_size=2, max_new_tokens=MAX_NEW_TOKENS)


@pytest.fixture(scope="module")
def best_of_three(tiny_folder: Path) -> WhisperTranscriber:
    return load(tiny_folder, batch_size=N_ROWS, best_of=3, max_new_tokens=MAX_NEW_TOKENS)


def sampled(seed: int, seconds: float = 2, **options: Any) -> Request:  # noqa: ANN401
    """A window at a high temperature, of which the model writes as much as it may."""
    return Request(noise(seconds, seed), "en", temperature=1.0, seed=seed, **options)


def new_batch(model: WhisperTranscriber, request: Request | None = None) -> RunningBatch:
    return model.new_batch(model.batch_group(request or sampled(0)))


def staggered(model: WhisperTranscriber) -> tuple[RunningBatch, list[Request]]:
    """A batch with a window in each row, each `STAGGER` steps behind the one before, and the windows."""
    requests = [sampled(seed) for seed in range(N_ROWS)]
    batch = new_batch(model)
    for request in requests:
        batch.add([request])
        assert batch.advance(max_steps=STAGGER) == []
    return batch, requests


def bad_window() -> Request:
    """Samples that are finite, but whose power is not."""
    return Request(np.full(32_000, 1e30, np.float32), "en", temperature=1.0)


def test_it_is_a_window_batch(model: WhisperTranscriber) -> None:
    batch: WindowBatch = new_batch(model)
    assert (batch.n_free, batch.n_refilled, batch.requests) == (N_ROWS, 1, [])
    request = sampled(1)
    batch.add([request])
    assert (batch.n_free, batch.requests) == (N_ROWS - 1, [request])
    ((answered, result),) = batch.advance()
    assert answered is request
    assert isinstance(result, WindowResult)
    assert (batch.n_free, batch.requests) == (N_ROWS, [])
    assert batch.advance() == new_batch(model).advance() == []


def test_it_stops_once_enough_rows_are_free(model: WhisperTranscriber) -> None:
    batch, requests = staggered(model)
    for n_free in range(1, N_ROWS + 1):
        ((answered, _),) = batch.advance(n_free=n_free)
        assert answered is requests[n_free - 1]
        assert batch.n_free == n_free


def test_it_does_not_advance_where_enough_rows_are_free(model: WhisperTranscriber) -> None:
    request = sampled(1)
    batch = new_batch(model)
    batch.add([request])
    for n_free in (0, 1, N_ROWS - 1):
        assert batch.advance(n_free=n_free) == []
    assert batch.requests == [request]


def test_it_stops_after_a_number_of_steps(model: WhisperTranscriber) -> None:
    batch, requests = staggered(model)
    n_steps = N_PREFIX - 1 + MAX_NEW_TOKENS - N_ROWS * STAGGER  # until the first window is at its limit
    assert batch.advance(max_steps=n_steps - 1) == []
    assert [one for one, _ in batch.advance(max_steps=1)] == requests[:1]
    assert batch.advance(max_steps=STAGGER - 1) == []
    assert [one for one, _ in batch.advance(max_steps=1 + STAGGER)] == requests[1:3]
    assert [one for one, _ in batch.advance(max_steps=10 * MAX_NEW_TOKENS)] == requests[3:]


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.0},
        {"temperature": 0.8},
        {"temperature": 0.0, "seconds": 30},
        {"temperature": 0.8, "full_window": True, "word_timestamps": True},
    ],
    ids=["search", "sampling", "full search", "full sampling"],
)
def test_a_window_has_the_same_result_in_any_row_first_or_refilled(
    model: WhisperTranscriber, options: dict[str, Any]
) -> None:
    check_in_any_row(model, options)


@pytest.mark.parametrize("options", [{}, {"seconds": 30, "word_timestamps": True}], ids=["short", "full"])
def test_a_window_with_several_samples_has_the_same_result_in_any_row(
    best_of_three: WhisperTranscriber, options: dict[str, Any]
) -> None:
    check_in_any_row(best_of_three, {"temperature": 0.8, **options})


def check_in_any_row(model: WhisperTranscriber, options: dict[str, Any]) -> None:
    def window(seed: int) -> Request:
        return Request(noise(options.get("seconds", 2), seed), "en", seed=seed, **decoding)

    decoding = {name: value for name, value in options.items() if name != "seconds"}
    request, others = window(1), [window(seed) for seed in range(2, 5)]
    expected = decoded_alone(new_batch(model, request), request)
    for row in range(N_ROWS):
        batch = new_batch(model, request)
        in_order = [*others[:row], request, *others[row:]]
        batch.add(in_order)
        first = {id(one): answer for one, answer in batch.advance()}
        assert first[id(request)] == expected
        assert [one for one in first.values() if one == expected] == [expected]
        # The rows are free again: now it is in another one, with the others at other tokens.
        assert decoded_in_turns(batch, in_order[::-1])[N_ROWS - 1 - row] == expected


def test_prompts_of_any_length_do_not_change_their_neighbours(model: WhisperTranscriber) -> None:
    requests = [sampled(n, prompt="a" * n) for n in (1, 30, 60, 2, 13)]
    assert len({model.batch_group(request) for request in requests}) == 1
    batch = new_batch(model, requests[0])
    alone = [decoded_alone(batch, request) for request in requests]
    assert decoded_in_turns(batch, requests, n_steps=2) == alone
    assert decoded_in_turns(batch, requests[::-1], n_steps=2) == alone[::-1]
    without = decoded_alone(new_batch(model), sampled(30))
    assert alone[1].avg_logprob != without.avg_logprob, "the prompt has no effect"


def test_results_do_not_depend_on_prompts_and_temperatures_beside_several_samples(
    best_of_three: WhisperTranscriber,
) -> None:
    options: list[dict[str, Any]] = [
        {"prompt": "ab"},
        {"temperature": 0.3, "hotwords": "cd"},
        {"task": "translate", "prompt": "efg"},
        {"timestamps": False, "full_window": True, "prompt": "h"},
        {"language": None, "temperature": 1.4, "prompt": "ij"},
    ]
    requests = [replace(sampled(seed), **{"full_window": True, **one}) for seed, one in enumerate(options)]
    batch = new_batch(best_of_three, requests[0])
    alone = [decoded_alone(batch, request) for request in requests]
    assert len({result.avg_logprob for result in alone}) == len(alone)
    assert decoded_in_turns(batch, requests, n_steps=2) == alone
    assert decoded_in_turns(batch, requests[::-1], n_steps=5) == alone[::-1]


def test_a_window_with_several_samples_that_is_not_finite_has_an_exception(
    best_of_three: WhisperTranscriber,
) -> None:
    good, bad = sampled(1), bad_window()
    batch = new_batch(best_of_three)
    expected = decoded_alone(batch, good)
    batch.add([bad, good])
    answers = {id(request): answer for request, answer in batch.advance()}
    assert answers[id(good)] == expected
    assert isinstance(answers[id(bad)], ValueError)


def test_a_row_that_is_not_finite_has_an_exception_and_the_others_their_results(
    model: WhisperTranscriber,
) -> None:
    good = [sampled(1), sampled(2)]
    batch = new_batch(model)
    expected = [decoded_alone(batch, request) for request in good]
    bad = bad_window()
    batch.add([good[0], bad, good[1]])
    answers = {id(request): answer for request, answer in batch.advance()}
    assert [answers[id(request)] for request in good] == expected
    assert isinstance(answers[id(bad)], ValueError)
    assert "probabilities are not finite" in str(answers[id(bad)])
    assert [decoded_alone(batch, request) for request in good] == expected  # also in the row that it left


def test_a_search_that_is_not_finite_has_an_exception(model: WhisperTranscriber) -> None:
    good, bad = Request(noise(2), "en"), Request(bad_window().samples, "en")
    batch = new_batch(model, good)
    expected = decoded_alone(batch, good)
    batch.add([bad, good])
    answers = {id(request): answer for request, answer in batch.advance()}
    assert answers[id(good)] == expected
    assert isinstance(answers[id(bad)], ValueError)


def test_of_requests_that_are_refused_none_is_added(model: WhisperTranscriber) -> None:
    batch = new_batch(model)
    batch.add([sampled(1)])
    with pytest.raises(ValueError, match="4 windows were given for 3 free rows"):
        batch.add([sampled(seed) for seed in range(2, 6)])
    with pytest.raises(ValueError, match="NaN or infinite"):
        batch.add([sampled(2), Request(np.full(10, np.nan, np.float32), "en", temperature=1.0)])
    assert batch.n_free == N_ROWS - 1
    ((_, result),) = batch.advance()
    assert result == decoded_alone(batch, sampled(1))


def test_windows_of_several_lengths_are_encoded_in_one_call(model: WhisperTranscriber) -> None:
    requests = [sampled(1, 4), sampled(2), sampled(3, 4), sampled(4)]
    batch = new_batch(model)
    alone = [decoded_alone(batch, request) for request in requests]
    batch.add(requests)
    answers = {id(request): answer for request, answer in batch.advance()}
    assert [answers[id(request)] for request in requests] == alone


def test_words_of_short_windows_lie_within_their_audio(model: WhisperTranscriber) -> None:
    requests = [sampled(seed, seconds, word_timestamps=True) for seed in range(1, 7) for seconds in (2, 1.3)]
    results = decoded_in_turns(new_batch(model), requests)
    n_words = 0
    for request, result in zip(requests, results, strict=True):
        assert result.is_short
        words = [word for segment in result.segments for word in segment.words]
        times = [time for word in words for time in (word.start, word.stop)]
        assert times == sorted(times)
        assert all(0 <= time <= len(request.samples) for time in times)
        assert "".join(word.text for word in words) == "".join(one.text for one in result.segments)
        n_words += len(words)
    assert n_words >= len(requests)


def test_segments_of_short_windows_do_not_begin_at_their_end(model: WhisperTranscriber) -> None:
    requests = [sampled(seed, 2) for seed in range(20)]
    full = [sampled(seed, 2, full_window=True) for seed in range(20)]

    def starts(windows: list[Request]) -> list[int]:
        results = decoded_in_turns(new_batch(model, windows[0]), windows)
        return [segment.start for result in results for segment in result.segments]

    last = 32_000 - 4_800
    assert max(starts(requests)) <= last
    assert max(starts(full)) > last, "no window would have tried to"


def test_the_seconds_of_compiling_are_counted(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPER_BEAM_CACHE", str(tiny_folder.parent / "empty cache"))
    model = load(tiny_folder, max_new_tokens=4)
    batch = new_batch(model)
    batch.add([sampled(1)])
    added_s = model.compile_s
    assert added_s > 0
    batch.advance()
    advanced_s = model.compile_s
    assert advanced_s > added_s
    decoded_alone(batch, sampled(2))
    assert model.compile_s == advanced_s
