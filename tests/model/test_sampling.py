"""The rules, as OpenAI documents them, on a decoder whose logits are a script of the test."""

from collections.abc import Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model import beam_search, sampling
from model.attention import KeyValue
from model.batch_decoder import Generated, Method
from model.config import DecodingConfig
from model.decoder import CrossKV, TextCaches
from model.interface import ModelOptions
from model.prefill import DecodeInput
from model.repetition import MIN_COPIES, MIN_REPEATED_TOKENS
from model.rules import DecodingRules, make_rules
from model.tokens import SpecialTokens

# A small vocabulary in Whisper's order: text, end, start, languages, tasks, timestamps.
END, START, EN, FR, TRANSLATE, TRANSCRIBE, LM, PREVIOUS, NO_SPEECH, NO_TIMES, BEGIN = range(10, 21)
SPECIAL = SpecialTokens(
    START, END, TRANSCRIBE, TRANSLATE, PREVIOUS, LM, NO_SPEECH, NO_TIMES, BEGIN, {"en": EN, "fr": FR}
)
N_VOCAB = BEGIN + 1501
RULES = make_rules(SPECIAL, DecodingConfig(), ModelOptions(beam_size=1), multilingual=True)
PLAIN = RULES.with_timestamps(False)


class Script:
    """A decoder whose logits depend only on how many tokens it has seen; it keeps what it was fed."""

    def __init__(self, script: Sequence[dict[int, float]], rules: DecodingRules) -> None:
        logits = np.full((448, N_VOCAB), -10.0, np.float32)
        for i, likes in enumerate(script):
            for token, logit in likes.items():
                logits[rules.prompt_length - 1 + i, token] = logit
        logits[rules.prompt_length - 1 + len(script) :, END] = 50.0
        self.logits = logits

    def init_caches(self, batch: int, length: int) -> TextCaches:
        seen = jnp.full((batch, 1, length, 1), -1.0)
        return (KeyValue(seen, seen),)

    def __call__(
        self,
        tokens: jax.Array,
        position: jax.Array | int,
        caches: TextCaches,
        cross_kv: CrossKV,
        n_padding: jax.Array | None = None,
    ) -> tuple[jax.Array, TextCaches]:
        ((seen, _),) = caches
        fed = tokens.astype(jnp.float32)[:, None, :, None]
        seen = jax.lax.dynamic_update_slice_in_dim(seen, fed, position, axis=2)
        last = jnp.asarray(self.logits)[position + tokens.shape[1] - 1]
        logits = jnp.broadcast_to(last, (tokens.shape[0], N_VOCAB))
        return logits, (KeyValue(seen, seen),)

    def decode_beams(
        self,
        tokens: jax.Array,
        slot: jax.Array,
        positions: jax.Array,
        mask: jax.Array,
        caches: TextCaches,
        cross_kv: CrossKV,
    ) -> tuple[jax.Array, TextCaches]:
        return jnp.broadcast_to(jnp.asarray(self.logits)[positions], (*tokens.shape, N_VOCAB)), caches


def decoder_input(languages: Sequence[int], rules: DecodingRules = RULES, **others: object) -> DecodeInput:
    n = len(languages)
    decode_input = DecodeInput(
        wanted=jnp.ones(n, bool),
        language=jnp.asarray(languages),
        task=jnp.full(n, TRANSCRIBE),
        temperature=jnp.zeros(n),
        uniforms=jnp.zeros((n, rules.max_new_tokens)),
        prompt=jnp.zeros((n, 0), jnp.int32),
        n_prompt=jnp.zeros(n, jnp.int32),
    )
    return decode_input._replace(**others)  # type: ignore[arg-type]


def decode(decoder: Script, decode_input: DecodeInput, rules: DecodingRules) -> Generated:
    """Without a compiler, so that the script may see what it is fed."""
    method: Method = beam_search if rules.beam_size > 1 else sampling
    result, state = method.start(decoder, (), decode_input, rules)  # type: ignore[arg-type]
    state = method.advance(decoder, (), state, rules, max_unfinished=0)  # type: ignore[arg-type]
    return Generated(*map(np.asarray, (*method.finalize(state, rules), *result)))


def run(script: Sequence[dict[int, float]], rules: DecodingRules = RULES, **others: object) -> Generated:
    return decode(Script(script, rules), decoder_input([0], rules, **others), rules)


def tokens_of(script: Sequence[dict[int, float]], rules: DecodingRules = RULES) -> list[int]:
    generated = run(script, rules)
    return np.asarray(generated.tokens)[0, : int(generated.n_tokens[0])].tolist()


def at(seconds: float) -> int:
    return BEGIN + round(seconds * 50)


def test_writes_the_likeliest_tokens_up_to_the_end() -> None:
    assert tokens_of([{at(0): 9}, {1: 9}, {2: 9}, {at(1): 9}]) == [at(0), 1, 2, at(1)]


def test_a_transcript_begins_with_a_timestamp_of_its_first_second() -> None:
    assert tokens_of([{1: 9, at(1.5): 8, at(0.7): 1}, {2: 9}])[0] == at(0.7)


def test_times_come_in_pairs_so_that_text_cannot_follow_an_end() -> None:
    assert tokens_of([{at(0): 9}, {1: 9}, {at(1): 9}, {2: 9, at(1.5): 1}])[3] == at(1.5)


def test_the_text_may_end_after_an_end() -> None:
    assert tokens_of([{at(0): 9}, {1: 9}, {at(1): 9}, {END: 9}]) == [at(0), 1, at(1)]


def test_text_follows_a_start() -> None:
    assert tokens_of([{at(0): 9}, {at(1): 9, 3: 1}])[1] == 3


def test_times_do_not_decrease() -> None:
    script = [{at(0.5): 9}, {1: 9}, {at(0.2): 9, at(2): 8}, {at(1.9): 9, at(2): 8}, {2: 9}]
    assert tokens_of(script)[2:4] == [at(2), at(2)]


def test_no_segment_is_empty() -> None:
    assert tokens_of([{at(0.5): 9}, {1: 9}, {at(0.5): 9, at(0.52): 8}])[2] == at(0.52)


def test_a_start_may_equal_the_end_before_it_but_not_its_own_end() -> None:
    script = [{at(0): 9}, {1: 9}, {at(1): 9}, {at(1): 9}, {2: 9}, {at(1): 9, at(3): 8}]
    assert tokens_of(script) == [at(0), 1, at(1), at(1), 2, at(3)]


def test_many_unlikely_times_outweigh_one_likelier_word() -> None:
    likely_together = {at(1 + i / 50): 4.0 for i in range(20)}
    assert tokens_of([{at(0): 9}, {1: 9}, {2: 5.0, **likely_together}])[2] >= BEGIN
    assert tokens_of([{at(0): 9}, {1: 9}, {2: 9.0, **likely_together}])[2] == 2


def test_suppressed_ids_are_never_written() -> None:
    rules = replace(RULES, suppress_ids=(*RULES.suppress_ids, 1))
    specials = {START: 20.0, NO_SPEECH: 20.0, PREVIOUS: 20.0, TRANSLATE: 20.0, NO_TIMES: 20.0}
    assert tokens_of([{at(0): 9}, {1: 19, 2: 9, **specials}], rules)[1] == 2


def test_blank_and_end_are_not_the_first_token() -> None:
    rules = replace(PLAIN, begin_suppress_ids=(0, END))
    assert tokens_of([{0: 9, END: 8, 3: 7}, {0: 9}], rules) == [3, 0]


def test_without_timestamps_none_is_written() -> None:
    assert tokens_of([{1: 5, at(3): 9}, {2: 5}], PLAIN) == [1, 2]


def test_log_probability_is_the_mean_over_what_was_allowed() -> None:
    generated = run([{1: 5.0, at(3): 40.0}], PLAIN)
    allowed = np.full(BEGIN, -10.0)
    allowed[1] = 5.0
    allowed = np.delete(allowed, [START, TRANSLATE, TRANSCRIBE, LM, PREVIOUS, NO_SPEECH, NO_TIMES])
    first = 5.0 - np.log(np.exp(allowed).sum())
    assert float(generated.sum_logprob[0]) == pytest.approx(first, abs=1e-4)  # the end is certain


def test_once_times_win_probability_is_among_times() -> None:
    times = {at(1): 4.0, at(2): 3.9}
    generated = run([{at(0): 60}, {1: 60}, {2: 4.1, **times}])
    assert float(generated.sum_logprob[0]) == pytest.approx(
        4.0 - np.log(np.exp(4.0) + np.exp(3.9) + 1400 * np.exp(-10)), abs=0.01
    )


def test_a_window_that_never_ends_stops_after_224_tokens() -> None:
    rng = np.random.default_rng(0)
    never_the_same = [{int(token): 20.0} for token in rng.integers(0, 10, 400)]
    generated = run(never_the_same, PLAIN)
    assert int(generated.n_tokens[0]) == 224
    assert not generated.repeated[0]
    fewer = run(never_the_same, replace(PLAIN, max_new_tokens=50))
    assert int(fewer.n_tokens[0]) == 50


@pytest.mark.parametrize("rules", [PLAIN, replace(PLAIN, beam_size=2)])
@pytest.mark.parametrize("period", [1, 3, 10, 40])
def test_a_window_that_repeats_itself_is_stopped_at_once(rules: DecodingRules, period: int) -> None:
    sentence = np.random.default_rng(1).integers(0, 10, period).tolist()
    generated = run([{token: 20.0} for token in (sentence * 400)[:400]], rules)
    assert generated.repeated[0]
    n_repeated = max((MIN_COPIES - 1) * period, MIN_REPEATED_TOKENS)
    assert int(generated.n_tokens[0]) <= period + n_repeated


def test_times_between_copies_do_not_hide_a_repetition() -> None:
    script = [
        like
        for second in range(0, 30, 1)
        for like in ({at(second): 30.0}, {1: 20.0}, {2: 20.0}, {3: 20.0}, {at(second + 1): 30.0})
    ]
    generated = run(script)
    assert generated.repeated[0]
    assert int(generated.n_tokens[0]) < 60


def test_three_times_the_same_sentence_are_no_repetition() -> None:
    sentence = list(range(10))
    generated = run([{token: 20.0} for token in sentence * 3], PLAIN)
    assert not generated.repeated[0]
    assert int(generated.n_tokens[0]) == 30


def test_nothing_is_written_for_padding_of_the_batch() -> None:
    decoder = Script([{1: 20.0}, {2: 20.0}], PLAIN)
    decode_input = decoder_input([0, 0], PLAIN, wanted=jnp.asarray([True, False]))
    generated = decode(decoder, decode_input, PLAIN)
    assert generated.n_tokens.tolist() == [2, 0]


def test_sampling_depends_on_the_uniforms_and_the_temperature() -> None:
    script = [{1: 1.0, 2: 0.0}]
    uniforms = jnp.tile(jnp.linspace(0.01, 0.99, 99)[:, None], (1, PLAIN.max_new_tokens))
    decoder = Script(script, PLAIN)
    for temperature in (0.5, 1.0):
        decode_input = decoder_input(
            [0] * 99, PLAIN, temperature=jnp.full(99, temperature), uniforms=uniforms
        )
        generated = decode(decoder, decode_input, PLAIN)
        share = float((generated.tokens[:, 0] == 1).mean())
        assert share == pytest.approx(1 / (1 + np.exp(-1 / temperature)), abs=0.02)
        first = generated.sum_logprob[generated.tokens[:, 0] == 1][0]
        assert float(first) == pytest.approx(-np.log(1 + np.exp(-1)), abs=1e-3)  # at temperature 1


def test_sampling_keeps_the_rules() -> None:
    rules = replace(PLAIN, suppress_ids=(*PLAIN.suppress_ids, 1))
    uniforms = jnp.tile(jnp.linspace(0.0, 1.0 - 2**-24, 64)[:, None], (1, rules.max_new_tokens))
    decoder = Script([{1: 30.0, 2: 0.0, 3: 0.0, at(3): 40.0}] * 5, rules)
    decode_input = decoder_input([0] * 64, rules, temperature=jnp.ones(64), uniforms=uniforms)
    generated = decode(decoder, decode_input, rules)
    assert set(np.unique(generated.tokens)) <= {*range(10), END, EN, FR} - {1}


def test_a_window_at_temperature_0_is_greedy_beside_one_that_is_sampled() -> None:
    decoder = Script([{1: 1.0, 2: 0.9}] * 4, PLAIN)
    decode_input = decoder_input(
        [0, 0], PLAIN, temperature=jnp.asarray([0.0, 1.0]), uniforms=jnp.full((2, 224), 0.999)
    )
    generated = decode(decoder, decode_input, PLAIN)
    assert generated.tokens[0, :4].tolist() == [1, 1, 1, 1]
    assert 1 not in generated.tokens[1, :4].tolist()
