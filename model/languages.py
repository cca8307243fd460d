"""The languages of Whisper: codes and English names, and the codes, tags and names of other standards."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping

from model.language_names import ISO_CODES, NAMES, REGISTERED_TAGS, UNDETERMINED

# Codes and English names, in the order of the language tokens (`whisper/tokenizer.py`).
_FORM_OF_CODE = re.compile(r"(?=.{2,8}\Z)[A-Za-z]+(?:[-_][A-Za-z]+)*")

LANGUAGES: Mapping[str, str] = {
    "en": "english",
    "zh": "chinese",
    "de": "german",
    "es": "spanish",
    "ru": "russian",
    "ko": "korean",
    "fr": "french",
    "ja": "japanese",
    "pt": "portuguese",
    "tr": "turkish",
    "pl": "polish",
    "ca": "catalan",
    "nl": "dutch",
    "ar": "arabic",
    "sv": "swedish",
    "it": "italian",
    "id": "indonesian",
    "hi": "hindi",
    "fi": "finnish",
    "vi": "vietnamese",
    "he": "hebrew",
    "uk": "ukrainian",
    "el": "greek",
    "ms": "malay",
    "cs": "czech",
    "ro": "romanian",
    "da": "danish",
    "hu": "hungarian",
    "ta": "tamil",
    "no": "norwegian",
    "th": "thai",
    "ur": "urdu",
    "hr": "croatian",
    "bg": "bulgarian",
    "lt": "lithuanian",
    "la": "latin",
    "mi": "maori",
    "ml": "malayalam",
    "cy": "welsh",
    "sk": "slovak",
    "te": "telugu",
    "fa": "persian",
    "lv": "latvian",
    "bn": "bengali",
    "sr": "serbian",
    "az": "azerbaijani",
    "sl": "slovenian",
    "kn": "kannada",
    "et": "estonian",
    "mk": "macedonian",
    "br": "breton",
    "eu": "basque",
    "is": "icelandic",
    "hy": "armenian",
    "ne": "nepali",
    "mn": "mongolian",
    "bs": "bosnian",
    "kk": "kazakh",
    "sq": "albanian",
    "sw": "swahili",
    "gl": "galician",
    "mr": "marathi",
    "pa": "punjabi",
    "si": "sinhala",
    "km": "khmer",
    "sn": "shona",
    "yo": "yoruba",
    "so": "somali",
    "af": "afrikaans",
    "oc": "occitan",
    "ka": "georgian",
    "be": "belarusian",
    "tg": "tajik",
    "sd": "sindhi",
    "gu": "gujarati",
    "am": "amharic",
    "yi": "yiddish",
    "lo": "lao",
    "uz": "uzbek",
    "fo": "faroese",
    "ht": "haitian creole",
    "ps": "pashto",
    "tk": "turkmen",
    "nn": "nynorsk",
    "mt": "maltese",
    "sa": "sanskrit",
    "lb": "luxembourgish",
    "my": "myanmar",
    "bo": "tibetan",
    "tl": "tagalog",
    "mg": "malagasy",
    "as": "assamese",
    "tt": "tatar",
    "haw": "hawaiian",
    "ln": "lingala",
    "ha": "hausa",
    "ba": "bashkir",
    "jw": "javanese",
    "su": "sundanese",
    "yue": "cantonese",
}


def code_of(language: str) -> str | None:
    """Returns Whisper's code of a language; None for an unknown one.

    Args:
        language: a code of Whisper or of ISO 639-1, 639-2 or 639-3; a BCP 47 tag (`de-AT`, `cmn-Hans`) or a
            locale (`de_AT.UTF-8`), of which the language counts; or an English name, also one of several for
            the same language (`Spanish; Castilian`), with or without a qualifier (`English (US)`).

    >>> [code_of(language) for language in ("DE", "deu", "nb-NO", "cmn_hans_cn", "Flemish", "kab")]
    ['de', 'de', 'no', 'zh', 'nl', None]
    """
    wanted = _plain(language)
    if wanted in UNDETERMINED:
        return None
    for text in (_without_accents(language), wanted):  # first with the qualifier: Chinese (Cantonese)
        words = " ".join(re.findall(r"\w+", text))
        if words in _CODES:
            return _CODES[words]
    codes = {_code_of_tag(part.strip()) for part in re.split(r"[;,/]", wanted)}
    return codes.pop() if len(codes) == 1 else None  # several languages are not one


def code_among(language: str, codes: Collection[str]) -> str | None:
    """Returns the code that a model has for a language; None if it has none.

    A model that was trained further may have languages of its own: a code of the model is taken as it is
    written, before `code_of` is asked, which takes some for dialects of Whisper's languages.

    Args:
        language: a code of the model, in upper or lower case, or what `code_of` takes.
        codes: those of the model.

    >>> code_among("XYZ", ["en", "xyz"]), code_among("German", ["de"]), code_among("hak", ["hak", "zh"])
    ('xyz', 'de', 'hak')
    """
    wanted = language.strip().casefold()
    own = next((code for code in codes if code.casefold() == wanted), None)
    code = own or code_of(language)
    return code if code in codes else None


def may_be_code(language: str) -> bool:
    """Whether a text has the form of a code: 2 to 8 letters, in parts between hyphens or underscores."""
    return bool(_FORM_OF_CODE.fullmatch(language))


def is_undetermined(language: str) -> bool:
    """Whether a text stands for no certain language: `und`, `mul`, `auto`, `unknown`, an empty one."""
    wanted = _plain(language)
    return wanted in UNDETERMINED or wanted.startswith("und-")


def _plain(language: str) -> str:
    """Returns a name or tag in lower case, without accents and qualifiers, its parts separated by hyphens."""
    text = re.sub(r"\([^()]*\)", " ", _without_accents(language))
    return re.sub(" ?[-_] ?", "-", " ".join(text.split()))


def _without_accents(language: str) -> str:
    text = unicodedata.normalize("NFKD", language.casefold())
    return "".join(letter for letter in text if not unicodedata.combining(letter))


def _code_of_tag(tag: str) -> str | None:
    """Returns the code of a plain name, code or tag."""
    spelt = tag if tag in _CODES else tag.replace("-", " ")
    if spelt in _CODES:
        return _CODES[spelt]
    primary, *others = re.split(r"[-.@]", tag)
    if primary == "zh" and "yue" in others:  # BCP 47 has Cantonese as a kind of Chinese, too
        return "yue"
    return _CODES.get(primary)


_CODES: Mapping[str, str] = {
    **{name: code for code, name in LANGUAGES.items()},
    **{name: code for code, names in NAMES.items() for name in names},
    **{other: code for code, others in ISO_CODES.items() for other in others.split()},
    **REGISTERED_TAGS,
    **{code: code for code in LANGUAGES},
}
