"""Operations and memory traffic of a Whisper model, from its sizes; a multiply-add counts as two operations.

D is `d_model`, F `d_mlp`, V the vocabulary, S the 1,500 positions of the audio. Norms, activations, softmax
and biases are left out: they are under a hundredth.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from model.config import N_FRAMES, N_POSITIONS, WhisperConfig


@dataclass(frozen=True)
class Cost:
    """Operations, and bytes to be read from memory."""

    flops: float
    n_bytes: float

    def min_s(self, flops_a_second: float, bytes_a_second: float) -> float:
        """Returns a lower bound in seconds, as computing and reading overlap."""
        return max(self.flops / flops_a_second, self.n_bytes / bytes_a_second)


def encoder_flops(config: WhisperConfig) -> float:
    """Returns the operations of encoding one window.

    Convolutions 2 x 3000 x 3 M D + 2 S x 3 D D (M mel bins); each layer 4 projections of 2 S D D, attention
    2 x 2 S S D, MLP 2 x 2 S D F.
    """
    d, s = config.d_model, N_POSITIONS
    front = 2 * N_FRAMES * 3 * config.n_mels * d + 2 * s * 3 * d * d
    layer = 4 * 2 * s * d * d + 2 * 2 * s * s * d + 2 * 2 * s * d * config.d_mlp
    return float(front + config.encoder_layers * layer)


def cross_kv_flops(config: WhisperConfig) -> float:
    """Returns the operations of the cross-attention's keys and values of one window: 2 x 2 S D D a layer."""
    return float(config.decoder_layers * 2 * 2 * N_POSITIONS * config.d_model**2)


def step_flops(config: WhisperConfig, n_attended: int) -> float:
    """Returns the operations of one token of one window that attends to `n_attended` tokens, itself included.

    Each layer 4 projections of the self-attention and 2 of the cross-attention, 2 D D each, MLP 2 x 2 D F,
    attention 2 x 2 D to each token and each position of the audio; logits 2 D V.
    """
    d = config.d_model
    layer = 6 * 2 * d * d + 2 * 2 * d * config.d_mlp + 2 * 2 * d * (n_attended + N_POSITIONS)
    return float(config.decoder_layers * layer + 2 * d * config.n_vocab)


def encoder_weights(config: WhisperConfig) -> int:
    """Returns the weights of the encoder's matrices: 3 M D + 3 D D, and 4 D D + 2 D F a layer."""
    d = config.d_model
    layer = 4 * d * d + 2 * d * config.d_mlp
    return 3 * config.n_mels * d + 3 * d * d + config.encoder_layers * layer


def step_weights(config: WhisperConfig) -> int:
    """Returns the weights read for a token: 6 D D + 2 D F a layer (without cross-attention K/V), and D V."""
    d = config.d_model
    return config.decoder_layers * (6 * d * d + 2 * d * config.d_mlp) + d * config.n_vocab


def encode_cost(config: WhisperConfig, batch: int, width: int = 2) -> Cost:
    """Returns the cost of encoding a batch and its cross-attention K/V: weights are read once, K/V written.

    Args:
        config: sizes of the network.
        batch: number of windows.
        width: bytes of a number.
    """
    cross_kv = 2 * config.decoder_layers * N_POSITIONS * config.d_model
    weights = encoder_weights(config) + 2 * config.decoder_layers * config.d_model**2
    flops = batch * (encoder_flops(config) + cross_kv_flops(config))
    return Cost(flops, width * (weights + batch * cross_kv))


def step_cost(config: WhisperConfig, batch: int, n_attended: int, width: int = 2, kv_width: int = 2) -> Cost:
    """Returns the cost of one token of each window: reads weights once, and the K/V caches of each window.

    Args:
        config: sizes of the network.
        batch: number of windows.
        n_attended: tokens that each token attends to, itself included.
        width: bytes of a weight.
        kv_width: bytes of a number of the keys and values.
    """
    n_kv = 2 * config.decoder_layers * config.d_model * (n_attended + N_POSITIONS)
    n_bytes = width * step_weights(config) + kv_width * batch * n_kv
    return Cost(batch * step_flops(config, n_attended), n_bytes)


def logits_cost(config: WhisperConfig, batch: int, width: int = 2) -> Cost:
    """Returns the cost of the logits of one token of each window, which is a part of `step_cost`."""
    n_weights = config.d_model * config.n_vocab
    return Cost(2 * batch * n_weights, width * n_weights)


def decode_costs(config: WhisperConfig, batch: int, n_prompt: int, n_tokens: int) -> list[Cost]:
    """Returns the cost of each step that generates a token after a prompt, which the first step reads."""
    return [step_cost(config, batch, n_prompt + step) for step in range(n_tokens)]


def min_s(costs: Iterable[Cost], flops_a_second: float, bytes_a_second: float) -> float:
    """Returns a lower bound in seconds of costs that are incurred one after the other."""
    return sum(cost.min_s(flops_a_second, bytes_a_second) for cost in costs)
