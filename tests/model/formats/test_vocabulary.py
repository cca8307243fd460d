import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import process_time

import pytest

from model.checkpoint import Checkpoint
from model.formats.mapped_file import FormatError
from model.formats.vocabulary import (
    ENGLISH,
    MULTILINGUAL,
    MULTILINGUAL_V3,
    from_token_bytes,
    from_tokenizer_file,
    has_known_vocabulary,
)
from model.languages import LANGUAGES
from model.tokens import WhisperTokenizer

KINDS = [("openai/whisper-base", MULTILINGUAL), ("openai/whisper-tiny.en", ENGLISH)]
TEXTS = [" Hello, world.", "naïve café — 日本語 🎵\n\n  x", " <|endoftext|> 1,000", "'s 're"]
Packaged = Callable[[str], Checkpoint]


def model_in(path: Path) -> dict[str, object]:
    return dict(json.loads(path.read_text("utf-8"))["model"])


def token_bytes(path: Path) -> tuple[bytes, ...]:
    """The bytes of the text tokens of a tokenizer.json, in the order of ids."""
    vocab = json.loads(path.read_text("utf-8"))["model"]["vocab"]
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    bytes_of = {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}
    names = sorted(vocab, key=lambda name: int(vocab[name]))
    return tuple(bytes(bytes_of[char] for char in name) for name in names)


@pytest.mark.weights
@pytest.mark.parametrize(("name", "n_vocab"), KINDS)
def test_merges_follow_from_the_order_of_tokens(name: str, n_vocab: int, packaged: Packaged) -> None:
    path = packaged(name).tokenizer
    assert isinstance(path, Path)
    built = json.loads(from_token_bytes(token_bytes(path), n_vocab).to_str())["model"]
    theirs = json.loads(path.read_text("utf-8"))["model"]
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in theirs["merges"]]
    assert [list(pair) for pair in built["merges"]] == pairs
    assert built["vocab"] == {token: i for token, i in theirs["vocab"].items() if token != "<|endoftext|>"}


@pytest.mark.weights
@pytest.mark.parametrize(("name", "n_vocab"), KINDS)
def test_built_tokenizers_are_those_of_openai(name: str, n_vocab: int, packaged: Packaged) -> None:
    path = packaged(name).tokenizer
    assert isinstance(path, Path)
    theirs = WhisperTokenizer(path)
    for built in (from_token_bytes(token_bytes(path), n_vocab), from_tokenizer_file(path, n_vocab)):
        ours = WhisperTokenizer(built)
        # English-only models have the languages of 2022, when Hebrew was called `iw`, and never use them.
        languages = theirs.special.languages if n_vocab == MULTILINGUAL else ours.special.languages
        assert ours.special == replace(theirs.special, languages=languages)
        for text in TEXTS:
            ids = theirs.encode_text(text)
            assert ours.encode_text(text) == ids
            assert ours.decode(ids) == theirs.decode(ids)


@pytest.mark.weights
def test_large_v3_has_another_language(packaged: Packaged) -> None:
    path = packaged("openai/whisper-base").tokenizer
    assert isinstance(path, Path)
    special = WhisperTokenizer(from_tokenizer_file(path, MULTILINGUAL_V3)).special
    assert list(special.languages) == list(LANGUAGES)
    assert (special.languages["yue"], special.translate, special.no_timestamps) == (50_358, 50_359, 50_364)
    assert special.timestamp_begin + 1501 == MULTILINGUAL_V3


def english(*changed: tuple[int, bytes]) -> tuple[bytes, ...]:
    """All bytes, and 50,000 pairs of them."""
    tokens = [bytes([b]) for b in range(256)] + [bytes([i // 256, i % 256]) for i in range(50_000)]
    for i, token in changed:
        tokens[i] = token
    return tuple(tokens)


def test_any_vocabulary_of_the_right_size_is_built() -> None:
    tokenizer = WhisperTokenizer(from_token_bytes((*english(), b"<|endoftext|>"), ENGLISH))
    assert tokenizer.special.end_of_text == 50_256
    assert tokenizer.encode_text("ab") == [256 + ord("a") * 256 + ord("b")]


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (english()[:-1], "has 50255 text tokens, where 50256"),
        (english((300, b"a")), "a token twice"),
        (english((300, b"abcd")), "token 300 of its vocabulary does not follow"),
        (english((300, b"x" * 129)), "longer than those of any Whisper"),
        (english(*((256 + i, b"%d" % i * 20) for i in range(10_000))), "longer than those of any Whisper"),
        (english((97, b"zzz")), "does not follow"),
    ],
)
def test_other_vocabularies_are_refused(tokens: tuple[bytes, ...], message: str) -> None:
    started = process_time()
    with pytest.raises(FormatError, match=message):
        from_token_bytes(tokens, ENGLISH)
    assert process_time() - started < 10


def test_hostile_vocabularies_take_seconds() -> None:
    """Each token has many splits, so that its merges must be found."""
    chars = [bytes([b]) for b in range(32)]
    long = [char * n for char in chars for n in range(2, 129)]
    tokens = [*english()[: 256 + 50_000 - len(long)], *long]
    distinct = list(dict.fromkeys(tokens))
    tokens = distinct + [bytes([200, 1 + i // 250, i % 250]) for i in range(50_256 - len(distinct))]
    started = process_time()
    with suppress(FormatError):
        from_token_bytes(tuple(tokens), ENGLISH)
    assert process_time() - started < 20


def test_sizes_of_vocabularies() -> None:
    assert has_known_vocabulary(MULTILINGUAL)
    assert not has_known_vocabulary(1000)
    with pytest.raises(FormatError, match="1000 tokens is none of OpenAI's"):
        from_token_bytes((b"a",), 1000)
