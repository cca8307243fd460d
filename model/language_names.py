"""Codes and names of Whisper's languages in other standards: ISO 639, BCP 47, openai/whisper.

This is a table and not a library. Libraries (`langcodes`, `babel`) normalise to the codes of CLDR, from which
Whisper's differ (`no` for `nb`, `tl` for `fil`, `jw` for `jv`, `yue` beside `zh`), so that such a table
would be needed beside them, and the names of 8,000 languages would be installed for those of a hundred.
"""

from __future__ import annotations

from collections.abc import Mapping

ISO_CODES: Mapping[str, str] = {
    "en": "eng",
    "zh": "zho chi cmn cdo cjy cnp cpx csp czh czo gan hak hsn lzh mnp nan wuu",
    "de": "deu ger",
    "es": "spa",
    "ru": "rus",
    "ko": "kor",
    "fr": "fra fre",
    "ja": "jpn",
    "pt": "por",
    "tr": "tur",
    "pl": "pol",
    "ca": "cat",
    "nl": "nld dut",
    "ar": (
        "ara aao abh abv acm acq acw acx acy adf aeb aec afb apc apd arb arq ars ary arz auz avl ayh ayl ayn "
        "ayp pga shu ssh"
    ),
    "sv": "swe",
    "it": "ita",
    "id": "ind in",
    "hi": "hin",
    "fi": "fin",
    "vi": "vie",
    "he": "heb iw",
    "uk": "ukr",
    "el": "ell gre",
    "ms": "msa may zlm zsm",
    "cs": "ces cze",
    "ro": "ron rum mol mo",
    "da": "dan",
    "hu": "hun",
    "ta": "tam",
    "no": "nor nob nb",
    "th": "tha",
    "ur": "urd",
    "hr": "hrv scr",
    "bg": "bul",
    "lt": "lit",
    "la": "lat",
    "mi": "mri mao",
    "ml": "mal",
    "cy": "cym wel",
    "sk": "slk slo",
    "te": "tel",
    "fa": "fas per pes prs",
    "lv": "lav lvs ltg",
    "bn": "ben",
    "sr": "srp scc hbs sh",
    "az": "aze azb azj",
    "sl": "slv",
    "kn": "kan",
    "et": "est ekk vro",
    "mk": "mkd mac",
    "br": "bre",
    "eu": "eus baq",
    "is": "isl ice",
    "hy": "hye arm",
    "ne": "nep npi dty",
    "mn": "mon khk mvf",
    "bs": "bos",
    "kk": "kaz",
    "sq": "sqi alb aae aat aln als",
    "sw": "swa swc swh",
    "gl": "glg",
    "mr": "mar",
    "pa": "pan",
    "si": "sin",
    "km": "khm",
    "sn": "sna",
    "yo": "yor",
    "so": "som",
    "af": "afr",
    "oc": "oci",
    "ka": "kat geo",
    "be": "bel",
    "tg": "tgk",
    "sd": "snd",
    "gu": "guj",
    "am": "amh",
    "yi": "yid ydd yih ji",
    "lo": "lao",
    "uz": "uzb uzn uzs",
    "fo": "fao",
    "ht": "hat",
    "ps": "pus pbt pbu pst",
    "tk": "tuk",
    "nn": "nno",
    "mt": "mlt",
    "sa": "san cls vsn",
    "lb": "ltz",
    "my": "mya bur",
    "bo": "bod tib",
    "tl": "tgl fil",
    "mg": "mlg bhr bmm bzc msh plt skg tdx tkg txy xmv xmw",
    "as": "asm",
    "tt": "tat",
    "ln": "lin",
    "ha": "hau",
    "ba": "bak",
    "jw": "jav jv",
    "su": "sun",
}
"""Further codes of each language: ISO 639-2 and 639-3, members of macrolanguages, codes that are withdrawn.

Members of a macrolanguage (ISO 639-3) lead to it unless Whisper has a code of their own, as for Cantonese,
Indonesian, Nynorsk and Bosnian. Of Malay, the standard language and Malay proper alone are here: the other
members are languages that their speakers do not call Malay.
"""

NAMES: Mapping[str, tuple[str, ...]] = {
    "en": ("american english", "british english"),
    "zh": ("mandarin", "mandarin chinese", "chinese mandarin", "simplified chinese", "traditional chinese"),
    "es": ("castilian", "latin american spanish"),
    "pt": ("brazilian portuguese", "european portuguese"),
    "ca": ("valencian",),
    "nl": ("flemish",),
    "ar": ("modern standard arabic", "standard arabic", "egyptian arabic"),
    "id": ("bahasa indonesia",),
    "el": ("modern greek", "greek modern"),
    "ms": ("bahasa melayu", "standard malay"),
    "ro": ("moldavian", "moldovan"),
    "no": ("bokmal", "norwegian bokmal", "bokmal norwegian"),
    "fa": ("farsi", "dari", "iranian persian"),
    "bn": ("bangla",),
    "sr": ("serbo croatian",),
    "az": ("azeri",),
    "sl": ("slovene",),
    "sw": ("kiswahili",),
    "pa": ("panjabi",),
    "si": ("sinhalese",),
    "km": ("central khmer",),
    "be": ("belorussian", "byelorussian"),
    "ht": ("haitian",),
    "ps": ("pushto",),
    "nn": ("norwegian nynorsk", "nynorsk norwegian"),
    "lb": ("letzeburgesch",),
    "my": ("burmese",),
    "tl": ("filipino",),
    "yue": ("yue chinese", "chinese yue", "cantonese chinese", "chinese cantonese"),
}
"""Further English names, as words without accents: of ISO 639, and the aliases of `whisper/tokenizer.py`."""

REGISTERED_TAGS: Mapping[str, str] = {"no-bok": "no", "no-nyn": "nn", "i-lux": "lb"}
"""Tags that were registered as a whole (RFC 5646, grandfathered), where their first part does not tell."""

UNDETERMINED = frozenset({
    "", "auto", "mis", "mul", "n/a", "nan", "none", "null", "und", "undetermined", "unknown", "zxx",
})  # fmt: skip
"""Values that name no certain language: codes of ISO 639-2, and those that tools write for a missing one.

`nan` is also the code of Min Nan, which only a tag such as `nan-TW` means for certain.
"""
