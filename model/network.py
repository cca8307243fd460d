"""The network of "Robust Speech Recognition via Large-Scale Weak Supervision" (Radford et al., 2022).

Numerically the same as `whisper/model.py` of openai/whisper. Kernels are (inputs, outputs).
"""

from __future__ import annotations

from flax import nnx

from model.config import WhisperConfig
from model.decoder import Decoder
from model.encoder import Encoder
from model.precision import Precision


class Whisper(nnx.Module):
    """The Whisper network: encoder and decoder."""

    def __init__(self, config: WhisperConfig, *, precision: Precision) -> None:
        self.encoder = Encoder(config, precision=precision.for_encoder)
        self.decoder = Decoder(config, precision=precision.for_decoder)
