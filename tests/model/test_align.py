import functools
from collections.abc import Callable
from pathlib import Path

import ctranslate2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.typing import NDArray

from benchmarks.rivals.ctranslate2_folder import ctranslate2_folder
from benchmarks.support.clips import read_clip
from model.align import Alignment, TokenBatch, align, pack
from model.checkpoint import Checkpoint
from model.config import WhisperConfig
from model.dtw import first_columns
from model.interface import WINDOW_SAMPLES, ModelOptions
from model.method_programs import Batch
from model.network import Whisper
from model.precision import Precision
from model.programs import Programs
from model.rules import make_rules
from model.sharding import make_mesh
from model.tokens import WhisperTokenizer
from tests.support.decode_helpers import FLOAT32, random_whisper

N_PROMPT, END = 3, 280  # ids from 280 on are special
CONFIG = WhisperConfig(80, 32, 64, 1, 2, 3, 4, 300)
HEADS = ((0, 1), (2, 3), (2, 0))
PROMPT = [281, 282, 283]
SPEECH = Path("../shared/data/english/jfk.flac")


@pytest.fixture(scope="module")
def network() -> Whisper:
    """A network with large random weights, so that attention is far from uniform."""
    network = random_whisper(CONFIG)
    state = nnx.state(network)
    nnx.update(network, jax.tree.map(lambda x: x * 2 if x.ndim == 2 else x, state))
    return network


def encoded(batch: int, seed: int = 0) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), (batch, 1500, 32)) * 2


def packed(text: list[int], n_samples: int, n_encoded: int = WINDOW_SAMPLES) -> TokenBatch:
    return pack(PROMPT, text, END, n_samples=n_samples, n_encoded=n_encoded)


def stacked(*batches: TokenBatch) -> TokenBatch:
    """Texts of the same padded length as one batch."""
    return TokenBatch(*(np.concatenate(arrays) for arrays in zip(*batches, strict=True)))


@functools.cache
def program(network: Whisper) -> Callable[[jax.Array, TokenBatch], Alignment]:
    @jax.jit
    def compiled(audio: jax.Array, batch: TokenBatch) -> Alignment:
        cross_kv = network.decoder.cross_kv(audio)
        return align(network.decoder, cross_kv, batch, heads=HEADS, n_prompt=N_PROMPT, end_of_text=END)

    return compiled


def run(network: Whisper, audio: jax.Array, batch: TokenBatch) -> Alignment:
    result: Alignment = jax.device_get(program(network)(audio, batch))
    return result


def softmax(x: NDArray[np.float64]) -> NDArray[np.float64]:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def reference(network: Whisper, audio: jax.Array, ids: list[int], n_positions: int) -> Alignment:
    """Reference in numpy: one window without padding, with explicit attention maps and `np.median`."""
    decoder = network.decoder

    def split(x: jax.Array) -> NDArray[np.float64]:
        return np.asarray(x, np.float64).reshape(len(x), 4, 8).swapaxes(0, 1)

    x = decoder.embedding(jnp.asarray(ids)) + decoder.positions[...][: len(ids)]
    maps = {}
    for index, layer in enumerate(decoder.layers):
        for attention, norm, cross_input in (
            (layer.self_attention, layer.self_attention_norm, None),
            (layer.cross_attention, layer.cross_attention_norm, audio),
        ):
            y = norm(x)
            source = y if cross_input is None else cross_input
            query, key, value = (
                split(f(z))
                for f, z in ((attention.query, y), (attention.key, source), (attention.value, source))
            )
            scores = query @ key.swapaxes(1, 2) / np.sqrt(8)
            if cross_input is None:
                scores[:, np.triu(np.ones(scores.shape[1:], bool), 1)] = -np.inf
            else:
                maps[index] = softmax(scores[:, :, :n_positions])
            heads = softmax(scores) @ value
            x = x + attention.out(jnp.asarray(heads.swapaxes(0, 1).reshape(len(ids), 32), jnp.float32))
        x = x + layer.mlp(layer.mlp_norm(x))
    weights = np.stack([maps[layer][head] for layer, head in HEADS])
    weights = (weights - weights.mean(1, keepdims=True)) / weights.std(1, keepdims=True)
    if n_positions > 3:
        padded = np.pad(weights, [(0, 0), (0, 0), (3, 3)], mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, 7, axis=-1)
        weights = np.median(windows, axis=-1)
    logits = np.asarray(decoder.norm(x) @ decoder.embedding.embedding[...].T, np.float64)
    probs = softmax(logits[:, :END])
    text = ids[N_PROMPT:-1]
    token_probs = probs[np.arange(N_PROMPT - 1, len(ids) - 2), text]
    return Alignment(weights.mean(0)[N_PROMPT - 1 : -1].astype(np.float32), token_probs.astype(np.float32))


@pytest.mark.parametrize("n_positions", [1500, 700, 8, 4, 3, 2])
def test_alignment_matches_a_reference_in_numpy(network: Whisper, n_positions: int) -> None:
    text = [5, 9, 200, 17, 279, 5, 5]
    audio = encoded(1)
    result = run(network, audio, packed(text, n_positions * 320))
    expected = reference(network, audio[0], [*PROMPT, *text, END], n_positions)
    assert result.weights.shape == (1, 61, 1500)
    assert np.abs(expected.weights).max() > 0.4
    np.testing.assert_allclose(result.weights[0, :8, :n_positions], expected.weights, atol=2e-3)
    assert not result.weights[:, :, n_positions:].any()
    np.testing.assert_allclose(result.token_probs[0, :7], expected.token_probs, rtol=1e-3)
    assert result.token_probs[0, 7] == 0


def test_a_short_window_is_aligned_as_if_there_were_no_more_positions(network: Whisper) -> None:
    """The cache of a row has room for more than was encoded."""
    audio, text = encoded(1), [5, 9, 200, 17]
    expected = run(network, audio[:, :300], packed(text, 200 * 320, 300 * 320))
    padded = run(network, audio[:, :700], packed(text, 200 * 320, 300 * 320))
    np.testing.assert_allclose(padded.weights[..., :300], expected.weights, atol=1e-3)
    np.testing.assert_allclose(padded.token_probs, expected.token_probs, rtol=1e-4)
    assert not padded.weights[..., 200:].any()
    # More of the audio makes a difference, so the test can fail.
    unlike = run(network, audio[:, :700], packed(text, 200 * 320, 700 * 320))
    assert np.abs(unlike.token_probs - expected.token_probs).max() > 1e-4


def test_neighbours_and_padding_do_not_change_a_window(network: Whisper) -> None:
    audio = encoded(3)
    alone = run(network, audio[1:2], packed([5, 9, 17], 100 * 320))
    longer = packed([7] * 100, 1500 * 320)
    assert longer.tokens.shape == (1, 128)
    row = packed([5, 9, 17], 100 * 320)
    row = row._replace(tokens=np.pad(row.tokens, ((0, 0), (0, 64)), constant_values=END))
    among = run(network, audio, stacked(longer, row, longer))
    np.testing.assert_allclose(among.weights[1, :4], alone.weights[0, :4], atol=1e-3)
    np.testing.assert_allclose(among.token_probs[1, :3], alone.token_probs[0, :3], rtol=1e-4)
    assert np.isfinite(among.weights).all()


def test_probabilities_do_not_depend_on_later_tokens(network: Whisper) -> None:
    audio = encoded(1)
    short = run(network, audio, packed([5, 9], 480_000))
    longer = run(network, audio, packed([5, 9, 17, 33], 480_000))
    np.testing.assert_allclose(short.token_probs[0, :2], longer.token_probs[0, :2], rtol=1e-5)


def test_a_window_without_text_does_not_affect_others(network: Whisper) -> None:
    result = run(network, encoded(2), stacked(packed([], 1), packed([5], 480_000)))
    # At its only position all tokens have the same weight.
    assert not result.weights[0].any()
    assert np.isfinite(result.weights[1]).all()
    assert result.token_probs[0, 0] == 0 < result.token_probs[1, 0]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_runs(dtype: jnp.dtype) -> None:
    network = random_whisper(CONFIG, Precision(np.dtype(dtype)))
    result = run(network, encoded(1).astype(dtype), packed([5, 9], 480_000))
    assert result.weights.dtype == result.token_probs.dtype == np.float32
    assert np.isfinite(result.weights).all()


def test_pack_pads_a_text() -> None:
    batch = pack([1, 2], [5, 6, 7], 9, n_samples=64_000, n_encoded=96_000)
    assert {array.dtype for array in batch} == {np.dtype(np.int32)}
    assert batch.tokens[:, :7].tolist() == [[1, 2, 5, 6, 7, 9, 9]]
    assert (batch.tokens[:, 7:] == 9).all()
    assert (batch.n_text.tolist(), batch.n_positions.tolist(), batch.n_encoded.tolist()) == (
        [3],
        [200],
        [300],
    )
    none = pack([1, 3], [], 9, n_samples=100, n_encoded=480_000)
    assert none.tokens[0, :3].tolist() == [1, 3, 9]
    assert (none.n_text.tolist(), none.n_positions.tolist(), none.n_encoded.tolist()) == ([0], [1], [1500])


@pytest.mark.parametrize(
    ("n_text", "length"), [(0, 64), (60, 64), (61, 128), (124, 128), (125, 240), (236, 240), (444, 448)]
)
def test_pack_takes_the_shortest_length_that_fits(n_text: int, length: int) -> None:
    batch = pack([1, 2, 3], [5] * n_text, 9, n_samples=480_000, n_encoded=480_000)
    assert batch.tokens.shape == (1, length)


def test_a_text_that_is_too_long_raises() -> None:
    with pytest.raises(ValueError, match="449 tokens cannot be aligned: the decoder reads 448 at most"):
        pack([1, 2, 3], [5] * 445, 9, n_samples=480_000, n_encoded=480_000)


# The tests below need the real weights.


@pytest.mark.weights
def test_alignment_matches_ctranslate2(packaged: Callable[[str], Checkpoint]) -> None:
    if not SPEECH.exists():
        pytest.skip(f"{SPEECH} is not here")
    checkpoint = packaged("openai/whisper-tiny.en")
    tokenizer = WhisperTokenizer(checkpoint.tokenizer)
    special = tokenizer.special
    text = tokenizer.encode_text(
        " And so my fellow Americans, ask not what your country can do for you,"
        " ask what you can do for your country."
    )
    clip = read_clip(SPEECH)
    padded = np.zeros((1, WINDOW_SAMPLES), np.float32)
    padded[0, : len(clip)] = clip
    rules = make_rules(special, checkpoint.decoding, ModelOptions(), multilingual=False)
    programs = Programs(checkpoint, rules, FLOAT32, make_mesh())
    states = programs.encode(padded)
    start = [special.start_of_transcript]
    prefix, n_encoded = [*start, special.no_timestamps], WINDOW_SAMPLES
    batch = pack(prefix, text, special.end_of_text, n_samples=len(clip), n_encoded=n_encoded)
    # The row of a batch in which the window is.
    ours = programs.align(Batch(programs.cross_kv(padded), None), 0, batch)
    (columns,) = first_columns(-np.asarray(ours.weights), [len(text) + 1], batch.n_positions.tolist())
    with ctranslate2_folder(checkpoint) as folder:
        theirs = ctranslate2.models.Whisper(str(folder), device="cpu", compute_type="float32")
        features = ctranslate2.StorageView.from_array(np.array(states))
        (result,) = theirs.align(features, start, [text], len(clip) // 160)
    path = np.array(result.alignments)
    starts = path[np.unique(path[:, 0], return_index=True)[1], 1]
    assert len(columns) == len(starts) == len(text) + 1
    assert (columns == starts).mean() > 0.95
    assert np.abs(columns - starts).max() <= 1
    np.testing.assert_allclose(ours.token_probs[0, : len(text)], result.text_token_probs, atol=1e-3)
