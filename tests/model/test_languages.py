from __future__ import annotations

import pytest

from model.languages import LANGUAGES, code_of, is_undetermined


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("de", "de"), (" DE ", "de"), ("German", "de"), ("de-AT", "de"), ("pt_BR", "pt"),
        ("Haitian Creole", "ht"), ("kab", None), ("", None), ("x-de", None),
        # ISO 639-2 (both codes) and 639-3, members of macrolanguages, codes that are withdrawn
        ("deu", "de"), ("GER", "de"), ("eng", "en"), ("fra", "fr"), ("nb", "no"), ("nob", "no"),
        ("nno", "nn"), ("fil", "tl"), ("cmn", "zh"), ("yue", "yue"), ("arz", "ar"), ("zsm", "ms"),
        ("ind", "id"), ("iw", "he"), ("in", "id"), ("ji", "yi"), ("jv", "jw"), ("mo", "ro"), ("sh", "sr"),
        # tags and locales
        ("nb-NO", "no"), ("nn-NO", "nn"), ("no-nyn", "nn"), ("zh-TW", "zh"), ("zh-Hant-HK", "zh"),
        ("cmn-Hans", "zh"), ("cmn_hans_cn", "zh"), ("fil_ph", "tl"), ("jv_id", "jw"), ("eng_Latn", "en"),
        ("zh-yue", "yue"), ("zh-cmn-Hans", "zh"), ("nan-TW", "zh"), ("ml-IND", "ml"), ("es-419", "es"),
        ("de_AT.UTF-8", "de"), ("de_DE@euro", "de"),
        # names
        ("English (US)", "en"), ("Mandarin", "zh"), ("Mandarin Chinese", "zh"), ("Castilian", "es"),
        ("Spanish; Castilian", "es"), ("Flemish", "nl"), ("Greek, Modern (1453-)", "el"),
        ("Norwegian Bokmål", "no"), ("norwegian_nynorsk", "nn"), ("English - US", "en"), ("Burmese", "my"),
        ("Chinese (Cantonese)", "yue"), ("Chinese, Mandarin", "zh"), ("Norwegian (Nynorsk)", "nn"),
        ("Serbian (Latin)", "sr"), ("Serbo-Croatian", "sr"), ("Māori", "mi"), ("American English", "en"),
        # what is no one language of Whisper
        ("en,de", None), ("Hindi/English", None), ("Old English", None), ("English, Old (450-1100)", None),
        ("Klingon", None), ("nan", None), ("und", None), ("C", None), ("-", None), ("()", None),
    ],
)  # fmt: skip
def test_code_of_a_code_name_or_tag(language: str, code: str | None) -> None:
    assert code_of(language) == code


def test_codes_and_names_of_whisper_lead_to_themselves() -> None:
    for code, name in LANGUAGES.items():
        assert (code_of(code), code_of(name), code_of(f"{code}-XX")) == (code, code, code)


def test_aliases_of_openai_whisper() -> None:
    """They are those of `TO_LANGUAGE_CODE` in `whisper/tokenizer.py`."""
    aliases = {
        "burmese": "my", "valencian": "ca", "flemish": "nl", "haitian": "ht", "letzeburgesch": "lb",
        "pushto": "ps", "panjabi": "pa", "moldavian": "ro", "moldovan": "ro", "sinhalese": "si",
        "castilian": "es", "mandarin": "zh",
    }  # fmt: skip
    assert {alias: code_of(alias) for alias in aliases} == aliases


@pytest.mark.parametrize(
    ("language", "undetermined"),
    [
        ("und", True), ("und-Latn", True), ("MUL", True), ("zxx", True), ("auto", True), ("Unknown", True),
        ("", True), (" ", True), ("nan", True), ("en", False), ("kab", False), ("Klingon", False),
    ],
)  # fmt: skip
def test_what_stands_for_no_certain_language(language: str, undetermined: bool) -> None:
    assert is_undetermined(language) is undetermined
