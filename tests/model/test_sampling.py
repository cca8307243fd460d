"""The rules, against OpenAI's own words for them, on a decoder that says what the test tells it to."""

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
from model.network import AudioMemory, TextCaches
from model.prefill import DETECT_LANGUAGE, Asked
from model.repetition import COPIES, LEAST_REPEATED
from model.rules import MAX_NEW_TOKENS, DecodingRules, make_rules
from model.tokens import SpecialTokens

# A small vocabulary in Whisper's order: text, end, start, languages, tasks, timestamps.
END, START, EN, FR, TRANSLATE, TRANSCRIBE, LM, PREVIOUS, NO_SPEECH, NO_TIMES, BEGIN = range(10, 21)
SPECIAL = SpecialTokens(
    START, END, TRANSCRIBE, TRANSLATE, PREVIOUS, LM, NO_SPEECH, NO_TIMES, BEGIN, {"en": EN, "fr": FR}
)
N_VOCAB = BEGIN + 1501
RULES = make_rules(SPECIAL, DecodingConfig(), multilingual=True, task="transcribe", timestamps=True)
PLAIN = replace(RULES, timestamps=False)


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
        memory: AudioMemory,
        n_padding: jax.Array | None = None,
    ) -> tuple[jax.Array, TextCaches]:
        ((seen, _),) = caches
        fed = tokens.astype(jnp.float32)[:, None, :, None]
        seen = jax.lax.dynamic_update_slice_in_dim(seen, fed, position, axis=2)
        last = jnp.asarray(self.logits)[position + tokens.shape[1] - 1]
        logits = jnp.broadcast_to(last, (tokens.shape[0], N_VOCAB))
        return logits, (KeyValue(seen, seen),)

    def branch(
        self,
        tokens: jax.Array,
        slot: jax.Array,
        places: jax.Array,
        mask: jax.Array,
        caches: TextCaches,
        memory: AudioMemory,
    ) -> tuple[jax.Array, TextCaches]:
        return jnp.broadcast_to(jnp.asarray(self.logits)[places], (*tokens.shape, N_VOCAB)), caches


def ask(languages: Sequence[int], rules: DecodingRules = RULES, **others: object) -> Asked:
    n = len(languages)
    asked = Asked(
        wanted=jnp.ones(n, bool),
        language=jnp.asarray(languages),
        temperature=jnp.zeros(n),
        uniforms=jnp.zeros((n, rules.max_new_tokens)),
        prompt=jnp.zeros((n, 0), jnp.int32),
        n_prompt=jnp.zeros(n, jnp.int32),
    )
    return asked._replace(**others)  # type: ignore[arg-type]


def decode(decoder: Script, asked: Asked, rules: DecodingRules) -> Generated:
    """Without a compiler, so that the script may see what it is fed."""
    method: Method = beam_search if rules.beam_size > 1 else sampling
    opening, state = method.start(decoder, (), asked, rules)  # type: ignore[arg-type]
    state = method.advance(decoder, (), state, rules, n_left=0)  # type: ignore[arg-type]
    return Generated(*map(np.asarray, (*method.written(state, rules), *opening)))


def run(script: Sequence[dict[int, float]], rules: DecodingRules = RULES, **others: object) -> Generated:
    return decode(Script(script, rules), ask([0], rules, **others), rules)


def written(script: Sequence[dict[int, float]], rules: DecodingRules = RULES) -> list[int]:
    generated = run(script, rules)
    return np.asarray(generated.tokens)[0, : int(generated.n_tokens[0])].tolist()


def at(seconds: float) -> int:
    return BEGIN + round(seconds * 50)


def test_writes_the_likeliest_tokens_up_to_the_end() -> None:
    assert written([{at(0): 9}, {1: 9}, {2: 9}, {at(1): 9}]) == [at(0), 1, 2, at(1)]


def test_a_transcript_begins_with_a_timestamp_of_its_first_second() -> None:
    assert written([{1: 9, at(1.5): 8, at(0.7): 1}, {2: 9}])[0] == at(0.7)


def test_times_come_in_pairs_so_text_cannot_follow_an_end() -> None:
    assert written([{at(0): 9}, {1: 9}, {at(1): 9}, {2: 9, at(1.5): 1}])[3] == at(1.5)


def test_the_text_may_end_after_an_end() -> None:
    assert written([{at(0): 9}, {1: 9}, {at(1): 9}, {END: 9}]) == [at(0), 1, at(1)]


def test_after_a_start_comes_text() -> None:
    assert written([{at(0): 9}, {at(1): 9, 3: 1}])[1] == 3


def test_times_do_not_decrease() -> None:
    script = [{at(0.5): 9}, {1: 9}, {at(0.2): 9, at(2): 8}, {at(1.9): 9, at(2): 8}, {2: 9}]
    assert written(script)[2:4] == [at(2), at(2)]


def test_a_segment_has_some_length() -> None:
    assert written([{at(0.5): 9}, {1: 9}, {at(0.5): 9, at(0.52): 8}])[2] == at(0.52)


def test_a_start_may_equal_the_end_before_it_but_not_its_own_end() -> None:
    script = [{at(0): 9}, {1: 9}, {at(1): 9}, {at(1): 9}, {2: 9}, {at(1): 9, at(3): 8}]
    assert written(script) == [at(0), 1, at(1), at(1), 2, at(3)]


def test_many_unlikely_times_outweigh_one_likelier_word() -> None:
    likely_together = {at(1 + i / 50): 4.0 for i in range(20)}
    assert written([{at(0): 9}, {1: 9}, {2: 5.0, **likely_together}])[2] >= BEGIN
    assert written([{at(0): 9}, {1: 9}, {2: 9.0, **likely_together}])[2] == 2


def test_suppressed_ids_are_never_written() -> None:
    rules = make_rules(
        SPECIAL, DecodingConfig(suppress_ids=(1,)), multilingual=True, task="transcribe", timestamps=True
    )
    specials = {START: 20.0, NO_SPEECH: 20.0, PREVIOUS: 20.0, TRANSLATE: 20.0, NO_TIMES: 20.0}
    assert written([{at(0): 9}, {1: 19, 2: 9, **specials}], rules)[1] == 2


def test_blank_and_end_do_not_come_first() -> None:
    rules = make_rules(
        SPECIAL,
        DecodingConfig(begin_suppress_ids=(0, END)),
        multilingual=True,
        task="transcribe",
        timestamps=False,
    )
    assert written([{0: 9, END: 8, 3: 7}, {0: 9}], rules) == [3, 0]


def test_without_timestamps_none_is_written() -> None:
    assert written([{1: 5, at(3): 9}, {2: 5}], PLAIN) == [1, 2]


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
    assert int(generated.n_tokens[0]) == MAX_NEW_TOKENS == 224
    assert not generated.looped[0]
    fewer = run(never_the_same, replace(PLAIN, max_new_tokens=50))
    assert int(fewer.n_tokens[0]) == 50


@pytest.mark.parametrize("rules", [PLAIN, replace(PLAIN, beam_size=2)])
@pytest.mark.parametrize("period", [1, 3, 10, 40])
def test_a_window_that_goes_round_in_circles_is_stopped_at_once(rules: DecodingRules, period: int) -> None:
    sentence = np.random.default_rng(1).integers(0, 10, period).tolist()
    generated = run([{token: 20.0} for token in (sentence * 400)[:400]], rules)
    assert generated.looped[0]
    n_repeated = max((COPIES - 1) * period, LEAST_REPEATED)
    assert int(generated.n_tokens[0]) <= period + n_repeated


def test_times_between_copies_do_not_hide_a_loop() -> None:
    script = [
        like
        for second in range(0, 30, 1)
        for like in ({at(second): 30.0}, {1: 20.0}, {2: 20.0}, {3: 20.0}, {at(second + 1): 30.0})
    ]
    generated = run(script)
    assert generated.looped[0]
    assert int(generated.n_tokens[0]) < 60


def test_three_times_the_same_sentence_are_no_loop() -> None:
    sentence = list(range(10))
    generated = run([{token: 20.0} for token in sentence * 3], PLAIN)
    assert not generated.looped[0]
    assert int(generated.n_tokens[0]) == 30


def test_what_pads_a_batch_writes_nothing() -> None:
    decoder = Script([{1: 20.0}, {2: 20.0}], PLAIN)
    asked = ask([0, 0], PLAIN, wanted=jnp.asarray([True, False]))
    generated = decode(decoder, asked, PLAIN)
    assert generated.n_tokens.tolist() == [2, 0]


def test_sampling_goes_by_the_number_from_outside_and_the_temperature() -> None:
    script = [{1: 1.0, 2: 0.0}]
    uniforms = jnp.tile(jnp.linspace(0.01, 0.99, 99)[:, None], (1, PLAIN.max_new_tokens))
    decoder = Script(script, PLAIN)
    for temperature in (0.5, 1.0):
        asked = ask([0] * 99, PLAIN, temperature=jnp.full(99, temperature), uniforms=uniforms)
        generated = decode(decoder, asked, PLAIN)
        share = float((generated.tokens[:, 0] == 1).mean())
        assert share == pytest.approx(1 / (1 + np.exp(-1 / temperature)), abs=0.02)
        first = generated.sum_logprob[generated.tokens[:, 0] == 1][0]
        assert float(first) == pytest.approx(-np.log(1 + np.exp(-1)), abs=1e-3)  # at temperature 1


def test_sampling_keeps_the_rules() -> None:
    rules = make_rules(
        SPECIAL, DecodingConfig(suppress_ids=(1,)), multilingual=True, task="transcribe", timestamps=False
    )
    uniforms = jnp.tile(jnp.linspace(0.0, 1.0 - 2**-24, 64)[:, None], (1, rules.max_new_tokens))
    decoder = Script([{1: 30.0, 2: 0.0, 3: 0.0, at(3): 40.0}] * 5, rules)
    asked = ask([0] * 64, rules, temperature=jnp.ones(64), uniforms=uniforms)
    generated = decode(decoder, asked, rules)
    assert set(np.unique(generated.tokens)) <= {*range(10), END, EN, FR} - {1}


def test_a_window_at_temperature_0_is_greedy_beside_one_that_is_sampled() -> None:
    decoder = Script([{1: 1.0, 2: 0.9}] * 4, PLAIN)
    asked = ask([0, 0], PLAIN, temperature=jnp.asarray([0.0, 1.0]), uniforms=jnp.full((2, 224), 0.999))
    generated = decode(decoder, asked, PLAIN)
    assert generated.tokens[0, :4].tolist() == [1, 1, 1, 1]
    assert 1 not in generated.tokens[1, :4].tolist()


@pytest.mark.parametrize(
    ("rules", "prompt"),
    [
        (RULES, [START, FR, TRANSCRIBE]),
        (PLAIN, [START, FR, TRANSCRIBE, NO_TIMES]),
        (replace(RULES, task_id=TRANSLATE), [START, FR, TRANSLATE]),
        (replace(RULES, task_id=None, language_ids=()), [START]),
        (replace(PLAIN, task_id=None, language_ids=()), [START, NO_TIMES]),
    ],
)
def test_the_prompt(rules: DecodingRules, prompt: list[int]) -> None:
    fed: list[list[int]] = []

    class Listening(Script):
        def __call__(
            self,
            tokens: jax.Array,
            position: jax.Array | int,
            caches: TextCaches,
            memory: AudioMemory,
            n_padding: jax.Array | None = None,
        ) -> tuple[jax.Array, TextCaches]:
            if not isinstance(tokens, jax.core.Tracer):
                fed.append(np.asarray(tokens)[0].tolist())
            return super().__call__(tokens, position, caches, memory, n_padding)

    decoder = Listening([{at(0): 9, 1: 9}], rules)
    decode(decoder, ask([1], rules), rules)
    assert [token for tokens in fed for token in tokens] == prompt


def test_language_is_detected_only_when_it_is_not_given() -> None:
    decoder = Script([], RULES)
    decoder.logits[0, FR] = 3.0
    asked = ask([DETECT_LANGUAGE, 0])
    generated = decode(decoder, asked, RULES)
    assert generated.language.tolist() == [1, 0]
    posterior = np.exp(np.asarray(generated.language_logprobs[0]))
    np.testing.assert_allclose(posterior, [1 / (1 + np.exp(13)), 1 / (1 + np.exp(-13))], rtol=1e-4)


def test_no_speech_is_read_at_the_start_of_the_transcript() -> None:
    decoder = Script([], RULES)
    decoder.logits[0] = -30.0
    decoder.logits[0, [NO_SPEECH, 5]] = [1.0, 2.0]
    generated = decode(decoder, ask([0]), RULES)
    assert float(generated.no_speech_prob[0]) == pytest.approx(1 / (1 + np.e), rel=1e-4)
