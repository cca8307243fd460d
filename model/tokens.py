"""The tokenizer: text to and from ids, and segments of generated ids. No JAX."""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel as ByteLevelSplit

from model.config import DecodingConfig
from model.formats.contents import ModelFiles
from model.formats.vocabulary import BYTE_LETTERS
from model.interface import Segment
from model.special_tokens import (
    SAMPLES_PER_TIMESTAMP as SAMPLES_PER_TIMESTAMP,
)
from model.special_tokens import (
    SpecialTokens as SpecialTokens,
)
from model.special_tokens import (
    TokenizerError as TokenizerError,
)
from model.special_tokens import find_special, is_special_name

_LOCK = threading.Lock()
_NO_CONFIGS = DecodingConfig()
_BYTES = {letter: byte for byte, letter in BYTE_LETTERS.items()}


class WhisperTokenizer:
    """Converts between text and ids, and holds the special ids.

    Args:
        source: `tokenizer.json`, a folder with `vocab.json` and `merges.txt`, or a tokenizer that was built.
        decoding: what the configs of the checkpoint tell about its tokens.
        n_vocab: rows of its embedding; None if they are not known.

    Raises:
        TokenizerError: the files cannot be read, lack one of Whisper's tokens, or do not fit the weights.
    """

    def __init__(
        self, source: Path | Tokenizer, decoding: DecodingConfig = _NO_CONFIGS, n_vocab: int | None = None
    ) -> None:
        self._tokenizer = source if isinstance(source, Tokenizer) else _load(source)
        try:
            self.special = find_special(self._tokenizer, decoding, n_vocab)
        except TokenizerError as error:
            name = "its vocabulary" if isinstance(source, Tokenizer) else source
            raise TokenizerError(f"{name}: {error}") from None
        self._added = self._tokenizer.get_added_tokens_decoder()
        self._added_text = frozenset(self.special.added_text)

    def is_text(self, token: int) -> bool:
        """Whether an id is text: neither special nor a timestamp."""
        if token >= self.special.end_of_text:
            return token in self._added_text
        return not (token in self._added and self._added[token].special)

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of ids, without special tokens and timestamps.

        Where the bytes of the tokens are no character, it has U+FFFD, as with openai/whisper.
        """
        return b"".join(self.bytes_of(i) for i in ids if self.is_text(i)).decode(errors="replace")

    def bytes_of(self, token: int) -> bytes:
        """Returns the bytes of a token of text, which may be a part of a character."""
        if token in self._added:  # it stands as it is, and not in the alphabet of the others
            return str(self._added[token].content).encode()
        name = self._tokenizer.id_to_token(token) or ""
        return bytes(_BYTES[letter] for letter in name) if _BYTES.keys() >= set(name) else name.encode()

    def encode_text(self, text: str) -> list[int]:
        """Returns the ids of a text, without special tokens, even if they are written in the text."""
        return [i for i in self._tokenizer.encode(text, add_special_tokens=False).ids if self.is_text(i)]


def tokenizer_of(model: ModelFiles) -> WhisperTokenizer:
    """Returns the tokenizer of a model.

    Raises:
        TokenizerError: see `WhisperTokenizer`.
    """
    return WhisperTokenizer(model.tokenizer, model.decoding, model.config.n_vocab)


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
    kept = [token for token in ids if special.is_timestamp(token) or tokenizer.is_text(token)]
    for start, stop, tokens in _runs(kept, special, n_samples):
        text = tokenizer.decode(tokens)
        if text.strip():
            segments.append(Segment(start, stop, text, tuple(tokens)))
    if not complete and segments and not special.is_timestamp(kept[-1]):
        last = segments.pop()
        if not segments:
            segments.append(replace(last, is_cut=True))
    return tuple(segments)


def _runs(ids: Sequence[int], special: SpecialTokens, n_samples: int) -> Iterator[tuple[int, int, list[int]]]:
    """Yields runs of text ids with start and stop in samples; a run without a stop ends at `n_samples`."""
    start, tokens = 0, list[int]()
    for token in ids:
        if not special.is_timestamp(token):
            tokens.append(token)
            continue
        time = min((token - special.timestamp_begin) * SAMPLES_PER_TIMESTAMP, n_samples)
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
    listed = _listed_as_special(folder / "special_tokens_map.json")
    in_vocabulary = ["<|endoftext|>"] if tokenizer.token_to_id("<|endoftext|>") is not None else []
    for name in (*in_vocabulary, *names):
        token = AddedToken(name, normalized=False)
        if name in listed or is_special_name(name):
            tokenizer.add_special_tokens([token])
        else:
            tokenizer.add_tokens([token])
    for name in names:
        if tokenizer.token_to_id(name) != added[name]:
            raise ValueError(
                f"{name} has the id {added[name]} in added_tokens.json, which is not the next one"
            )
    return tokenizer


def _listed_as_special(file: Path) -> set[str]:
    """Returns the names of `additional_special_tokens` in a `special_tokens_map.json`, if there is one."""
    content = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    found = content.get("additional_special_tokens") or ()
    return {str(one["content"] if isinstance(one, dict) else one) for one in found}
