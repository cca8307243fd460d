"""Memory that a model takes on an accelerator, and the rows of a batch that fit. No JAX, for a launcher.

The most that may be held at once is counted: weights; the running batches of all lanes, of which each may
have one of 14 s, one of 30 s, and with beams or best_of one of sampling, of 30 s as no short window is
sampled; and what the encoder and a step of the decoder compute. Caches of previous text are not counted, as
few requests have any. The formulas are checked against the arrays of the network and XLA's own figures, in
the tests.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

from model.cache_sizes import MAX_PREFIX, n_slots
from model.config import MAX_TEXT_POSITIONS, N_FRAMES, N_POSITIONS, WhisperConfig
from model.interface import WINDOW_SAMPLES, ModelOptions
from model.mesh_shape import MeshShape
from model.tokens import SAMPLES_PER_TIMESTAMP
from model.window_length import DECODED_LENGTHS

MIN_ROWS = 4
"""XLA has no fast matrix products for one or two rows."""

MAX_ROWS = 64
"""More rows add little: large-v3-turbo decoded 71 windows a second in 64 rows, and 73 in 128 (H100)."""

N_LANES = 2
"""Batches that an accelerator runs at the same time, so that the host prepares one while another runs."""

MAX_SCORE_BYTES = 256 * 2**20
"""Memory of the scores of a block of queries of the encoder's attention, all windows and heads together."""

MAX_QUERY_BLOCK = 256

_USABLE = 0.9  # of the memory of a device: the rest is for fragments, and for what libraries take
_MEL_NUMBERS = 1500  # of 4 bytes for a frame: the frame four times, its spectrum and its power

ONE_DEVICE = MeshShape()


@dataclass(frozen=True)
class NumberSizes:
    """Bytes of a number.

    Attributes:
        activation: of activations, and of weights that are not matrices.
        encoder: of the encoder's matrices.
        decoder: of the decoder's matrices.
        cross_kv: of the cross-attention K/V cache.
    """

    activation: int
    encoder: int
    decoder: int
    cross_kv: int


def number_sizes(dtype: str, arithmetic: str) -> NumberSizes:
    """Returns the sizes of numbers of a precision; the names are those of `model.precision.Precision`."""
    wide = 4 if dtype == "float32" else 2
    encoder, decoder = {
        "none": (wide, wide), "bf16": (2, 2), "a8": (1, 1), "bf16-a8": (2, 1), "w8": (1, 1)
    }[arithmetic]  # fmt: skip
    if arithmetic in ("none", "w8"):
        return NumberSizes(wide, encoder, decoder, wide)
    return NumberSizes(wide, encoder, decoder, 1)


@dataclass(frozen=True)
class MemoryUse:
    """Bytes of one device, by what they are for."""

    weights: int
    cross_kv: int
    self_attention: int
    encoding: int
    logits: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(astuple(self))


@dataclass(frozen=True)
class MemoryModel:
    """Counts the memory of a model on an accelerator.

    Attributes:
        config: sizes of the network.
        numbers: bytes of its numbers.
        beam_size: see `ModelOptions`.
        best_of: see `ModelOptions`.
        max_new_tokens: see `ModelOptions`.
        n_lanes: batches that run at the same time.
        mesh: devices that the model is spread over.
    """

    config: WhisperConfig
    numbers: NumberSizes
    beam_size: int = 1
    best_of: int = 1
    max_new_tokens: int = 224
    n_lanes: int = N_LANES
    mesh: MeshShape = ONE_DEVICE

    @classmethod
    def of(
        cls, config: WhisperConfig, options: ModelOptions, numbers: NumberSizes, mesh: MeshShape
    ) -> MemoryModel:
        """Returns the count for a model with these options."""
        n_lanes = lanes_of_accelerator(options.parallel_batches, mesh)
        widths = options.beam_size, options.best_of
        return cls(config, numbers, *widths, options.max_new_tokens, n_lanes, mesh)

    def use(self, n_rows: int) -> MemoryUse:
        """Returns the memory of one device for batches of `n_rows` windows."""
        n_data, n_model = self.mesh
        own_rows = -(-n_rows // n_data)
        n_encoded = encoded_together(own_rows)
        kinds = {(length, self.beam_size) for length in DECODED_LENGTHS} | {(WINDOW_SAMPLES, self.best_of)}
        batches = self.n_lanes * own_rows
        cross = sum(self.cross_kv_row(length // SAMPLES_PER_TIMESTAMP) for length, _ in kinds)
        new = self.n_lanes * n_encoded * self.cross_kv_row(N_POSITIONS)
        slots = sum(self.self_attention_row(k) for _, k in kinds)
        return MemoryUse(
            weights=self.weights() // n_model,
            cross_kv=(batches * cross + new) // n_model,
            self_attention=batches * slots // n_model,
            encoding=self.n_lanes * self.encoding(n_encoded),
            logits=self.n_lanes * self.logits(own_rows * max(self.beam_size, self.best_of)),
        )

    def rows(self, n_bytes: int) -> int:
        """Returns the rows for which `n_bytes` of each device suffice: at least 4 and at most 64 a device.

        From 8 on they are a multiple of 8, as matrix units take rows by eights.
        """
        n_data = self.mesh.data
        fitting = [
            size
            for size in (*range(MIN_ROWS, 8), *range(8, MAX_ROWS + 1, 8))
            if self.fits(size * n_data, n_bytes)
        ]
        return max(fitting, default=MIN_ROWS) * n_data

    def fits(self, n_rows: int, n_bytes: int) -> bool:
        """Whether `n_bytes` of each device suffice for all that may be held at once."""
        return self.use(n_rows).total <= _USABLE * n_bytes

    def weights(self) -> int:
        """Returns the bytes of all weights, with the scales of those in 8 bits."""
        config, numbers = self.config, self.numbers
        d, hidden, vocabulary = config.d_model, config.d_mlp, config.n_vocab
        attention, mlp, norm = 4 * d * d, 2 * d * hidden, 2 * d
        encoder = 3 * config.n_mels * d + 3 * d * d + config.encoder_layers * (attention + mlp)
        decoder = vocabulary * d + config.decoder_layers * (2 * attention + mlp)
        biases = 3 * d + hidden + d  # of an attention, whose keys have none, and of an MLP
        others = (N_POSITIONS + MAX_TEXT_POSITIONS) * d + 2 * d + 2 * norm
        others += config.encoder_layers * (biases + 2 * norm)
        others += config.decoder_layers * (biases + 3 * d + 3 * norm)
        outputs = 5 * d + hidden  # of an attention and an MLP
        scales = (numbers.encoder == 1) * (2 * d + config.encoder_layers * outputs)
        scales += (numbers.decoder == 1) * (vocabulary + config.decoder_layers * (outputs + 4 * d))
        return (
            numbers.encoder * encoder + numbers.decoder * decoder + numbers.activation * others + 4 * scales
        )

    def cross_kv_row(self, n_positions: int) -> int:
        """Returns the bytes of a window's cross-attention K/V cache, scales included."""
        size = self.numbers.cross_kv
        n_numbers = 2 * self.config.decoder_layers * self.config.d_model
        return n_numbers * (n_positions * size + 4 * (size == 1))

    def self_attention_row(self, k: int) -> int:
        """Returns the bytes of the self-attention caches of a window with K hypotheses."""
        n_numbers = n_slots(0, k, MAX_PREFIX + self.max_new_tokens) * self.config.d_model
        return 2 * self.config.decoder_layers * n_numbers * self.numbers.activation

    def encoding(self, n_windows: int) -> int:
        """Returns the bytes that the encoder computes with, beside its result: those of its largest step."""
        config, size = self.config, self.numbers.activation
        n_states = n_windows * N_POSITIONS * config.d_model
        scores = 4 * n_windows * config.encoder_heads * min(MAX_QUERY_BLOCK, N_POSITIONS) * N_POSITIONS
        # As scores, as weights, and as weights in 2 bytes; states, queries, keys, values and the result.
        attention = min(scores, MAX_SCORE_BYTES) * (8 + size % 4) // 4 + 5 * size * n_states
        hidden = n_windows * N_POSITIONS * config.d_mlp
        mlp = (4 + size) * hidden + 2 * size * n_states
        mels = 4 * _MEL_NUMBERS * N_FRAMES * n_windows
        return 4 * WINDOW_SAMPLES * n_windows + max(attention, mlp, mels)

    def logits(self, n_hypotheses: int) -> int:
        """Returns the bytes of a step's logits, which the rules and the choice of tokens copy."""
        return 4 * 4 * n_hypotheses * self.config.n_vocab


def encoded_together(n_rows: int) -> int:
    """Returns the windows that an accelerator encodes together: a quarter of the rows, refilled soon."""
    return max(1, n_rows // 4)


def lanes_of_accelerator(parallel_batches: int, mesh: MeshShape) -> int:
    """Returns the batches that run at the same time; `parallel_batches` is the option, 0 if not given.

    Programs that several devices run together must start in the same order on each: there it is one.
    """
    if mesh.data * mesh.model > 1:
        return 1
    return parallel_batches or N_LANES
