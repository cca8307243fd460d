"""The tokenizer: special tokens, text to and from ids, and segments of generated ids. No JAX."""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel as ByteLevelSplit

from model.interface import SAMPLE_RATE, Segment
from model.languages import LANGUAGES

_LOCK = threading.Lock()
SAMPLES_PER_TIMESTAMP = SAMPLE_RATE // 50  # 320 samples: a timestamp token counts steps of 20 ms


class TokenizerError(ValueError):
    """The tokenizer is not one of Whisper, or cannot be read."""


@dataclass(frozen=True)
class SpecialTokens:
    """Ids of the special tokens; `languages` maps codes to ids, in the order of the ids.

    `timestamp_begin` is the timestamp 0.00 s; each id above it is 20 ms later, up to 30.00 s. Ids from
    `end_of_text` on are special, smaller ids are text.
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
    """Converts between text and ids, and holds the special ids.

    Args:
        source: `tokenizer.json`, a folder with `vocab.json` and `merges.txt`, or a tokenizer that was built.

    Raises:
        TokenizerError: the files cannot be read, or lack one of Whisper's tokens.
    """

    def __init__(self, source: Path | Tokenizer) -> None:
        self._tokenizer = source if isinstance(source, Tokenizer) else _load(source)
        self.special = self._find_special("its vocabulary" if source is self._tokenizer else str(source))

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of ids, without special tokens and timestamps."""
        return str(self._tokenizer.decode([i for i in ids if i < self.special.end_of_text]))

    def encode_text(self, text: str) -> list[int]:
        """Returns the ids of a text, without special tokens, even if they are written in the text."""
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        return [i for i in ids if i < self.special.end_of_text]

    def _find_special(self, path: str) -> SpecialTokens:
        def find(*names: str) -> int:
            for name in names:
                token = self._tokenizer.token_to_id(f"<|{name}|>")
                if token is not None:
                    return int(token)
            raise TokenizerError(f"{path} is not a Whisper tokenizer: it lacks <|{names[0]}|>")

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
    """Splits generated ids into segments at their timestamps.

    A segment lies between two consecutive timestamps. Text without an end timestamp ends with the window
    (`whisper/transcribe.py` continues from there instead, which a batch of windows cannot). Times in the
    padding, after the window's last sample, are clamped to it.

    Args:
        ids: ids generated after the prompt. Special ids among them, such as a language's, are ignored.
        tokenizer: tokenizer of the model.
        n_samples: length of the window without padding.
        complete: whether the model ended the text. If it reached the token limit instead, the unfinished
            last segment is dropped, unless it is the only one: it can be decoded again from its start.
    """
    segments = []
    special = tokenizer.special
    kept = [token for token in ids if token < special.end_of_text or token >= special.timestamp_begin]
    for start, stop, tokens in _runs(kept, special.timestamp_begin, n_samples):
        text = tokenizer.decode(tokens)
        if text.strip():
            segments.append(Segment(start, stop, text, tuple(tokens)))
    if not complete and segments and kept[-1] < special.timestamp_begin:
        last = segments.pop()
        if not segments:
            segments.append(replace(last, is_cut=True))
    return tuple(segments)


def _runs(ids: Sequence[int], timestamp_begin: int, n_samples: int) -> Iterator[tuple[int, int, list[int]]]:
    """Yields runs of text ids with start and stop in samples; a run without a stop ends at `n_samples`."""
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
    """Returns bytes of the text over its compressed bytes; above 2.4 is repetition (`whisper/utils.py`)."""
    encoded = text.encode()
    return len(encoded) / len(zlib.compress(encoded)) if encoded else 0.0


def _load(path: Path) -> Tokenizer:
    try:
        if path.is_file():
            status = path.stat()
            with _LOCK:
                return _read(path.resolve(), status.st_size, status.st_mtime_ns)
        return _from_vocabulary(path)
    except Exception as error:  # the Rust library raises bare Exception for every error
        raise TokenizerError(f"{path} cannot be read as a tokenizer: {error}") from error


@lru_cache(maxsize=4)
def _read(path: Path, _n_bytes: int, _changed_ns: int) -> Tokenizer:
    """Reads a file once for launcher and worker in one process; it takes 0.1 s."""
    return Tokenizer.from_file(str(path))


def _from_vocabulary(folder: Path) -> Tokenizer:
    """Byte-level BPE of an old checkpoint: `vocab.json`, `merges.txt` and `added_tokens.json`."""
    tokenizer = Tokenizer(BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    tokenizer.pre_tokenizer = ByteLevelSplit(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    added_file = folder / "added_tokens.json"
    added = json.loads(added_file.read_text("utf-8")) if added_file.is_file() else {}
    names = sorted(added, key=lambda name: int(added[name]))
    in_vocabulary = ["<|endoftext|>"] if tokenizer.token_to_id("<|endoftext|>") is not None else []
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in (*in_vocabulary, *names)])
    for name in names:
        if tokenizer.token_to_id(name) != added[name]:
            raise ValueError(
                f"{name} has the id {added[name]} in added_tokens.json, which is not the next one"
            )
    return tokenizer
