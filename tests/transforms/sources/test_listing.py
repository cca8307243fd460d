from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from unicodedata import normalize

import fsspec
import pytest

from transforms.core.errors import InputError, NoInputError
from transforms.core.metrics import CountingMetrics
from transforms.core.types import AudioSource, Failure
from transforms.core.uris import audio_id_of
from transforms.sources.folder_filter import FolderFilter
from transforms.sources.listing import expand, expand_all
from transforms.sources.output_folder import OutputFolder
from transforms.sources.passed_over import passed_over
from transforms.sources.work_items import Work, open_work


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    for name in [
        "b.WAV", "a.mp3", "notes.txt", "x.bin", ".hidden.wav", ".cache/c.wav", "2024/day one/ü.flac",
        "2024/z.opus", "2024/list.csv", "folder.wav/inside.wav",
    ]:  # fmt: skip
        path = tmp_path / "talks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "talks"


def opened(work: Iterable[Work]) -> Iterator[AudioSource]:
    for one in work:
        for source in open_work(one):
            assert not isinstance(source, Failure)
            yield source


def names(pattern: str | Path, root: Path) -> list[str]:
    return [os.path.relpath(source.uri, root) for source in opened(expand(str(pattern)))]


def test_audio_files_of_a_folder_are_listed_in_order(talks: Path) -> None:
    expected = ["2024/day one/ü.flac", "2024/z.opus", "a.mp3", "b.WAV", "folder.wav/inside.wav"]
    assert names(talks, talks) == expected
    assert names(f"{talks}/", talks) == expected


def test_what_a_folder_has_beside_recordings_is_counted(talks: Path, memory: str) -> None:
    (talks / "voicemail").write_bytes(b"OggS")
    (talks / "photo.JPG").write_bytes(b"RIFF\x10\0\0\0WAVE")  # its content is not looked at
    metrics = CountingMetrics()
    work = list(expand_all([str(talks)], folders=FolderFilter(metrics)))
    assert "voicemail" in [os.path.basename(source.uri) for source in opened(work)]
    assert passed_over(metrics.counters) == {
        "folders": {".bin": 1, ".csv": 1, ".jpg": 1, ".txt": 1, "hidden": 2}
    }
    metrics = CountingMetrics()
    list(expand(memory, folders=FolderFilter(metrics)))
    assert passed_over(metrics.counters) == {"folders": {".bin": 1, ".jsonl": 1, ".txt": 1, "hidden": 2}}
    with pytest.raises(NoInputError, match=r"; passed over: 1 \.docx, 1 without extension$"):
        list(expand(str(only_documents(talks))))


def only_documents(folder: Path) -> Path:
    (folder / "documents").mkdir()
    for name in ("a.docx", "README"):
        (folder / "documents" / name).write_text("text")
    return folder / "documents"


@pytest.mark.parametrize("place", ["local", "memory"])
def test_output_is_no_input(talks: Path, memory: str, place: str) -> None:
    def uris(*patterns: str) -> list[str]:
        folders = FolderFilter(output=OutputFolder(f"{root}/sub", lambda path: path == "d.bin"))
        found = opened(expand_all([f"{root}/{pattern}" for pattern in patterns], folders=folders))
        return [source.uri.removeprefix(f"{root}/") for source in found]

    root = memory if place == "memory" else str(talks)
    if place == "local":
        for name in ("b c.mp3", "sub/d.bin", "sub/ü.flac", "sub/e.wav"):
            (talks / name).parent.mkdir(exist_ok=True)
            (talks / name).write_bytes(b"x")
    assert not [uri for uri in [*uris(""), *uris("**/*")] if uri.startswith("sub/")]
    assert uris("sub/ü.flac") == ["sub/ü.flac"]  # a recording that lies there and is named
    assert uris("b c.mp3", "sub/d.bin") == ["b c.mp3"]  # a shell has expanded a glob
    assert "sub/ü.flac" in uris("sub")
    with pytest.raises(NoInputError, match="no recordings but what is in the output folder"):
        uris("sub/d.bin")
    with pytest.raises(NoInputError, match="no recordings match"):
        uris("b c.mp3", "**/*.xyz")


def test_name_in_another_unicode_form_is_found(tmp_path: Path) -> None:
    stored, typed = (normalize(form, "für.wav") for form in ("NFD", "NFC"))
    (tmp_path / stored).touch()
    (tmp_path / "list.txt").write_text(f"{typed}\n")
    for pattern in (typed, "list.txt", typed.replace("r", "?")):
        assert names(tmp_path / pattern, tmp_path) == [stored]


def test_source_is_a_plain_absolute_path(talks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(talks)
    monkeypatch.setenv("HOME", str(talks))
    path = str(talks / "a.mp3")
    for pattern in ["a.mp3", "./2024/../a.mp3", "a*3", f"file://{path}", "~/a.mp3"]:
        (source,) = opened(expand(pattern))
        assert (source.uri, source.audio_id, source.payload) == (path, audio_id_of(path), None)


def test_globs(talks: Path) -> None:
    assert names(talks / "**/*.wav", talks) == ["folder.wav/inside.wav"]
    assert names(talks / "*", talks) == ["a.mp3", "b.WAV", "notes.txt", "x.bin"]
    assert names(talks / "20??/**/*", talks) == ["2024/day one/ü.flac", "2024/list.csv", "2024/z.opus"]
    assert names(talks / "[ab].*", talks) == ["a.mp3", "b.WAV"]


def test_file_named_by_the_user_may_have_any_extension(talks: Path) -> None:
    assert names(talks / "x.bin", talks) == ["x.bin"]
    assert names(talks / ".hidden.wav", talks) == [".hidden.wav"]


@pytest.mark.parametrize(
    "name", ["a[1].wav", "what?.wav", "all*.wav", "new\nline.wav", "a::b.wav", "http:x.wav"]
)
def test_existing_path_is_not_a_glob(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).touch()
    (tmp_path / "a1.wav").touch()
    (tmp_path / "allx.wav").touch()
    monkeypatch.chdir(tmp_path)
    assert names(name, tmp_path) == [name]


def test_glob_within_a_folder_with_brackets(tmp_path: Path) -> None:
    for folder in ("talks [2024]", "talks 2"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.wav").touch()
    assert names(tmp_path / "talks [2024]" / "*.wav", tmp_path) == ["talks [2024]/a.wav"]
    assert names(tmp_path / "talks [0-9]" / "*.wav", tmp_path) == ["talks 2/a.wav"]


def test_links_to_files_are_listed_and_cycles_are_not_followed(talks: Path) -> None:
    (talks / "loop").symlink_to(talks)
    (talks / "link.wav").symlink_to(talks / "a.mp3")
    (talks / "dangling.wav").symlink_to(talks / "nowhere")
    listed = names(talks, talks)
    assert "link.wav" in listed
    assert "dangling.wav" in listed  # it fails when it is fetched, and so is not lost without a word
    assert not any(name.startswith("loop") for name in listed)


@pytest.mark.parametrize("pattern", ["none.wav", "*.ogg", "empty", "talks/**/*.xyz", "list.txt"])
def test_pattern_without_match_is_an_error(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(NoInputError, match=r"no recordings match '.*': check the spelling") as caught:
        list(expand(str(tmp_path / pattern)))
    assert str(tmp_path / pattern) in str(caught.value)


def test_http_urls_are_not_expanded() -> None:
    for url in ["https://h/a b.mp3?x=[1]*&y=2", "http://h/get", "HTTP://h/"]:
        assert [source.uri for source in opened(expand(url))] == [url]


def test_manifests_with_chosen_columns(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("clip,said\na.wav,eins\nb.wav,zwei\n")
    (tmp_path / "two.csv").write_text("clip,said\nc.wav,drei\n")
    sources = opened(expand(str(tmp_path / "*.csv"), audio_column="clip", text_column="said"))
    assert [(os.path.basename(s.uri), s.reference) for s in sources] == [
        ("a.wav", "eins"), ("b.wav", "zwei"), ("c.wav", "drei"),
    ]  # fmt: skip


@pytest.fixture
def memory() -> str:
    files = ["a.wav", "b c.mp3", "notes.txt", ".hidden.wav", "sub/ü.flac", "sub/.cache/x.wav", "sub/d.bin"]
    system = fsspec.filesystem("memory")
    for name in files:
        system.pipe(f"/talks/{name}", b"x")
    system.pipe("/talks/sub/list.jsonl", b'{"path": "../a.wav"}')
    return "memory://talks"


def test_any_file_system_is_listed(memory: str) -> None:
    def uris(pattern: str) -> list[str]:
        return [source.uri.removeprefix(f"{memory}/") for source in opened(expand(pattern))]

    assert uris(memory) == uris(f"{memory}/") == ["a.wav", "b c.mp3", "sub/ü.flac"]
    assert uris(f"{memory}/a.wav") == ["a.wav"]
    assert uris(f"{memory}/*.mp3") == ["b c.mp3"]
    assert uris(f"{memory}/**/*.flac") == ["sub/ü.flac"]
    assert uris(f"{memory}/sub/*") == ["sub/d.bin", "sub/list.jsonl", "sub/ü.flac"]
    assert uris(f"{memory}/sub/list.jsonl") == ["a.wav"]
    with pytest.raises(NoInputError, match=r"no recordings match 'memory://talks/none.wav'"):
        uris(f"{memory}/none.wav")


def test_url_keeps_its_host_and_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    class System:
        def isdir(self, _: str) -> bool:
            return False

        def exists(self, _: str) -> bool:
            return False

        def glob(self, path: str, detail: bool) -> dict[str, dict[str, str]]:
            assert detail
            assert path == "/talks/*.wav"
            return {
                "/talks/b.wav": {"type": "file"},
                "/talks/a.wav": {"type": "file"},
                "/talks/c.wav": {"type": "directory"},
            }

    monkeypatch.setattr("fsspec.core.url_to_fs", lambda _: (System(), "/talks/*.wav"))
    assert [source.uri for source in opened(expand("ftp://me:pw@host/talks/*.wav"))] == [
        "ftp://me:pw@host/talks/a.wav", "ftp://me:pw@host/talks/b.wav",
    ]  # fmt: skip


def test_error_of_listing_contains_no_credentials() -> None:
    with pytest.raises(InputError, match=r"cannot list 'nosuch://bucket/x': .*nosuch") as caught:
        list(expand("nosuch://key:secret@bucket/x"))
    assert "secret" not in str(caught.value)


def test_inside_of_an_archive_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.wav", b"x")
    with pytest.raises(InputError, match="name its files one by one, or in a manifest"):
        list(expand(f"zip://*.wav::{tmp_path}/a.zip"))


def test_unreadable_folder_is_an_error(talks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(InputError, match=r"cannot list .*Permission denied"):
        list(expand(str(talks)))


def test_expand_all_lists_each_recording_once_in_order(talks: Path) -> None:
    patterns = [str(talks / "b.WAV"), str(talks), "https://h/a.wav", "https://me:pw@h/a.wav"]
    uris = [os.path.basename(source.uri) for source in opened(expand_all(patterns))]
    assert uris == ["b.WAV", "ü.flac", "z.opus", "a.mp3", "inside.wav", "a.wav"]
    with pytest.raises(NoInputError):
        list(expand_all([str(talks), str(talks / "none.wav")]))


def test_cycle_of_links_is_one_failing_recording(tmp_path: Path) -> None:
    (tmp_path / "a.wav").symlink_to(tmp_path / "b.wav")
    (tmp_path / "b.wav").symlink_to(tmp_path / "a.wav")
    (tmp_path / "good.wav").write_bytes(b"x")
    names = [Path(source.uri).name for source in opened(expand(str(tmp_path)))]
    assert names == ["a.wav", "b.wav", "good.wav"]
