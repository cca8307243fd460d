"""The sizes of a Whisper network, and the decoding settings of its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

from model.interface import WINDOW_SAMPLES

N_FRAMES = WINDOW_SAMPLES // 160  # 3,000 frames of 10 ms in a 30-second window
N_POSITIONS = N_FRAMES // 2  # 1,500: the second convolution has stride 2
MAX_TEXT_POSITIONS = 448  # tokens of the decoder's context, prompt included

_MAX_SIZES = {  # some eight times those of large-v3: only a damaged or malicious file declares more
    "n_mels": 1024, "d_model": 10_240, "d_mlp": 40_960, "encoder_layers": 256, "encoder_heads": 160,
    "decoder_layers": 256, "decoder_heads": 160, "n_vocab": 500_000,
}  # fmt: skip


@dataclass(frozen=True)
class WhisperConfig:
    """Sizes of a network, from tiny (39 M weights) to large-v3 (1.5 G).

    Attributes:
        n_mels: 80, or 128 from large-v3 on.
        d_model: width of the residual stream, `n_heads` times the width of a head (64).
        d_mlp: width of the hidden layer of each MLP.
        n_vocab: rows of the embedding, one for each id of a token; there may be more, for padding.
        has_projection: whether states are projected to the vocabulary by a weight of its own, and not by the
            embedding.

    Raises:
        ValueError: a size that is not a whole number, or is out of range.
    """

    n_mels: int
    d_model: int
    d_mlp: int
    encoder_layers: int
    encoder_heads: int
    decoder_layers: int
    decoder_heads: int
    n_vocab: int
    has_projection: bool = False

    def __post_init__(self) -> None:
        for name, maximum in _MAX_SIZES.items():
            size = getattr(self, name)
            if type(size) is not int or not 1 <= size <= maximum:
                raise ValueError(
                    f"{name} is {size!r:.100}, where a whole number of 1 to {maximum} was expected"
                )
        for name in ("encoder_heads", "decoder_heads"):
            n_heads = getattr(self, name)
            if self.d_model % n_heads:
                raise ValueError(f"d_model {self.d_model} does not divide into {name} {n_heads}")


@dataclass(frozen=True)
class DecodingConfig:
    """What the configs of a checkpoint tell about decoding; what they do not tell is left empty.

    Attributes:
        suppress_ids: never written (speaker tags, music notes, other non-speech marks).
        begin_suppress_ids: not written as the first token of text (a lone space, the end).
        alignment_heads: (layer, head) of the cross-attention that follows time; empty when unknown.
        is_multilingual: whether a language and a task follow the start of the transcript.
        languages: codes and ids of the tokens of languages; the code is empty where only the id is given.
        task_ids: tasks (`transcribe`, `translate`) and ids of their tokens.
        no_timestamps_id: id of the token that there are no timestamps; the first timestamp follows it.
        language: the language to decode in, as it is written there: a name, a code or a token.
        task: the task to be done, likewise.
        forced_ids: tokens to begin with, behind the start of the transcript; None for one to be detected.
        start_id: id of the token that starts the transcript.
        max_initial_timestamp: the latest time at which the first segment may start, in steps of 20 ms.

    Raises:
        ValueError: an id, a layer or a head that is not a whole number, or a name that is no text.
    """

    suppress_ids: tuple[int, ...] = ()
    begin_suppress_ids: tuple[int, ...] = ()
    alignment_heads: tuple[tuple[int, int], ...] = ()
    is_multilingual: bool | None = None
    languages: tuple[tuple[str, int], ...] = ()
    task_ids: tuple[tuple[str, int], ...] = ()
    no_timestamps_id: int | None = None
    language: str | None = None
    task: str | None = None
    forced_ids: tuple[int | None, ...] = ()
    start_id: int | None = None
    max_initial_timestamp: int | None = None

    def __post_init__(self) -> None:
        heads = (number for head in self.alignment_heads for number in head)
        named = [token for _, token in (*self.languages, *self.task_ids)]
        single = (self.no_timestamps_id, self.start_id, *self.forced_ids)
        named += [one for one in single if one is not None]
        for number in (*self.suppress_ids, *self.begin_suppress_ids, *heads, *named):
            if type(number) is not int:
                raise ValueError(
                    f"{number!r:.100} is not the id of a token, layer or head: a whole number was expected"
                )
        for number in named:
            if not 0 <= number < _MAX_SIZES["n_vocab"]:
                raise ValueError(f"{number} is not the id of a token: no vocabulary has so many")
        latest = self.max_initial_timestamp
        if latest is not None and (type(latest) is not int or latest < 0):
            raise ValueError(
                f"max_initial_timestamp_index is {latest!r:.100}, where a whole number from 0 on was expected"
            )
        if self.is_multilingual not in (None, True, False):
            raise ValueError(
                f"is_multilingual is {self.is_multilingual!r:.100}, where true or false was expected"
            )
        for name in ("language", "task"):
            if not isinstance(value := getattr(self, name), str | None):
                raise ValueError(f"{name} is {value!r:.100}, where a text was expected")


@dataclass(frozen=True)
class CheckpointDefaults:
    """The language and the task that the configs of a checkpoint name.

    Attributes:
        language: code of the language to decode in; None to detect it.
        task: `transcribe` or `translate`; None if they name none.
    """

    language: str | None = None
    task: str | None = None
