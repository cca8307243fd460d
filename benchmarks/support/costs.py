"""What a Whisper has to compute and to read, counted by hand: a multiplication and an addition are two.

D is `d_model`, F `d_mlp`, V the vocabulary, S the 1,500 positions of the audio. Norms, activations, softmax
and biases are left out: they are under a hundredth.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from model.config import N_FRAMES, N_POSITIONS, WhisperConfig


@dataclass(frozen=True)
class Cost:
    """Operations, and bytes that have to come from memory."""

    flops: float
    n_bytes: float

    def least_s(self, flops_a_second: float, bytes_a_second: float) -> float:
        """Seconds below which it cannot be done: computing and reading go on at the same time."""
        return max(self.flops / flops_a_second, self.n_bytes / bytes_a_second)


def encoder_flops(config: WhisperConfig) -> float:
    """Of one window.

    Convolutions 2 x 3000 x 3 M D + 2 S x 3 D D (M mel bins); each layer 4 projections of 2 S D D, attention
    2 x 2 S S D, MLP 2 x 2 S D F.
    """
    d, s = config.d_model, N_POSITIONS
    front = 2 * N_FRAMES * 3 * config.n_mels * d + 2 * s * 3 * d * d
    layer = 4 * 2 * s * d * d + 2 * 2 * s * s * d + 2 * 2 * s * d * config.d_mlp
    return float(front + config.encoder_layers * layer)


def memory_flops(config: WhisperConfig) -> float:
    """Of the keys and values of the cross-attention of one window: 2 x 2 S D D a layer."""
    return float(config.decoder_layers * 2 * 2 * N_POSITIONS * config.d_model**2)


def step_flops(config: WhisperConfig, n_seen: int) -> float:
    """Of one token of one window that sees so many, itself included.

    Each layer 4 projections of the self-attention and 2 of the cross-attention, 2 D D each, MLP 2 x 2 D F,
    attention 2 x 2 D to each token seen and each position of the audio; logits 2 D V.
    """
    d = config.d_model
    layer = 6 * 2 * d * d + 2 * 2 * d * config.d_mlp + 2 * 2 * d * (n_seen + N_POSITIONS)
    return float(config.decoder_layers * layer + 2 * d * config.n_vocab)


def encoder_weights(config: WhisperConfig) -> int:
    """Of its matrices: 3 M D + 3 D D, and 4 D D + 2 D F a layer."""
    d = config.d_model
    layer = 4 * d * d + 2 * d * config.d_mlp
    return 3 * config.n_mels * d + 3 * d * d + config.encoder_layers * layer


def step_weights(config: WhisperConfig) -> int:
    """Those that each token needs: 6 D D + 2 D F a layer (not the cross-attention's keys and values), D V."""
    d = config.d_model
    return config.decoder_layers * (6 * d * d + 2 * d * config.d_mlp) + d * config.n_vocab


def encode_cost(config: WhisperConfig, batch: int, width: int = 2) -> Cost:
    """Of encoding a batch and remembering it: weights are read once, the memory is written.

    Args:
        config: of the network.
        batch: windows.
        width: bytes of a number.
    """
    memory = 2 * config.decoder_layers * N_POSITIONS * config.d_model
    weights = encoder_weights(config) + 2 * config.decoder_layers * config.d_model**2
    flops = batch * (encoder_flops(config) + memory_flops(config))
    return Cost(flops, width * (weights + batch * memory))


def step_cost(config: WhisperConfig, batch: int, n_seen: int, width: int = 2, memory_width: int = 2) -> Cost:
    """Of one token of each window: weights once, and the keys and values of each window.

    Args:
        config: of the network.
        batch: windows.
        n_seen: tokens that each sees, itself included.
        width: bytes of a weight.
        memory_width: bytes of a number of the keys and values.
    """
    seen = 2 * config.decoder_layers * config.d_model * (n_seen + N_POSITIONS)
    n_bytes = width * step_weights(config) + memory_width * batch * seen
    return Cost(batch * step_flops(config, n_seen), n_bytes)


def logits_cost(config: WhisperConfig, batch: int, width: int = 2) -> Cost:
    """Of the logits of one token of each window: a part of `step_cost`, with its arguments."""
    n_weights = config.d_model * config.n_vocab
    return Cost(2 * batch * n_weights, width * n_weights)


def decode_costs(config: WhisperConfig, batch: int, n_prompt: int, n_tokens: int) -> list[Cost]:
    """Of each step in which a batch writes so many tokens after a prompt; the prompt is read in the first."""
    return [step_cost(config, batch, n_prompt + written) for written in range(n_tokens)]


def least_s(costs: Iterable[Cost], flops_a_second: float, bytes_a_second: float) -> float:
    """Seconds below which one after the other cannot be done."""
    return sum(cost.least_s(flops_a_second, bytes_a_second) for cost in costs)
