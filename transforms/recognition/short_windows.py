"""Which decodings of short windows are decoded again with 30 s.

The network is given less than 30 s of a short window (`model.window_length`), which it was not trained on. It
then sometimes misses the end of the audio, and writes a sentence twice. So whatever is not beyond doubt is
decoded as in training, before anything else is decided.
"""

from __future__ import annotations

import re

from model.interface import WindowResult
from transforms.core.text import has_letters
from transforms.recognition.fallback import FallbackPolicy
from transforms.recognition.window_languages import is_unsure

_LANGUAGE = "en"
"""Other languages lost words with less than 30 s, where whisper-base is less sure of them."""

_SURE_LOGPROB = -0.4
"""Average log probability below which a decoding is not beyond doubt. Of 200 commands of some 8 s,
whisper-base is below it in 17 %; in the others 1.5 % of the words differ from those with 30 s, and in all
of them 3.6 %."""

_MIN_PHRASE = 12
"""Letters of a phrase that is suspicious if it is written twice in a row: about three words."""

_MIN_APART = 24
"""The same if something is written in between: a short window has no refrains."""

_IDEOGRAPHS = 3
"""Letters of the alphabet that stand for one in writing with a letter for each syllable or word."""

_FIRST_IDEOGRAPH = "\u2e80"


def is_doubtful(result: WindowResult, fallback: FallbackPolicy) -> bool:
    """Whether the decoding of a short window is not to be used."""
    text = "".join(segment.text for segment in result.segments)
    fails = not fallback.is_sure(result) or not has_letters(text) or result.avg_logprob < _SURE_LOGPROB
    is_foreign = result.language != _LANGUAGE or is_unsure(result)
    return result.is_short and (fails or is_foreign or repeats_a_phrase(text))


def repeats_a_phrase(text: str) -> bool:
    """Whether a text has the same phrase twice.

    >>> repeats_a_phrase("It is modern, comparatively, it is modern, comparatively.")
    True
    >>> repeats_a_phrase("No, no, it is modern. No, no.")
    False
    """
    letters = "".join(filter(str.isalnum, text.casefold()))
    divisor = _IDEOGRAPHS if any(letter >= _FIRST_IDEOGRAPH for letter in letters) else 1
    in_a_row, apart = _MIN_PHRASE // divisor, _MIN_APART // divisor
    return bool(re.search(rf"(.{{{in_a_row},}}?)\1|(.{{{apart}}}).*\2", letters))
