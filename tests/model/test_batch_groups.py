"""`WhisperTranscriber.batch_group`: within a group no result depends on its neighbours, to the bit."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.interface import Request
from model.transcriber import WhisperTranscriber
from tests.support.running_batches import decoded_in_turns
from tests.support.transcribers import load, noise

TEXTS: tuple[dict[str, Any], ...] = (
    {},
    {"prompt": "a" * 9, "hotwords": "bc"},
    {"hotwords": "b" * 50},
    {"prompt": "a" * 1000},
)
KINDS: tuple[dict[str, Any], ...] = (
    {},
    {"task": "translate"},
    {"language": "en", "word_timestamps": True},
    {"timestamps": False},
    {"full_window": True},
    {"temperature": 0.8, "seed": 3},
    {"temperature": 1.0, "seed": 19, "language": "en", "word_timestamps": True},
)


@pytest.fixture(scope="module", params=[(1, 1), (2, 1), (1, 3)], ids=["greedy", "beams", "best of 3"])
def transcriber(request: pytest.FixtureRequest, tiny_folder: Path) -> WhisperTranscriber:
    beam_size, n_samples = request.param
    return load(tiny_folder, batch_size=4, max_new_tokens=16, beam_size=beam_size, best_of=n_samples)


def samples_apart(transcriber: WhisperTranscriber) -> bool:
    """Whether windows above temperature 0 are decoded in batches of their own."""
    return max(transcriber._rules.beam_size, transcriber._rules.best_of) > 1


def requests() -> list[Request]:
    """A request of each kind with each text, of different lengths; some are encoded with the same padding."""
    found = []
    for number, (text, kind) in enumerate(itertools.product(TEXTS, KINDS)):
        found.append(Request(noise((1, 1.7, 5)[number % 3], number), **text, **kind))
    return found


def groups_of(transcriber: WhisperTranscriber) -> dict[Hashable, list[Request]]:
    groups: dict[Hashable, list[Request]] = defaultdict(list)
    for request in requests():
        groups[transcriber.batch_group(request)].append(request)
    return groups


def test_results_do_not_depend_on_neighbours_of_the_group(transcriber: WhisperTranscriber) -> None:
    groups = groups_of(transcriber)
    for group in groups.values():
        alone = [transcriber.transcribe([request])[0] for request in group]
        for first in range(0, len(group), 4):
            assert transcriber.transcribe(group[first : first + 4]) == alone[first : first + 4]
        assert transcriber.transcribe(group[::-1]) == alone[::-1]
        in_turns = decoded_in_turns(transcriber.new_batch(transcriber.batch_group(group[0])), group)
        assert in_turns == alone
    n_prompt_slots = 3
    n_kinds = 2 + samples_apart(transcriber)  # the short ones, the full ones, and sampling
    assert len(groups) == n_prompt_slots * n_kinds


def test_what_selects_a_program_selects_the_group(transcriber: WhisperTranscriber) -> None:
    def group(seconds: float = 1, **options: Any) -> Hashable:  # noqa: ANN401
        return transcriber.batch_group(Request(np.zeros(int(seconds * 16_000), np.float32), **options))

    assert group() == group(task="translate", language="en", word_timestamps=True, seed=4)
    # A prompt begins with a token of its own and a space; a byte is a token.
    assert group() != group(prompt="a") == group(hotwords="abc") == group(prompt="a" * 62)
    assert group(prompt="a" * 62) != group(prompt="a" * 63) == group(prompt="a" * 254)
    assert group(prompt="a" * 254) != group(prompt="a" * 255) == group(prompt="a" * 2000)
    assert group(prompt="a" * 2000) == group(hotwords="b" * 500, prompt="a")
    assert (group() == group(temperature=0.5)) is not samples_apart(transcriber)
    # Rows have room for 14 s or 30 s, 2 s of silence included.
    assert group() == group(0.1) == group(12) != group(12.1) == group(30) == group(full_window=True)
    assert group() != group(timestamps=False) == group(30, timestamps=False) == group(30)


def test_the_ids_of_a_text_are_those_of_its_tokens(transcriber: WhisperTranscriber) -> None:
    text = " Grüße, 世界"
    ids = transcriber.token_ids(text)
    assert transcriber.tokenizer.decode(ids) == text
    assert len(ids) == len(text.encode())
    assert transcriber.token_ids("") == []
    assert transcriber.token_ids("<|endoftext|>a") == transcriber.token_ids(
        "a"
    )  # special tokens are not text
