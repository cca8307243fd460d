"""Types of files by their extension: audio, archives and manifests."""

from __future__ import annotations

from transforms.core.uris import is_http, suffix

AUDIO_SUFFIXES = frozenset({
    ".3gp", ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".asf", ".au", ".avi", ".caf", ".flac",
    ".flv", ".m4a", ".m4b", ".mka", ".mkv", ".mov", ".mp2", ".mp3", ".mp4", ".mpeg", ".mpg", ".oga", ".ogg",
    ".ogv", ".opus", ".rf64", ".snd", ".sph", ".ts", ".voc", ".w64", ".wav", ".webm", ".wma", ".wmv", ".wv",
})  # fmt: skip
"""Extensions of files that are read from a folder or an archive; a file named by the user may have any."""

ARCHIVE_SUFFIXES = (
    ".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz",
)  # fmt: skip
MANIFEST_SUFFIXES = (".jsonl", ".csv", ".tsv", ".txt")


def is_audio(uri: str) -> bool:
    """Whether the extension is one of audio or video."""
    return suffix(uri) in AUDIO_SUFFIXES


def is_archive(uri: str) -> bool:
    """Whether the extension is an archive's."""
    path = uri.partition("?")[0].partition("#")[0] if is_http(uri) else uri
    return path.lower().endswith(ARCHIVE_SUFFIXES)


def is_manifest(uri: str) -> bool:
    """Whether the extension is a manifest's."""
    return suffix(uri) in MANIFEST_SUFFIXES


def is_hidden(path: str) -> bool:
    """Whether a component of a relative path starts with a dot, or is the folder that macOS adds."""
    return any(
        (part.startswith(".") and part not in (".", "..")) or part == "__MACOSX" for part in path.split("/")
    )
