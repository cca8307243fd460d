"""`WhisperTranscriber` compared with transformers, with tiny random copies of published checkpoints."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model.checkpoint import find_checkpoint
from model.checkpoint_defaults import defaults_of
from model.interface import TRANSCRIBE, Request, WindowResult
from model.repetition import MIN_REPEATED_TOKENS
from model.tokens import segments_of
from model.transcriber import WhisperTranscriber
from tests.support.layouts import LAYOUTS, MAX_NEW_TOKENS, N_WINDOWS, save_layout, windows
from tests.support.transcribers import load

REFERENCES: dict[str, Any] = json.loads((Path(__file__).parent / "layout_ids.json").read_text())

window_list = cache(windows)


def written_ids(
    model: WhisperTranscriber, requests: list[Request], monkeypatch: pytest.MonkeyPatch
) -> tuple[list[list[int]], list[WindowResult]]:
    """The ids that are written for each request, times included, and the results."""
    ids: dict[int, list[int]] = {}
    result_of = model._results.result

    def recorded(written: Any, row: int, request: Request) -> Any:  # noqa: ANN401
        ids[id(request)] = written.tokens[row, : int(written.n_tokens[row])].tolist()
        return result_of(written, row, request)

    monkeypatch.setattr(model._results, "result", recorded)
    results = model.transcribe(requests)
    for request, result in zip(requests, results, strict=True):
        expected = segments_of(
            ids[id(request)],
            model.tokenizer,
            len(request.samples),
            complete=len(ids[id(request)]) < MAX_NEW_TOKENS and not result.repeated,
        )
        assert [(s.start, s.stop, s.text) for s in result.segments] == [
            (s.start, s.stop, s.text) for s in expected
        ]
    return [ids[id(request)] for request in requests], list(results)


@pytest.mark.parametrize("name", LAYOUTS)
def test_ids_are_those_of_transformers(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = LAYOUTS[name]
    folder = save_layout(layout, tmp_path / "model")
    model = load(folder, batch_size=8, max_new_tokens=MAX_NEW_TOKENS)
    defaults = defaults_of(model.tokenizer.special, find_checkpoint(str(folder)).decoding)
    assert (defaults.language, defaults.task or TRANSCRIBE) == (layout.language, layout.task or TRANSCRIBE)
    samples: list[NDArray[np.float32]] = window_list()
    for kind, timestamps in (("timestamps", True), ("plain", False)):
        requests = [
            Request(
                one,
                defaults.language,
                task=defaults.task or TRANSCRIBE,
                timestamps=timestamps,
                full_window=True,
            )
            for one in samples
        ]
        ids, results = written_ids(model, requests, monkeypatch)
        expected = REFERENCES[name][kind]
        assert len(ids) == len(expected["ids"]) == N_WINDOWS
        if not layout.english_only:
            tokens = [model.tokenizer.special.languages[result.language] for result in results]
            assert tokens == [prefix[1] for prefix in expected["prefix"]]
        # transformers goes on with a text that repeats itself.
        compared = [
            theirs[: len(ours)] if result.repeated else theirs
            for ours, theirs, result in zip(ids, expected["ids"], results, strict=True)
        ]
        assert all(
            len(one) > MIN_REPEATED_TOKENS
            for one, result in zip(ids, results, strict=True)
            if result.repeated
        )
        differing = [n for n in range(N_WINDOWS) if ids[n] != compared[n]]
        assert differing == [], (kind, ids[differing[0]], expected["ids"][differing[0]])


def test_the_references_reach_what_they_are_for() -> None:
    """Texts differ, some end by themselves, and there are times, text and tokens behind the times in them."""
    for name, layout in LAYOUTS.items():
        texts = REFERENCES[name]["timestamps"]["ids"]
        begin, stop = layout.timestamp_begin, layout.timestamp_begin + 1501
        written = {token for text in texts for token in text}
        assert len({tuple(text) for text in texts}) > N_WINDOWS // 2, name
        assert 0 < sum(len(text) < MAX_NEW_TOKENS for text in texts) < N_WINDOWS, name
        assert sum(begin <= token < stop for token in written) > 5, name
        assert sum(token < layout.id_of("endoftext") for token in written) > 20, name
        assert any(token >= stop for token in written) == bool(layout.behind), name
