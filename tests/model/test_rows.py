"""What rows read before their text and what it shows; and that no row depends on another or on the past."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from model import beam_search, best_of, sampling
from model.compiled import compile_wait_s
from model.config import DecodingConfig, WhisperConfig
from model.decoder import CrossKV
from model.interface import ModelOptions, Request
from model.method_programs import MethodPrograms
from model.row_inputs import RowInputs
from model.rows import DETECT_LANGUAGE, RowInput, Written
from model.rules import DecodingRules, make_rules
from tests.model.test_sampling import (
    BEAMS,
    EN,
    END,
    FR,
    N_VOCAB,
    NO_SPEECH,
    NO_TIMES,
    PREVIOUS,
    RULES,
    SPECIAL,
    START,
    TRANSCRIBE,
    TRANSLATE,
    at,
    batch_of,
    table_of,
)
from tests.support.decode_helpers import (
    Ending,
    RowBatch,
    RowResult,
    decode_alone,
    programs_of,
    random_audio,
    random_decoder,
    result_of,
    row_input,
)

N_BEFORE = 8
ENGLISH = replace(RULES, language_ids=())


class DigitTokenizer:
    """Each digit is a token of the text."""

    special = SPECIAL

    def encode_text(self, text: str) -> list[int]:
        return [int(digit) for digit in text if digit.isdigit()]


def asked(rules: DecodingRules, **options: Any) -> RowInput:  # noqa: ANN401  # of any option's type
    """The row of a request, as the model makes it."""
    inputs = RowInputs(DigitTokenizer(), rules, "tiny", full_windows=False)  # type: ignore[arg-type]
    request = Request(np.zeros(16_000, np.float32), **options)
    return inputs.row(request, inputs.kind(request)._replace(n_before=N_BEFORE))


def fed(rows: Sequence[RowInput], rules: DecodingRules, tables: Sequence[Any] = ()) -> list[list[int]]:
    """The tokens in the slots of each row at the end: those of the prompt's slots first; -1 is none."""
    tables = tables or [table_of([{at(0.4): 9, 1: 9}], int(row.n_prompt + row.n_prefix)) for row in rows]
    batch = batch_of(tables, rows, rules)
    batch.advance()
    slots = np.asarray(batch.batch.state.caches[0].key)[:, 0, :, 0]
    return slots.astype(int).tolist()


@pytest.mark.parametrize(
    ("rules", "options", "prefix"),
    [
        (RULES, {"language": "fr"}, [START, FR, TRANSCRIBE]),
        (RULES, {"language": "fr", "timestamps": False}, [START, FR, TRANSCRIBE, NO_TIMES]),
        (RULES, {"language": "en", "task": "translate"}, [START, EN, TRANSLATE]),
        (ENGLISH, {}, [START]),
        (ENGLISH, {"language": "en", "timestamps": False}, [START, NO_TIMES]),
    ],
)
@pytest.mark.parametrize("k", [1, 2])
def test_the_prefix_is_read_before_the_text(
    rules: DecodingRules, options: Mapping[str, Any], prefix: list[int], k: int
) -> None:
    (slots,) = fed([asked(rules, **options)], replace(rules, beam_size=k))
    read = slots[N_BEFORE : N_BEFORE + k * (len(prefix) + 1)]
    first = at(0.4) if options.get("timestamps", True) else 1
    assert [read[i : i + k] for i in range(0, len(read) - k, k)] == [[token] * k for token in prefix]
    assert read[-k] == first  # of the likeliest hypothesis


def test_each_row_has_its_own_task_language_and_times() -> None:
    options: list[dict[str, Any]] = [
        {"language": "fr", "task": "translate"},
        {"language": "en", "timestamps": False},
        {"language": "en"},
    ]
    slots = fed([asked(RULES, **one) for one in options], RULES)
    assert [row[N_BEFORE : N_BEFORE + 4] for row in slots] == [
        [START, FR, TRANSLATE, at(0.4)],
        [START, EN, TRANSCRIBE, NO_TIMES],
        [START, EN, TRANSCRIBE, at(0.4)],
    ]


def test_previous_text_is_in_the_first_slots_and_at_the_first_positions() -> None:
    rows = [asked(RULES, language="fr", prompt="12"), asked(RULES, language="en", hotwords="345")]
    slots = fed(rows, RULES)
    assert slots[0][:3] == [PREVIOUS, 1, 2]
    assert slots[1][:4] == [PREVIOUS, 3, 4, 5]
    for row, language, n_prompt in zip(slots, (FR, EN), (3, 4), strict=True):
        # The script has the first token of the text where prompt and prefix end.
        assert row[N_BEFORE : N_BEFORE + 4] == [START, language, TRANSCRIBE, at(0.4)]
        assert all(token <= 0 for token in row[n_prompt:N_BEFORE])


@pytest.mark.parametrize("rules", [RULES, BEAMS])
def test_language_is_detected_only_where_none_is_given(rules: DecodingRules) -> None:
    table = table_of([])
    table[0, FR] = 3.0  # the logits behind the start of the transcript
    rows = [asked(rules), asked(rules, language="en")]
    batch = batch_of([table, table], rows, rules)
    detected, given = (result_of(batch.advance(), row) for row in (0, 1))
    assert (detected.language, given.language) == (1, 0)
    for result in (detected, given):
        posterior = np.exp(result.language_logprobs)
        np.testing.assert_allclose(posterior, [1 / (1 + np.exp(13)), 1 / (1 + np.exp(-13))], rtol=1e-4)
    slots = np.asarray(batch.batch.state.caches[0].key)[:, 0, :, 0].astype(int)
    place = N_BEFORE + rules.beam_size
    assert slots[:, place].tolist() == [FR, EN]


@pytest.mark.parametrize("rules", [RULES, BEAMS])
@pytest.mark.parametrize("language", [None, "en"])
def test_language_is_detected_without_the_prompt(rules: DecodingRules, language: str | None) -> None:
    row = asked(rules, prompt="12", language=language)
    table = table_of([{at(0.4): 9, 1: 9}], 6)
    table[0, FR] = 3.0  # the logits behind the start of the transcript alone
    table[3, EN] = 8.0  # and behind the prompt
    batch = batch_of([table], [row], rules)
    result = result_of(batch.advance())
    assert result.language == (1 if language is None else 0)
    posterior = np.exp(result.language_logprobs)
    np.testing.assert_allclose(posterior, [1 / (1 + np.exp(13)), 1 / (1 + np.exp(-13))], rtol=1e-4)
    slots = np.asarray(batch.batch.state.caches[0].key)[0, 0, :, 0].astype(int).tolist()
    assert slots[:3] == [PREVIOUS, 1, 2]
    assert slots[N_BEFORE : N_BEFORE + 4 * rules.beam_size : rules.beam_size] == [
        START,
        FR if language is None else EN,
        TRANSCRIBE,
        at(0.4),
    ]


@pytest.mark.parametrize("rules", [RULES, BEAMS, ENGLISH])
@pytest.mark.parametrize("prompt", ["", "123"])
def test_no_speech_is_read_at_the_start_of_the_transcript(rules: DecodingRules, prompt: str) -> None:
    row = asked(rules, prompt=prompt)
    table = table_of([], 5 + int(row.n_prompt))
    table[int(row.n_prompt)] = -30.0
    table[int(row.n_prompt), [NO_SPEECH, 5]] = [1.0, 2.0]
    result = result_of(batch_of([table], [row], rules).advance())
    assert result.no_speech_prob == pytest.approx(1 / (1 + np.e), rel=1e-4)
    assert len(result.language_logprobs) == len(rules.language_ids)


# Windows of each kind on a random network, which end at different times.

METHODS = [sampling, beam_search, best_of]
OPTIONS = ModelOptions(beam_size=3, best_of=3, max_new_tokens=40)
TINY = make_rules(SPECIAL, DecodingConfig(), OPTIONS, multilingual=True)
PROMPT = [PREVIOUS, 1, 2, 3, 4]


@cache
def model(method: ModuleType) -> tuple[MethodPrograms, CrossKV]:
    decoder = random_decoder(WhisperConfig(80, 32, 64, 1, 2, 2, 2, N_VOCAB), seed=3)
    programs = programs_of(method, Ending(decoder, END), TINY)  # type: ignore[arg-type]
    return programs, decoder.cross_kv(random_audio(decoder, 10))


def numbers(seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).random(TINY.max_new_tokens)


def sampled(method: ModuleType, seed: int) -> dict[str, Any]:
    """What a window needs besides for `best_of`, which always samples."""
    if method is not best_of:
        return {}
    uniforms = [numbers(seed + 100 * hypothesis) for hypothesis in range(TINY.best_of)]
    return {"uniforms": np.stack(uniforms), "temperature": 0.6 + seed / 20}


def windows(method: ModuleType) -> list[RowInput]:
    """What ten windows ask for: languages given and detected, tasks, times or none, prompts, temperatures."""
    options: list[dict[str, Any]] = [
        {"language": DETECT_LANGUAGE},
        {"timestamps": False, "prompt": PROMPT},
        {"language": 1, "task": TRANSLATE, "last_times": (30, 45)},
        {"temperature": 0.8, "uniforms": numbers(1), "prompt": PROMPT[:3]},
        {"temperature": 1.0, "uniforms": numbers(2), "timestamps": False, "language": DETECT_LANGUAGE},
        {"language": 1, "n_positions": 60},
        {"timestamps": False, "task": TRANSLATE, "prompt": [PREVIOUS, *range(7)]},
        {"temperature": 1.0, "uniforms": numbers(3), "last_times": (0, 9)},
        {"temperature": 1.0, "uniforms": numbers(4)},
        {"language": DETECT_LANGUAGE, "prompt": PROMPT, "task": TRANSLATE},
    ]
    seeded = enumerate(options)
    return [row_input(TINY, n_before=N_BEFORE, **{**one, **sampled(method, seed)}) for seed, one in seeded]


@cache
def alone(method: ModuleType) -> list[RowResult]:
    """The result of each window in a batch of its own."""
    programs, cross_kv = model(method)
    return [
        decode_alone(programs, cross_kv, window, given, n_before=N_BEFORE)
        for window, given in enumerate(windows(method))
    ]


@pytest.mark.parametrize("method", METHODS)
def test_the_windows_differ(method: ModuleType) -> None:
    """Otherwise the tests below show nothing."""
    results = alone(method)
    assert len({len(result.tokens) for result in results}) > 3
    assert len({result.no_speech_prob for result in results}) == len(results)
    assert {result.language for result in results} == {0, 1}
    assert not any(result.repeated for result in results)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("steps", [1, 3, 7])
def test_rows_that_begin_at_different_times_have_the_results_that_they_have_alone(
    method: ModuleType, steps: int
) -> None:
    """Each of four rows takes the next window as soon as it is free, and one begins every few steps."""
    programs, cross_kv = model(method)
    batch = RowBatch(programs, cross_kv, n_before=N_BEFORE)
    waiting = list(enumerate(windows(method)))
    rows: list[int | None] = [None] * 4
    found: dict[int, RowResult] = {}
    ages = set()
    while waiting or any(window is not None for window in rows):
        if waiting and None in rows:
            row, (window, given) = rows.index(None), waiting.pop(0)
            batch.insert(row, window, given)
            rows[row] = window
        written = batch.advance(max_steps=steps)
        n_run = np.asarray(batch.batch.state.rows.n_run)
        ages.add(len({int(n_run[row]) for row, window in enumerate(rows) if window is not None}))
        for row, window in enumerate(rows):
            if window is not None and not written.is_active[row]:
                found[window] = result_of(written, row)
                rows[row] = None
    assert max(ages) > 2, "the rows are at the same position"
    assert [found[window] for window in range(len(found))] == alone(method)


@pytest.mark.parametrize("method", METHODS)
def test_a_result_does_not_depend_on_the_row(method: ModuleType) -> None:
    programs, cross_kv = model(method)
    batch = RowBatch(programs, cross_kv, n_before=N_BEFORE)
    for row, window in enumerate((9, 2, 1, 4)):
        batch.insert(row, window, windows(method)[window])
    written = batch.advance()
    found = [result_of(written, row) for row in range(4)]
    assert found == [alone(method)[window] for window in (9, 2, 1, 4)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("former", ["finished", "interrupted", "not finite"])
def test_a_row_that_is_used_again_has_no_trace_of_its_former_window(method: ModuleType, former: str) -> None:
    programs, cross_kv = model(method)
    broken = jax.tree.map(lambda x: x.at[0].set(jnp.nan), cross_kv) if former == "not finite" else cross_kv
    batch = RowBatch(programs, broken, n_before=N_BEFORE)
    batch.insert(1, 3, windows(method)[3])  # another row, at the same time
    prompt = [PREVIOUS, *range(7)]
    longest = row_input(TINY, prompt=prompt, n_before=N_BEFORE, timestamps=False, **sampled(method, 6))
    batch.insert(2, 0, longest)
    written = batch.advance(max_steps=16 if former == "interrupted" else 10_000)
    assert np.isfinite(written.sum_logprob[2]) == (former != "not finite")
    assert written.is_active[2] == (former == "interrupted")
    for window in (4, 5):
        batch.insert(2, window, windows(method)[window])
        written = batch.advance()
        assert result_of(written, 2) == alone(method)[window]
    assert result_of(written, 1) == alone(method)[3]


@pytest.mark.parametrize("method", METHODS)
def test_scores_that_are_not_finite_stay_in_their_row(method: ModuleType) -> None:
    programs, cross_kv = model(method)
    broken = jax.tree.map(lambda x: x.at[0].set(jnp.nan), cross_kv)
    batch = RowBatch(programs, broken, n_before=N_BEFORE)
    for row, window in enumerate((1, 0, 7, 8)):
        batch.insert(row, window, windows(method)[window])
    written = batch.advance()
    assert not np.isfinite(written.sum_logprob[1])
    others = [result_of(written, row) for row in (0, 2, 3)]
    assert others == [alone(method)[window] for window in (1, 7, 8)]


@pytest.mark.parametrize("method", METHODS)
def test_a_row_that_has_finished_changes_no_more(method: ModuleType) -> None:
    programs, cross_kv = model(method)
    batch = RowBatch(programs, cross_kv, n_before=N_BEFORE)
    for row, window in enumerate((0, 1, 6, 9)):
        batch.insert(row, window, windows(method)[window])
    first = batch.advance(max_active=3)
    finished = np.flatnonzero(~first.is_active)
    assert 1 <= len(finished) < 4, "all finish at the same time"
    last = batch.advance()
    assert not last.is_active.any()
    for row in finished:
        assert result_of(last, row) == result_of(first, row)
    again = batch.advance(max_steps=5)
    assert [result_of(again, row) for row in range(4)] == [result_of(last, row) for row in range(4)]


@pytest.mark.parametrize("method", METHODS)
def test_rows_without_a_window_are_not_active_and_write_nothing(method: ModuleType) -> None:
    programs, cross_kv = model(method)
    batch = RowBatch(programs, cross_kv, n_before=N_BEFORE)
    assert not batch.advance().is_active.any()
    batch.insert(2, 0, windows(method)[0])
    written: Written = batch.advance(max_steps=6)
    assert written.is_active.tolist() == [False, False, True, False]
    written = batch.advance()
    assert [int(n) > 0 for n in written.n_tokens] == [False, False, True, False]
    assert np.asarray(batch.batch.state.rows.n_run)[[0, 1, 3]].tolist() == [0, 0, 0]


@pytest.mark.parametrize("method", METHODS)
def test_no_program_is_compiled_for_another_row_or_window(method: ModuleType) -> None:
    programs, cross_kv = model(method)
    batch = RowBatch(programs, cross_kv, n_rows=5, n_before=N_BEFORE)
    before = compile_wait_s()
    batch.insert(0, 0, windows(method)[0])
    batch.advance(max_steps=3)
    waited = compile_wait_s()
    assert waited > before
    for row in range(1, 5):
        batch.insert(row, row, windows(method)[row])
        batch.advance(max_active=row, max_steps=row)
    assert compile_wait_s() == waited


@pytest.mark.parametrize("method", METHODS)
def test_room_for_a_prompt_changes_nothing_and_a_prompt_does(method: ModuleType) -> None:
    programs, cross_kv = model(method)

    def decoded(n_before: int, prompt: Sequence[int]) -> RowResult:
        given = row_input(TINY, n_before=n_before, prompt=prompt, **sampled(method, 1))
        return decode_alone(programs, cross_kv, 3, given, n_before=n_before)

    without, with_room = decoded(0, []), decoded(N_BEFORE, [])
    short, long = decoded(N_BEFORE, PROMPT), decoded(64, PROMPT)
    for one, other in ((without, with_room), (short, long)):
        assert one.tokens == other.tokens
        assert one.sum_logprob == pytest.approx(other.sum_logprob, rel=1e-4)
        assert one.no_speech_prob == pytest.approx(other.no_speech_prob, rel=1e-3)
    assert short.no_speech_prob != pytest.approx(without.no_speech_prob, rel=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_positions_behind_the_encoded_audio_change_nothing(method: ModuleType) -> None:
    programs, cross_kv = model(method)
    given = windows(method)[5]
    assert int(given.n_positions) == 60
    for first, is_same in ((60, True), (59, False)):
        changed = jax.tree.map(lambda x, first=first: x.at[:, :, first:].set(3.0), cross_kv)
        found = decode_alone(programs, changed, 5, given, n_before=N_BEFORE)
        assert (found == alone(method)[5]) == is_same
