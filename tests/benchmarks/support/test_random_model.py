import jax.numpy as jnp
import numpy as np

from benchmarks.accelerator import decoded, noise
from benchmarks.support.random_model import (
    expected_tokens,
    fixed_length_rules,
    random_checkpoint,
    special_tokens,
)
from model.precision import Precision
from model.programs import Programs
from model.sharding import make_mesh


def test_every_window_gets_exactly_the_requested_tokens() -> None:
    rules = fixed_length_rules(8)
    programs = Programs(random_checkpoint("tiny"), rules, Precision(np.dtype(jnp.bfloat16)), make_mesh())
    written = decoded(programs, programs.cross_kv(noise(2)), rules)
    np.testing.assert_array_equal(written.tokens, [expected_tokens(rules)] * 2)
    assert list(written.n_tokens) == [8, 8]


def test_special_tokens_end_with_the_vocabulary() -> None:
    special = special_tokens()
    assert special.timestamp_begin + 1500 == 51_865
    assert special.languages["yue"] == 50_358
