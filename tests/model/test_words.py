from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.checkpoint import Checkpoint
from model.interface import Word
from model.tokens import WhisperTokenizer
from model.words import merge_punctuation, split_words


class ByteTokenizer(WhisperTokenizer):
    """A tokenizer whose ids are indices of a list of byte strings."""

    def __init__(self, *token_texts: str | bytes) -> None:
        self.token_texts = [text.encode() if isinstance(text, str) else text for text in token_texts]

    def bytes_of(self, token: int) -> bytes:
        return self.token_texts[token]


def split(*token_texts: str | bytes, language: str = "en") -> list[tuple[str, int]]:
    tokenizer = ByteTokenizer(*token_texts)
    ids = range(len(token_texts))
    return [tuple(word) for word in split_words(ids, tokenizer, language)]


@pytest.mark.parametrize(
    ("token_texts", "words"),
    [
        ((" Hello", ",", " wor", "ld", "."), [(" Hello", 1), (",", 1), (" world", 2), (".", 1)]),
        ((' "', "Hello", ',"', " he", "."), [(' "Hello,"', 3), (" he", 1), (".", 1)]),
        ((" it", "'s", " 3", ".", "5", "%"), [(" it's", 2), (" 3", 1), (".5", 2), ("%", 1)]),
        (("No", " space"), [("No", 1), (" space", 1)]),
        (("...", " well", "..."), [("...", 1), (" well...", 2)]),
        ((" ", " x"), [(" ", 1), (" x", 1)]),
        ((" Gr", b"\xc3", b"\xb6", "sse"), [(" Grösse", 4)]),
        ((), []),
    ],
)
def test_words_are_cut_at_spaces_and_punctuation(
    token_texts: tuple[str | bytes, ...], words: list[tuple[str, int]]
) -> None:
    assert split(*token_texts) == words


def test_languages_without_spaces_are_cut_between_characters() -> None:
    # 私 is split over two tokens, the first of which also contains 、; は日 is one token.
    token_texts = ("それ", b"\xe3\x80\x81\xe7\xa7", b"\x81", "は日", "。")
    words = [("それ", 1), ("、私", 2), ("は日", 1), ("。", 1)]
    for language in ("ja", "zh", "th", "lo", "my", "yue"):
        assert split(*token_texts, language=language) == words
    assert split(*token_texts, language="ko") == [("それ、私は日。", 5)]


def test_invalid_utf8_is_not_lost() -> None:
    assert split(" a", b"\xe7\xa7", " b", language="en") == [(" a�", 2), (" b", 1)]
    assert split(" a", b"\xe7", language="ja") == [(" a", 1), ("�", 1)]
    # Two tokens that are one broken character, as the first one alone is.
    assert split(b"\xe7", b"\xa7", " b") == [("�", 2), (" b", 1)]
    assert split(" b", b"\xe7", b"\xa7") == [(" b�", 3)]


def test_a_broken_character_costs_itself_alone() -> None:
    # Once, all that follows a character whose tokens are broken each for themselves was one word.
    texts = (" a", b"\xe7", b"\xa7", " b", " c", b"\xff", " d", b"\xf0\x9f")
    assert split(*texts) == [(" a�", 3), (" b", 1), (" c�", 2), (" d�", 2)]
    assert split(*texts, language="ja") == [
        *((" a", 1), ("�", 2), (" b", 1), (" c", 1), ("�", 1), (" d", 1), ("�", 1)),
    ]


def test_tokens_without_a_character_are_counted() -> None:
    assert split(" one", "", " two", "") == [(" one", 1), (" two", 3)]
    assert split("", "") == [("", 2)]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=5), max_size=8), st.sampled_from(["en", "ja"]))
def test_all_text_and_all_tokens_are_in_the_words(token_texts: list[bytes], language: str) -> None:
    words = split(*token_texts, language=language)
    assert "".join(text for text, _ in words) == b"".join(token_texts).decode(errors="replace")
    assert sum(n for _, n in words) == len(token_texts)
    assert all(n > 0 for _, n in words)


def merged(*texts: str) -> list[tuple[str, int, int]]:
    """Texts of merged words, with the times of each: word i lasts from 10 i to 10 i + 9."""
    words = [Word(10 * i, 10 * i + 9, text, 0.1 * i) for i, text in enumerate(texts)]
    result = merge_punctuation(words)
    for word in result:
        assert word.probability == words[word.start // 10].probability
    return [(word.text, word.start, word.stop) for word in result]


def test_punctuation_is_merged_and_word_times_are_unchanged() -> None:
    assert merged(' "', "Hello", ",", '"', " he", " said", ".") == [
        (' "Hello,"', 10, 19),
        (" he", 40, 49),
        (" said.", 50, 59),
    ]


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ([" ¿", " Qué", "?"], [" ¿ Qué?"]),
        ([" (", " [", "a", "]", ")"], [" ( [a])"]),
        ([" 3", ".5", "%"], [" 3", ".5", "%"]),  # a per cent sign counts as a word
        ([" a", " -"], [" a", " -"]),  # no word follows it
        ([".", " a"], [".", " a"]),
        (["それ", "、", "私", "。"], ["それ、", "私。"]),
        ([" a ", "."], [" a ", "."]),
        ([" ", " a"], ["  a"]),
        ([], []),
    ],
)
def test_punctuation_is_merged_into_the_word_it_belongs_to(texts: list[str], words: list[str]) -> None:
    assert [text for text, *_ in merged(*texts)] == words


@given(st.lists(st.sampled_from([" a", "b", ",", ".", ' "', '"', " (", ")", " ", " -", "、"])))
def test_merging_loses_nothing(texts: list[str]) -> None:
    words = merged(*texts)
    assert "".join(text for text, *_ in words) == "".join(texts)
    assert [start for _, start, _ in words] == sorted(start for _, start, _ in words)


# The test below needs the real vocabulary.


@pytest.mark.weights
def test_the_real_vocabulary(packaged: Callable[[str], Checkpoint]) -> None:
    tokenizer = WhisperTokenizer(packaged("openai/whisper-base").tokenizer)

    def words(text: str, language: str) -> list[str]:
        split = split_words(tokenizer.encode_text(text), tokenizer, language)
        assert "".join(word.text for word in split) == text
        timed = [Word(0, 0, word.text, 1.0) for word in split]
        return [word.text for word in merge_punctuation(timed)]

    assert words(' "Hello," he said.', "en") == [' "Hello,"', " he", " said."]
    assert words(" It's 1,000 miles, isn't it?", "en") == [
        *(" It's", " 1", ",000", " miles,", " isn't", " it?"),
    ]
    assert words("薔薇の花、綺麗だ。", "ja")[0] == "薔"  # three bytes in two tokens
    assert words(" Привет, мир!", "ru") == [" Привет,", " мир!"]
