"""Finds the files that a list names, where they are not those beside the list of the very name.

A line that is not UTF-8 may name a file by bytes, or by characters of Windows-1252. The lists of Common Voice
name the files in the folder `clips` beside them. `transforms.core.uris.existing_path` has further spellings.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Collection, Iterator
from contextlib import suppress

from transforms.core.uris import is_url, join
from transforms.sources.file_types import manifest_kind
from transforms.sources.manifest_records import LEGACY_ENCODING

CLIPS = "clips"
_COMMON_VOICE = frozenset({"client_id", "path"})


class ListedFiles:
    """The files of a list.

    Nothing is searched for a list that is not a local file: its backslashes are slashes, as URLs have none,
    and its extension and columns say whether it is one of Common Voice.

    Args:
        base: the path or URL of the list.
        columns: the names in the list's header.
    """

    def __init__(self, base: str, columns: Collection[str] = ()) -> None:
        self._base, self._is_remote = base, is_url(base)
        is_common_voice = manifest_kind(base) == ".tsv" and _COMMON_VOICE.issubset(columns)
        folder = os.path.join(os.path.dirname(base), CLIPS)
        has_clips = is_common_voice if self._is_remote else os.path.isdir(folder)
        self._folders = ("", CLIPS) if has_clips else ("",)
        self._usual = CLIPS if has_clips and is_common_voice else ""

    def find(self, name: str, *, is_legacy: bool = False) -> str:
        """Returns the name under which a listed file exists, to be joined with the list's.

        Args:
            name: the name in the list, or a URL.
            is_legacy: whether the name was decoded as Windows-1252, while the file's may be the very bytes.
        """
        if is_url(name):
            return name
        is_plain = "/" not in name and "\\" not in name
        usual = self._usual if is_plain else ""
        if self._is_remote:
            return posixpath.join(usual, name.replace("\\", "/"))
        folders = self._folders if is_plain else ("",)
        spellings = list(_spellings(name)) if is_legacy else [name]
        if len(folders) == len(spellings) == 1:
            return name
        names = (posixpath.join(folder, spelling) for folder in folders for spelling in spellings)
        existing = (one for one in names if os.path.lexists(join(self._base, one)))
        return next(existing, posixpath.join(usual, spellings[0]))


def _spellings(name: str) -> Iterator[str]:
    with suppress(UnicodeEncodeError):  # an escape in JSON may be any character
        yield name.encode(LEGACY_ENCODING).decode("utf-8", "surrogateescape")
    yield name
