"""Names of files made from names of recordings: safe on any filesystem, and unique in any run.

A recording's name is whatever somebody chose: a path, a URL with a query, other people's alphabets, or an
attempt at writing elsewhere. What comes of it is `STEM.AUDIO_ID.SUFFIX`. The stem is for people; the id makes
the name unique without a look at any other name, which workers do not know of, also where a filesystem
takes upper and lower case, or two spellings of a letter, for the same.
"""

from __future__ import annotations

import re
import unicodedata
from posixpath import splitext
from urllib.parse import unquote

from transforms.core.redaction import redact
from transforms.core.uris import is_url, plain

MAX_STEM_BYTES = 180
"""Of the 255 that a name may have: the id, a suffix, and what is added while the file is written fit too."""

_AUDIO_ID = (
    r"[0-9a-f]{16}(-\d{1,2})?"  # of `transforms.core.uris.audio_id_of`, or `transforms.core.types.of_channel`
)
_NO_NAME = "recording"
_JOINERS = "\u200c\u200d"  # invisible, but part of how Persian, Hindi and emoji are spelt
_UNSAFE_CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, invisible, half a character, ends of lines
_UNSAFE = frozenset('<>:"/\\|?*')  # on some filesystem or other
_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\..*)?", re.IGNORECASE)


def recording_file_name(uri: str, audio_id: str, suffix: str) -> str:
    """The name of a file about a recording: at most 205 bytes of UTF-8, one path component, not hidden.

    Args:
        uri: of the recording; credentials in it come into no name.
        audio_id: 16 hexadecimal digits, the recording's own; of a channel with its number behind.
        suffix: of the file, without the dot.

    Raises:
        ValueError: an `audio_id` of another form, which might name another folder, or no unique file.
    """
    if not re.fullmatch(_AUDIO_ID, audio_id):
        raise ValueError(f"audio_id {audio_id!r}: must be 16 hexadecimal digits, and perhaps a channel")
    return f"{safe_stem(uri)}.{audio_id}.{suffix}"


def recording_file_pattern(suffix: str) -> re.Pattern[str]:
    """What `recording_file_name` gives, and hardly a name that somebody else made up."""
    return re.compile(rf"[^/]+\.{_AUDIO_ID}\.{re.escape(suffix)}")


def safe_stem(uri: str) -> str:
    """What people call the recording, without its extension; `recording` where nothing is left of it.

    Composed (NFC), so that what looks the same is the same. What some system could not store, or what would
    hide or disguise the name, is `_`; what Windows takes for a device (`con.wav`) has one before it.
    """
    name = unicodedata.normalize("NFC", splitext(_last_part(uri))[0])
    name = "".join("_" if _is_unsafe(character) else character for character in name)
    name = _trimmed(name)
    if _DEVICES.fullmatch(name):
        name = f"_{name}"
    return _trimmed(name.encode()[:MAX_STEM_BYTES].decode(errors="ignore")) or _NO_NAME


def _last_part(uri: str) -> str:
    """The last component of a path or URL; of a chain such as `zip://a/b.wav::s3://c.zip`, of its first."""
    uri = redact(plain(uri))
    if not is_url(uri):
        return uri.rpartition("/")[2]
    first = next((part for part in uri.split("::") if "://" in part), uri)
    scheme, _, path = first.partition("://")
    if scheme.lower() in ("http", "https"):
        path = unquote(re.split("[?#]", path, maxsplit=1)[0], errors="replace")
    return path.rstrip("/").rpartition("/")[2]


def _is_unsafe(character: str) -> bool:
    if character in _JOINERS:
        return False
    return character in _UNSAFE or unicodedata.category(character) in _UNSAFE_CATEGORIES


def _trimmed(name: str) -> str:
    """Without what Windows drops from the end of a name, and what hides a name elsewhere from the front."""
    return name.strip(" .")
