"""Word and character error rates, over text normalised as in the Whisper paper (appendix C).

The one difference is that of marks (`pipelines.evaluation.normaliser`).

Rates are errors divided by the length of the reference, as fractions: 0.05 is 5 %, and a rate can exceed 1.
Languages written without spaces are scored by character, as in the paper: here each character is a word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from functools import cache
from itertools import starmap
from operator import add
from typing import Literal

from rapidfuzz.distance import Levenshtein
from whisper_normalizer.english import EnglishTextNormalizer

from pipelines.evaluation.normaliser import Normaliser
from transforms.core.text import UNSPACED_LANGUAGES

EditKind = Literal["equal", "substitution", "deletion", "insertion"]

_KINDS: dict[str, EditKind] = {
    "equal": "equal",
    "replace": "substitution",
    "delete": "deletion",
    "insert": "insertion",
}


@dataclass(frozen=True, slots=True)
class Edit:
    """Consecutive words with the same kind of edit in the alignment of a hypothesis with its reference.

    Attributes:
        kind: kind of edit. Both sides of a `substitution` have the same number of words, paired in order; a
            `deletion` has no `hypothesis`, an `insertion` no `reference`.
        reference: words of the reference.
        hypothesis: words of the hypothesis.
    """

    kind: EditKind
    reference: tuple[str, ...]
    hypothesis: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ErrorCounts:
    """Error counts of a recording, or sums over many.

    Attributes:
        n_words: words of the references; characters where the language has no spaces.
        substitutions: words of the references replaced by other words.
        deletions: words of the references that are missing in the hypotheses.
        insertions: words of the hypotheses that are not in the references.
        n_characters: characters of the references, including one space between words.
        character_errors: substitutions, deletions and insertions of characters.
    """

    n_words: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    n_characters: int = 0
    character_errors: int = 0

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        return ErrorCounts(*starmap(add, zip(astuple(self), astuple(other), strict=True)))

    @property
    def word_errors(self) -> int:
        """Substitutions, deletions and insertions of words."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def wer(self) -> float | None:
        """Word error rate; None if the references have no words."""
        return self.word_errors / self.n_words if self.n_words else None

    @property
    def cer(self) -> float | None:
        """Character error rate; None if the references have no characters."""
        return self.character_errors / self.n_characters if self.n_characters else None


def counts_characters(language: str | None) -> bool:
    """Whether the language (a code of Whisper's, or None) is scored by character."""
    return language in UNSPACED_LANGUAGES


def normalised_words(text: str, language: str | None) -> list[str]:
    """Returns the normalised words of a text: without case and punctuation, with uniform English spelling.

    Args:
        text: a reference or a transcript.
        language: code of its language; None if unknown.
    """
    if language == "en":
        return _english(text).split()
    return str(_basic(split_letters=counts_characters(language))(text)).split()


def align(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[Edit, ...]:
    """Returns an alignment of two lists of words with the fewest errors (Levenshtein); deterministic."""
    return tuple(
        Edit(
            _KINDS[code.tag],
            tuple(reference[code.src_start : code.src_end]),
            tuple(hypothesis[code.dest_start : code.dest_end]),
        )
        for code in Levenshtein.opcodes(reference, hypothesis)
    )


def count_errors(edits: Sequence[Edit], by_character: bool = False) -> ErrorCounts:
    """Counts the errors of one alignment.

    Args:
        edits: alignment, from `align`.
        by_character: whether the words are characters (`counts_characters`), so that both rates are equal.
    """
    n_words = sum(len(edit.reference) for edit in edits)
    lengths: Counter[EditKind] = Counter()
    for edit in edits:
        lengths[edit.kind] += max(len(edit.reference), len(edit.hypothesis))
    words = ErrorCounts(n_words, lengths["substitution"], lengths["deletion"], lengths["insertion"])
    if by_character:
        return replace(words, n_characters=n_words, character_errors=words.word_errors)
    reference = " ".join(word for edit in edits for word in edit.reference)
    hypothesis = " ".join(word for edit in edits for word in edit.hypothesis)
    # The alignment of words bounds the distance, which makes this up to 40 times as fast on hours of text.
    distance = Levenshtein.distance(reference, hypothesis, score_hint=sum(map(_bound, edits)))
    return replace(words, n_characters=len(reference), character_errors=distance)


def _bound(edit: Edit) -> int:
    """Returns an upper bound of the character errors in an edit, spaces included."""
    if edit.kind == "equal":
        return 0
    return max(sum(len(word) + 1 for word in side) for side in (edit.reference, edit.hypothesis))


def _english(text: str) -> str:
    try:
        return str(_english_normaliser()(text))
    except (AssertionError, ValueError):  # it fails on a number of 4,300 digits, which repetition produces
        return str(_basic(split_letters=False)(text))


@cache
def _english_normaliser() -> EnglishTextNormalizer:
    return EnglishTextNormalizer()


@cache
def _basic(split_letters: bool) -> Normaliser:
    return Normaliser(split_letters=split_letters)
