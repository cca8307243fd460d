"""Names of files about recordings: safe on any filesystem, and unique in any run.

The name of a recording is arbitrary: a path, a URL with a query, any alphabet, or an attempt to write to
another folder. The file is named `STEM.AUDIO_ID.SUFFIX`. The stem is for people. The id makes the name unique
without knowledge of other names, which workers do not have, even on filesystems that ignore upper and lower
case or normalise Unicode.
"""

from __future__ import annotations

import re
import unicodedata
from posixpath import splitext
from urllib.parse import unquote

from transforms.core.redaction import redact
from transforms.core.uris import is_url, plain

MAX_STEM_BYTES = 180
"""Of the 255 bytes of a file name; the rest is for the id, the suffix, and the suffix of a partial file."""

_AUDIO_ID = r"[0-9a-f]{16}(-s\d{1,3})?(-\d{1,2})?"
"""See `transforms.core.uris.audio_id_of`, and `of_stream` and `of_channel` of `transforms.core.types`."""
_NO_NAME = "recording"
_JOINERS = "\u200c\u200d"  # invisible, but needed to write Persian, Hindi and emoji
_UNSAFE_CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, format, surrogate, line separator
_UNSAFE = frozenset('<>:"/\\|?*')  # on one filesystem or another
_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\..*)?", re.IGNORECASE)


def recording_file_name(uri: str, audio_id: str, suffix: str) -> str:
    """Returns the name of a file about a recording: at most 205 bytes of UTF-8, one component, not hidden.

    Args:
        uri: URI of the recording; credentials in it do not appear in the name.
        audio_id: `audio_id` of the recording: 16 hexadecimal digits, and the stream and channel if it is one.
        suffix: extension of the file, without the dot.

    Raises:
        ValueError: an `audio_id` of another form, which might name another folder or be ambiguous.
    """
    if not re.fullmatch(_AUDIO_ID, audio_id):
        raise ValueError(
            f"audio_id {audio_id!r}: must be 16 hexadecimal digits, and perhaps a stream or channel"
        )
    return f"{safe_stem(uri)}.{audio_id}.{suffix}"


def recording_file_pattern(suffix: str) -> re.Pattern[str]:
    """Returns the pattern of the names that `recording_file_name` returns."""
    return re.compile(rf"[^/]+\.{_AUDIO_ID}\.{re.escape(suffix)}")


def safe_stem(uri: str) -> str:
    """Returns the file name of the recording without its extension; `recording` if nothing is left of it.

    Unicode is composed (NFC), so that equal-looking names are equal. A character that some system cannot
    store, or that would hide or disguise the name, becomes `_`; the name of a Windows device (`con.wav`)
    gets a leading `_`.
    """
    name = unicodedata.normalize("NFC", splitext(_last_part(uri))[0])
    name = "".join("_" if _is_unsafe(character) else character for character in name)
    name = _trimmed(name)
    if _DEVICES.fullmatch(name):
        name = f"_{name}"
    return _trimmed(name.encode()[:MAX_STEM_BYTES].decode(errors="ignore")) or _NO_NAME


def _last_part(uri: str) -> str:
    """Returns the last component of a path or URL; of the first one in a chain (`zip://a/b.wav::s3://c.zip`)."""
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
    """Removes dots and spaces at the end, which Windows drops, and at the start, which hide a file."""
    return name.strip(" .")
