from __future__ import annotations

from model.language_names import ISO_CODES, NAMES
from model.languages import LANGUAGES


def test_each_language_has_its_three_letter_code_and_none_has_that_of_another() -> None:
    others = [other for codes in ISO_CODES.values() for other in codes.split()]
    assert len(others) == len(set(others))
    assert not set(others) & set(LANGUAGES)
    assert set(LANGUAGES) - set(ISO_CODES) == {"haw", "yue"}  # these are ISO 639-3's own
    assert all(len(codes.split()[0]) == 3 for codes in ISO_CODES.values())
    assert set(NAMES) <= set(LANGUAGES)
