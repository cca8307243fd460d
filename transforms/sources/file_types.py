"""Types of files by their extension: audio, archives, manifests, and what is known to be none of these."""

from __future__ import annotations

from transforms.core.uris import is_http, suffix

AUDIO_SUFFIXES = frozenset({
    # audio
    ".aa", ".aac", ".aax", ".ac3", ".adts", ".afc", ".aif", ".aifc", ".aiff", ".alaw", ".amr", ".ape",
    ".au", ".awb", ".bwf", ".caf", ".dff", ".dsf", ".dss", ".ds2", ".dts", ".dtshd", ".ec3", ".eac3",
    ".f4a", ".f4b", ".flac", ".g722", ".g726", ".g729", ".gsm", ".ircam", ".latm", ".loas", ".m1a", ".m2a",
    ".m4a", ".m4b", ".m4p", ".m4r", ".mac", ".mka", ".mlp", ".mogg", ".mp1", ".mp2", ".mp3", ".mpa", ".mpc",
    ".mpga", ".nist", ".oga", ".ogg", ".oma", ".opus", ".pcm", ".qcp", ".ra", ".rf64", ".sf", ".shn",
    ".sln", ".snd", ".sph", ".spx", ".tak", ".thd", ".tta", ".ulaw", ".voc", ".w64", ".wav", ".wave",
    ".weba", ".wma", ".wv", ".xwma",
    # video with a sound track
    ".3g2", ".3ga", ".3gp", ".3gp2", ".3gpp", ".amv", ".asf", ".avi", ".divx", ".dv", ".dvr-ms", ".f4v",
    ".flv", ".gxf", ".isma", ".ismv", ".m2p", ".m2t", ".m2ts", ".m4v", ".mj2", ".mk3d", ".mkv", ".mov",
    ".mp4", ".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogm", ".ogv", ".ogx", ".psp", ".qt", ".rm",
    ".rmvb", ".tod", ".tp", ".trp", ".ts", ".vob", ".webm", ".wmv", ".wtv",
})  # fmt: skip
"""Extensions of files that are read from a folder or an archive; a file named by the user may have any.

They are those of FFmpeg's formats that can hold sound, and the usual ones that FFmpeg knows by content only
(`.wave`, `.weba`, `.m4r`, `.mpga`, ...). A format that is not read is here too (`.dss`, `.rm`): its files are
recordings, and become failures. Left out are images (`.heic`, `.avif`), subtitles (`.mks`), playlists
(`.ism`, `.apl`), video without sound, music of modules and games, and the two-letter names of raw samples
(`.al`, `.ul`, `.sw`), which other programs use, too.
"""

ARCHIVE_SUFFIXES = (
    ".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz",
)  # fmt: skip
MANIFEST_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".txt")

OTHER_SUFFIXES = frozenset({
    # texts, tables, documents
    ".cfg", ".conf", ".css", ".csv", ".doc", ".docx", ".eaf", ".epub", ".htm", ".html", ".ini", ".js",
    ".json", ".jsonl", ".lab", ".log", ".lrc", ".md", ".odp", ".ods", ".odt", ".pdf", ".ppt", ".pptx",
    ".py", ".rst", ".rtf", ".rttm", ".sh", ".textgrid", ".toml", ".trn", ".trs", ".tsv", ".txt", ".xls",
    ".xlsx", ".xml", ".yaml", ".yml",
    # subtitles
    ".ass", ".dfxp", ".idx", ".mks", ".sbv", ".smi", ".srt", ".ssa", ".sub", ".ttml", ".vtt",
    # images
    ".avif", ".bmp", ".cr2", ".cr3", ".dng", ".gif", ".heic", ".heif", ".ico", ".jp2", ".jpeg", ".jpg",
    ".nef", ".png", ".psd", ".svg", ".tif", ".tiff", ".webp",
    # arrays, databases, models, other archives
    ".7z", ".arrow", ".bz2", ".ckpt", ".db", ".feather", ".gz", ".h5", ".hdf5", ".npy", ".npz", ".onnx",
    ".parquet", ".pickle", ".pkl", ".pt", ".pth", ".rar", ".safetensors", ".sqlite", ".tfrecord", ".xz",
    ".zst",
    # programs, and what audio programs and players write beside recordings
    ".asd", ".c", ".cue", ".dll", ".exe", ".h", ".jar", ".m3u", ".m3u8", ".md5", ".nfo", ".pek", ".pls",
    ".pyc", ".reapeaks", ".sfv", ".sha256", ".so", ".url", ".xmp",
    # downloads that are not complete
    ".crdownload", ".download", ".part", ".partial", ".tmp",
})  # fmt: skip
"""Common extensions of files that are no recordings: their content is not looked at."""


def is_audio(uri: str) -> bool:
    """Whether the extension is one of audio or video."""
    return suffix(uri) in AUDIO_SUFFIXES


def is_other(uri: str) -> bool:
    """Whether the extension is known to be neither one of audio nor an archive's."""
    return suffix(uri) in OTHER_SUFFIXES


def is_archive(uri: str) -> bool:
    """Whether the extension is an archive's."""
    path = uri.partition("?")[0].partition("#")[0] if is_http(uri) else uri
    return path.lower().endswith(ARCHIVE_SUFFIXES)


def is_manifest(uri: str) -> bool:
    """Whether the extension is a manifest's."""
    return manifest_kind(uri) is not None


def manifest_kind(uri: str) -> str | None:
    """Returns the extension of a manifest, without the `.gz` of a packed one; None if it is none."""
    found = suffix(uri)
    if found == ".gz":
        path = uri.partition("?")[0].partition("#")[0] if is_http(uri) else uri
        found = suffix(path[: -len(found)])
    return found if found in MANIFEST_SUFFIXES else None


def is_hidden(path: str) -> bool:
    """Whether a component of a relative path starts with a dot, or is the folder that macOS adds."""
    return any(
        (part.startswith(".") and part not in (".", "..")) or part == "__MACOSX" for part in path.split("/")
    )
