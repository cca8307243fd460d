"""Tokenizers of OpenAI's models for formats that carry none, or only the bytes of their tokens."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel as ByteLevelSplit

from model.formats.mapped_file import FormatError
from model.languages import LANGUAGES

ENGLISH, MULTILINGUAL, MULTILINGUAL_V3 = 51_864, 51_865, 51_866
"""Sizes of OpenAI's vocabularies: English only, with 99 languages, and with 100 from large-v3 on."""

_N_TEXT = {ENGLISH: 50_256, MULTILINGUAL: 50_257, MULTILINGUAL_V3: 50_257}
_N_LANGUAGES = {ENGLISH: 99, MULTILINGUAL: 99, MULTILINGUAL_V3: 100}
_END = "<|endoftext|>"
_MAX_TOKEN = 128  # bytes of the longest token, in GPT-2's vocabulary; merges take its square of time
_MAX_BYTES = 1 << 19  # of all tokens: 0.3 MB in both
_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))


def _byte_letters() -> dict[int, str]:
    """Returns the letter for each byte in the tokens of byte-level BPE (GPT-2's `bytes_to_unicode`)."""
    others = [byte for byte in range(256) if byte not in _PRINTABLE]
    return {byte: chr(byte) for byte in _PRINTABLE} | {byte: chr(256 + i) for i, byte in enumerate(others)}


BYTE_LETTERS = _byte_letters()
"""The letter for each byte in the tokens of byte-level BPE."""

Merges = list[tuple[str, str]]


def has_known_vocabulary(n_vocab: int) -> bool:
    """Whether a vocabulary of this size is one of OpenAI's."""
    return n_vocab in _N_TEXT


@lru_cache(maxsize=2)
def from_token_bytes(tokens: tuple[bytes, ...], n_vocab: int) -> Tokenizer:
    """Returns the tokenizer of a vocabulary in the order of the ids; merges follow from the order.

    Args:
        tokens: the bytes of each text token, perhaps with that of the end of text.
        n_vocab: size of the vocabulary with special tokens.

    Raises:
        FormatError: another vocabulary than OpenAI's kinds, or tokens that are not those of a byte-level BPE.
    """
    if not has_known_vocabulary(n_vocab):
        raise FormatError(f"a vocabulary of {n_vocab} tokens is none of OpenAI's")
    if len(tokens) == _N_TEXT[n_vocab] + 1 and tokens[-1] == _END.encode():
        tokens = tokens[:-1]
    if len(tokens) != _N_TEXT[n_vocab]:
        raise FormatError(f"it has {len(tokens)} text tokens, where {_N_TEXT[n_vocab]} were expected")
    if max(map(len, tokens)) > _MAX_TOKEN or sum(map(len, tokens)) > _MAX_BYTES:
        raise FormatError("its vocabulary has tokens that are longer than those of any Whisper")
    ids = {token: i for i, token in enumerate(tokens)}
    if len(ids) != len(tokens):
        raise FormatError("its vocabulary has a token twice")
    merges = [tuple(map(_spelling, _parts(token, ids))) for token in tokens if len(token) > 1]
    return _build({_spelling(token): i for token, i in ids.items()}, merges, n_vocab)  # type: ignore[arg-type]  # pairs


@lru_cache(maxsize=2)
def from_tokenizer_file(path: Path, n_vocab: int) -> Tokenizer:
    """Returns the tokenizer of `n_vocab` tokens, with the text tokens of another one of the same kind.

    Args:
        path: `tokenizer.json` of an OpenAI model: multilingual, or English only, as `n_vocab` is.
        n_vocab: size of the vocabulary with special tokens, one of OpenAI's.
    """
    model = json.loads(path.read_text("utf-8"))["model"]
    vocab = {token: i for token, i in model["vocab"].items() if i < _N_TEXT[n_vocab]}
    pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
    return _build(vocab, [(left, right) for left, right in pairs], n_vocab)


def _build(vocab: Mapping[str, int], merges: Merges, n_vocab: int) -> Tokenizer:
    tokenizer = Tokenizer(BPE(dict(vocab), merges))
    tokenizer.pre_tokenizer = ByteLevelSplit(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    languages = list(LANGUAGES)[: _N_LANGUAGES[n_vocab]]
    tasks = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
    names = [_END, *(f"<|{name}|>" for name in ("startoftranscript", *languages, *tasks))]
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in names])
    tokenizer.add_tokens([f"<|{i * 0.02:.2f}|>" for i in range(1501)])
    return tokenizer


def _parts(token: bytes, ids: Mapping[bytes, int]) -> Sequence[bytes]:
    """Returns the two tokens that are merged to a token: those that earlier merges leave of its bytes."""
    own = ids[token]
    splits = [
        (token[:i], token[i:])
        for i in range(1, len(token))
        if ids.get(token[:i], own) < own and ids.get(token[i:], own) < own
    ]
    if len(splits) == 1:
        return splits[0]
    if not splits:
        raise FormatError(f"the token {own} of its vocabulary does not follow from those before it")
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        found = [ids.get(left + right, own) for left, right in itertools.pairwise(parts)]
        first = found.index(min(found))
        if found[first] >= own:
            break
        parts[first : first + 2] = [parts[first] + parts[first + 1]]
    if len(parts) != 2 or any(part not in ids for part in parts):
        raise FormatError(f"the token {own} of its vocabulary does not follow from those before it")
    return parts


def _spelling(token: bytes) -> str:
    return "".join(BYTE_LETTERS[byte] for byte in token)
