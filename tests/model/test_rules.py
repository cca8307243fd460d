import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.config import DecodingConfig
from model.interface import ModelOptions
from model.rules import History, allowed_logits, best_token, initial_history, make_rules, update_history
from tests.model.test_sampling import BEGIN, END, N_VOCAB, RULES, SPECIAL


@pytest.mark.parametrize("timestamps", [True, False])
def test_the_best_token_is_the_likeliest_of_the_allowed_ones(timestamps: bool) -> None:
    rules = RULES.with_timestamps(timestamps)
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.standard_normal((64, N_VOCAB)) * 4, jnp.float32)
    later = History(
        jnp.asarray(rng.random(64) < 0.5),
        jnp.asarray(rng.random(64) < 0.5),
        jnp.asarray(rng.integers(BEGIN, BEGIN + 1400, 64)),
    )
    for step, history in ((0, initial_history(64)), (5, later)):
        best, logprob = best_token(logits, history, jnp.asarray(step), rules)
        allowed = jax.nn.log_softmax(allowed_logits(logits, history, jnp.asarray(step), rules))
        assert best.tolist() == allowed.argmax(axis=-1).tolist()
        np.testing.assert_allclose(logprob, allowed.max(axis=-1), atol=1e-4)


def test_the_history_knows_the_last_two_tokens_and_the_last_time() -> None:
    history = initial_history(1)
    for step, token in enumerate((BEGIN, 3, BEGIN + 50)):
        history = update_history(history, jnp.asarray([token]), jnp.asarray(step), RULES)
    assert [x.tolist() for x in history] == [[True], [False], [BEGIN + 50]]


def rules_of(*suppress_tokens: int) -> tuple[int, ...]:
    checkpoint = DecodingConfig(suppress_ids=(1, 2))
    options = ModelOptions(suppress_tokens=suppress_tokens)
    return make_rules(SPECIAL, checkpoint, options, multilingual=True).suppress_ids


def test_suppressed_tokens_are_the_users_and_the_checkpoints_where_asked_for() -> None:
    special = set(rules_of())
    assert set(rules_of(-1)) == special | {1, 2}
    assert set(rules_of(5)) == special | {5}
    assert set(rules_of(-1, 5)) == special | {1, 2, 5}
    assert END not in special


@pytest.mark.parametrize("token", [-2, BEGIN])
def test_an_id_that_cannot_be_suppressed_is_named(token: int) -> None:
    with pytest.raises(ValueError, match=f"no token has the id {token}"):
        rules_of(token)
