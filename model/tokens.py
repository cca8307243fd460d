"""Ids and text: special tokens, prompts, and segments from what the model wrote. No JAX."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from model.interface import SAMPLE_RATE, Segment
from model.languages import LANGUAGES

SAMPLES_PER_TIMESTAMP = SAMPLE_RATE // 50  # 320 samples: a timestamp token counts steps of 20 ms


class TokenizerError(ValueError):
    """The tokenizer is not a Whisper's, or cannot be read."""


@dataclass(frozen=True)
class SpecialTokens:
    """Ids with a meaning of their own; `languages` maps codes to ids, in the order of the ids.

    `timestamp_begin` stands for 0.00 s; each id above it is 20 ms later, up to 30.00 s. Every id from
    `end_of_text` on is special, every one below it is text.
    """

    start_of_transcript: int
    end_of_text: int
    transcribe: int
    translate: int
    start_of_previous: int
    start_of_lm: int
    no_speech: int
    no_timestamps: int
    timestamp_begin: int
    languages: Mapping[str, int]


class WhisperTokenizer:
    """Text of ids, and the special ids.

    Args:
        path: `tokenizer.json`, or a folder with `vocab.json` and `merges.txt`.

    Raises:
        TokenizerError: it cannot be read, or lacks one of Whisper's tokens.
    """

    def __init__(self, path: Path) -> None:
        self._tokenizer = _load(path)
        self.special = self._find_special(path)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; special ones and timestamps are left out."""
        return str(self._tokenizer.decode([i for i in ids if i < self.special.end_of_text]))

    def encode_text(self, text: str) -> list[int]:
        """Ids of a text, with no special ones around it; those that are spelt out in it are left out."""
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        return [i for i in ids if i < self.special.end_of_text]

    def _find_special(self, path: Path) -> SpecialTokens:
        def find(*names: str) -> int:
            for name in names:
                token = self._tokenizer.token_to_id(f"<|{name}|>")
                if token is not None:
                    return int(token)
            raise TokenizerError(f"{path} is no tokenizer of Whisper: it lacks <|{names[0]}|>")

        languages = ((code, self._tokenizer.token_to_id(f"<|{code}|>")) for code in LANGUAGES)
        no_timestamps = find("notimestamps")
        return SpecialTokens(
            start_of_transcript=find("startoftranscript"),
            end_of_text=find("endoftext"),
            transcribe=find("transcribe"),
            translate=find("translate"),
            start_of_previous=find("startofprev"),
            start_of_lm=find("startoflm"),
            no_speech=find("nospeech", "nocaptions"),
            no_timestamps=no_timestamps,
            timestamp_begin=no_timestamps + 1,
            languages={code: int(token) for code, token in languages if token is not None},
        )


def segments_of(
    ids: Sequence[int], tokenizer: WhisperTokenizer, n_samples: int, *, complete: bool = True
) -> tuple[Segment, ...]:
    """Cuts what the model wrote at its timestamps.

    A segment lies between a timestamp and the next; text whose end the model did not write ends with the
    window (`whisper/transcribe.py` reads on from there instead, which a batch of windows cannot). Times
    after the window's last sample, in its padding, are moved to it.

    Args:
        ids: what was generated after the prompt. Special ids in it, such as a language's, are no text.
        tokenizer: the model's own.
        n_samples: length of the window without padding.
        complete: whether the model came to an end. If it ran out of tokens, the segment that it was in is
            left out, unless it is the only one: it can be decoded again from its start.
    """
    segments = []
    special = tokenizer.special
    written = [token for token in ids if token < special.end_of_text or token >= special.timestamp_begin]
    for start, stop, tokens in _runs(written, special.timestamp_begin, n_samples):
        text = tokenizer.decode(tokens)
        if text.strip():
            segments.append(Segment(start, stop, text, tuple(tokens)))
    if not complete and len(segments) > 1 and written[-1] < special.timestamp_begin:
        segments.pop()
    return tuple(segments)


def _runs(ids: Sequence[int], timestamp_begin: int, n_samples: int) -> Iterator[tuple[int, int, list[int]]]:
    """Each run of text ids with its start and stop in samples; the last run may lack its stop."""
    start, tokens = 0, list[int]()
    for token in ids:
        if token < timestamp_begin:
            tokens.append(token)
            continue
        time = min((token - timestamp_begin) * SAMPLES_PER_TIMESTAMP, n_samples)
        if tokens:
            yield start, time, tokens
        start, tokens = time, []
    if tokens:
        yield start, n_samples, tokens


def compression_ratio(text: str) -> float:
    """Bytes of a text over its bytes deflated; above 2.4 it repeats itself (`whisper/utils.py`)."""
    encoded = text.encode()
    return len(encoded) / len(zlib.compress(encoded)) if encoded else 0.0


def _load(path: Path) -> Tokenizer:
    try:
        if path.is_file():
            return Tokenizer.from_file(str(path))
        return _convert(path)
    except Exception as error:  # the Rust library raises bare Exception for whatever is wrong
        raise TokenizerError(f"{path} cannot be read as a tokenizer: {error}") from error


def _convert(folder: Path) -> Tokenizer:
    # Slow to import, and only old checkpoints need it.
    from transformers.models.whisper.tokenization_whisper import WhisperTokenizer as Converter

    tokenizer: Tokenizer = Converter.from_pretrained(str(folder)).backend_tokenizer
    return tokenizer
