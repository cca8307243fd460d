from __future__ import annotations

import json
import os
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tests.support.servers import LOCAL, QUICK, send, serving
from transforms.core.errors import AudioError, ManifestError
from transforms.core.types import AudioSource, Failure
from transforms.core.uris import audio_id_of
from transforms.fetch.policy import FetchPolicy
from transforms.sources.manifests import ManifestShard, manifest_shards, read_manifest, read_manifest_shard

Listed = list[tuple[str, str | None]]


def listed(uri: str | Path, audio_column: str | None = None, text_column: str | None = None) -> Listed:
    sources = read_manifest(str(uri), audio_column, text_column)
    return [(source.uri, source.reference) for source in sources]


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_jsonl(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "m.jsonl",
        '{"audio_filepath": "a b.wav", "text": "eins, \\"zwei\\"", "duration": 3}\n\n'
        '{"path": "/data/new\\nline.wav", "sentence": null}\r\n'
        '{"url": "https://h/ü.mp3?x=1", "reference": 7}',
    )
    assert listed(path) == [
        (f"{tmp_path}/a b.wav", 'eins, "zwei"'),
        ("/data/new\nline.wav", None),
        ("https://h/ü.mp3?x=1", "7"),
    ]


def test_csv_with_a_byte_order_mark_quotes_and_newlines(tmp_path: Path) -> None:
    text = '\ufefffile,transcript,more\n"a,b.wav","eins\nzwei",x\n\n../c.wav,,y\n'
    assert listed(written(tmp_path, "m.CSV", text)) == [
        (f"{tmp_path}/a,b.wav", "eins\nzwei"),
        (f"{tmp_path.parent}/c.wav", ""),
    ]


def test_txt_has_one_uri_per_line(tmp_path: Path) -> None:
    path = written(tmp_path, "m.txt", "a b.wav\r\n\n#1 [x].wav\ngs://b/c.wav")
    expected = [(f"{tmp_path}/a b.wav", None), (f"{tmp_path}/#1 [x].wav", None), ("gs://b/c.wav", None)]
    assert listed(path) == expected
    assert listed(path, audio_column="file", text_column="said") == expected  # for other manifests


def test_file_name_that_is_not_unicode_is_preserved(tmp_path: Path) -> None:
    (uri, _), *_ = listed(written(tmp_path, "m.txt", b"caf\xe9.wav\n"))
    assert os.fsencode(uri) == os.fsencode(tmp_path) + b"/caf\xe9.wav"


def test_columns_can_be_chosen(tmp_path: Path) -> None:
    path = written(tmp_path, "m.csv", "audio,clip,text,said\na.wav,b.wav,eins,zwei\n")
    assert listed(path) == [(f"{tmp_path}/a.wav", "eins")]
    assert listed(path, "clip", "said") == [(f"{tmp_path}/b.wav", "zwei")]


def test_remote_manifest() -> None:
    fsspec.filesystem("memory").pipe("/lists/m.txt", b"a.wav\n../b.wav\n")
    assert listed("memory://lists/m.txt") == [("memory://lists/a.wav", None), ("memory://b.wav", None)]


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("m.jsonl", '{"path": "a.wav"}\n{"path": \n', "m.jsonl:2: not JSON"),
        ("m.jsonl", '{"path": "a.wav"}\n\n["a.wav"]\n', "m.jsonl:3: a JSON object was expected"),
        ("m.jsonl", '{"name": "a.wav"}', ":1: no column for the audio among name; name one with --audio"),
        ("m.jsonl", '{"path": 5}', ":1: path is 5, where"),
        ("m.jsonl", '{"path": {"bytes": "x"}}', ":1: path is {'bytes': 'x'}, where"),
        ("m.jsonl", '{"path": " "}', ":1: path is ' ', where"),
        ("m.csv", "path,text\na.wav,x\nb.wav\n", "m.csv:3: 1 fields, where the header has 2"),
        ("m.csv", "path,text\na.wav,eins, zwei\n", "m.csv:2: 3 fields, where the header has 2"),
        ("m.csv", 'path,text\na.wav,"x\n', "m.csv:2: not CSV: unexpected end of data; check its quotes"),
        ("m.csv", "name,text\na.wav,x\n", "m.csv:1: no column for the audio among name, text"),
        ("m.csv", "path,text\n,x\n", "m.csv:2: path is '', where"),
        ("m.tsv", "path\ttext\na.wav\tx\ty\n", "m.tsv:2: 3 fields"),
        ("m.txt", b"RIFF\0\0\0\0WAVE", "m.txt:1: uri is .*, where"),
        ("m.txt", "", "cannot read the manifest .*m.txt: 0 bytes"),
    ],
)  # fmt: skip
def test_error_of_an_invalid_line_has_its_number(
    tmp_path: Path, name: str, text: str | bytes, error: str
) -> None:
    with pytest.raises(ManifestError, match=error):
        listed(written(tmp_path, name, text))


def test_chosen_column_must_exist(tmp_path: Path) -> None:
    path = written(tmp_path, "m.csv", "path,text\na.wav,x\n")
    with pytest.raises(ManifestError, match=r":1: no column clip among path, text; .* --audio_column"):
        listed(path, audio_column="clip")
    with pytest.raises(ManifestError, match=r":1: no column said among path, text; .* --text_column"):
        listed(path, text_column="said")


def test_missing_manifest_is_an_error() -> None:
    with pytest.raises(ManifestError, match=r"cannot read the manifest memory://lists/none.csv"):
        listed("memory://lists/none.csv")


def test_lines_are_read_lazily(tmp_path: Path) -> None:
    sources = read_manifest(str(written(tmp_path, "m.jsonl", '{"path": "a.wav"}\nbroken')))
    assert next(sources).uri == f"{tmp_path}/a.wav"
    sources.close()  # type: ignore[attr-defined]


def test_prompts_and_hot_words_are_columns(tmp_path: Path) -> None:
    manifest = tmp_path / "talks.jsonl"
    lines = [
        {"path": "a.wav", "initial_prompt": "Dear sir,", "prompt": "no", "hotwords": "Caxton, Mainz"},
        {"path": "b.wav", "initial_prompt": "So", "hotwords": ""},
        {"path": "c.wav", "prompt": "the text to read"},
    ]
    manifest.write_text("\n".join(json.dumps(line) for line in lines))
    sources = list(read_manifest(str(manifest)))
    assert [(source.prompt, source.hotwords) for source in sources] == [
        ("Dear sir,", "Caxton, Mainz"),
        ("So", None),
        (None, None),
    ]


def test_a_recording_has_clips_of_its_own_or_is_a_failure(tmp_path: Path) -> None:
    lines = [
        {"path": "a.wav", "clip_timestamps": "0,12.5,60"},
        {"path": "a.wav", "clip_timestamps": [1, 2], "start": 30, "end": 40},
        {"path": "b.wav", "clip_timestamps": "12.5,0"},
        {"path": "c.wav", "clip_timestamps": None},
    ]
    jsonl = tmp_path / "talks.jsonl"
    jsonl.write_text("\n".join(json.dumps(line) for line in lines))
    whole, part, failure, other = found(jsonl)
    assert isinstance(whole, AudioSource)
    assert isinstance(part, AudioSource)
    assert isinstance(other, AudioSource)
    assert whole.clip_timestamps == ((0.0, 12.5), (60.0, None))
    assert whole.audio_id == audio_id_of(str(tmp_path / "a.wav"))
    assert (part.start_s, part.end_s, part.clip_timestamps) == (30.0, 40.0, ((1.0, 2.0),))
    assert isinstance(failure, Failure)
    assert "talks.jsonl:3: clip_timestamps: the clip from 12.5 s ends at 0 s" in failure.message
    assert other.clip_timestamps == ()
    table = tmp_path / "talks.csv"
    table.write_text('path,clip_timestamps\na.wav,"0,12.5,60"\nb.wav,\nc.wav,30\n')
    assert [one.clip_timestamps for one in found(table) if isinstance(one, AudioSource)] == [
        ((0.0, 12.5), (60.0, None)), (), ((30.0, None),),
    ]  # fmt: skip


def found(path: Path | str) -> list[AudioSource | Failure]:
    return [one for shard in manifest_shards(str(path)) for one in read_manifest_shard(shard)]


@pytest.mark.parametrize(
    ("name", "lines", "numbers"),
    [
        ("m.jsonl", ['{"path": "a.wav"}', "broken", "", '{"path": 1}', "[]", '{"path": "z.wav"}'], [2, 4, 5]),
        ("m.csv", ["path,text", "a.wav,x", "b.wav", "", "c.wav,y,z", ",x", "z.wav,x"], [3, 5, 6]),
        ("m.csv", ["path,text", "a.wav,x", 'b.wav,"lone', 'c.wav,"two', 'lines"', "z.wav,x"], [3]),
        ("m.csv", ["path,text", "a.wav,x", 'b.wav,"x"y', "z.wav,x"], [3]),
        ("m.tsv", ["path\ttext", "a.wav\tx", "b.wav", "z.wav\tx"], [3]),
        ("m.txt", ["a.wav", "b\0.wav", "z.wav"], [2]),
        ("m.jsonl", ['{"url": "a.wav"}', "[" * 9_999, '{"n": ' + "9" * 5000, '{"url": "z.wav"}'], [2, 3]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_invalid_line_is_a_failure_and_does_not_affect_others(
    tmp_path: Path, name: str, lines: list[str], numbers: list[int], end: str
) -> None:
    path = written(tmp_path, name, end.join(lines))
    sources = found(path)
    failures = [one for one in sources if isinstance(one, Failure)]
    assert [(one.uri, one.stage, one.kind) for one in failures] == [(str(path), "list", "bad_line")] * len(
        numbers
    )
    assert [one.message.split(": ")[0] for one in failures] == [f"{path}:{number}" for number in numbers]
    assert len({one.audio_id for one in failures}) == len(numbers)
    good = [Path(one.uri).name for one in sources if isinstance(one, AudioSource)]
    assert (good[0], good[-1]) == ("a.wav", "z.wav")


def test_long_manifest_has_few_shards_and_first_lines_are_single(tmp_path: Path) -> None:
    shards = list(
        manifest_shards(str(written(tmp_path, "m.txt", "".join(f"{n}.wav\n" for n in range(50_000)))))
    )
    assert len(shards) < 6_000
    assert shards[0].n_records == 1
    assert sum(shard.n_records for shard in shards) == 50_000
    names = [one.uri for shard in shards for one in read_manifest_shard(shard)]
    assert names == [f"{tmp_path}/{n}.wav" for n in range(50_000)]


CSV = b"\xef\xbb\xbfpath,text\na.wav,x\n\nb.wav\n"


def test_shard_of_a_local_file_is_a_range_of_bytes(tmp_path: Path) -> None:
    (shard,) = manifest_shards(str(written(tmp_path, "m.csv", "path\n\na.wav\n")))
    assert (shard.number, shard.start, shard.stop, shard.packed) == (3, 6, 12, None)


def test_shard_of_a_web_server_contains_its_lines() -> None:
    with serving(lambda handler: send(handler, 200, CSV)) as server:
        shards = list(manifest_shards(f"{server.url}/n.csv", policy=LOCAL))
    good, bad = [one for shard in shards for one in read_manifest_shard(shard)]
    assert good.uri == f"{server.url}/a.wav"
    assert isinstance(bad, Failure)
    assert bad.message.startswith(f"{server.url}/n.csv:4: 1 fields")


def test_workers_read_only_their_lines_from_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines of a million recordings would not fit into the graph."""
    memory = fsspec.filesystem("memory")
    lines = [f'clip-{n}.wav,"one\ntwo {n}"\n'.encode() for n in range(2_100)]
    memory.pipe("/lists/n.csv", b"\xef\xbb\xbfpath,text\n" + b"".join(lines))
    shards = list(manifest_shards("memory://lists/n.csv"))
    assert {shard.packed for shard in shards} == {None}
    n_bytes_read, cat_file = [], MemoryFileSystem.cat_file

    def counted(self: MemoryFileSystem, path: str, start: int, end: int) -> bytes:
        n_bytes_read.append(end - start)
        return cat_file(self, path, start, end)

    monkeypatch.setattr(MemoryFileSystem, "cat_file", counted)
    monkeypatch.setattr(MemoryFileSystem, "open", None)
    sources = [one for shard in shards for one in read_manifest_shard(shard)]
    assert [source.uri for source in sources] == [f"memory://lists/clip-{n}.wav" for n in range(2_100)]
    assert {source.reference for source in sources[:2]} == {"one\ntwo 0", "one\ntwo 1"}
    assert sum(n_bytes_read) == sum(map(len, lines))


def test_change_of_a_manifest_in_a_bucket_is_detected() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/lists/m.txt", b"a.wav\nb.wav\n")
    first, second = manifest_shards("memory://lists/m.txt")
    memory.pipe("/lists/m.txt", b"a.wav\nc")
    assert len(list(read_manifest_shard(first))) == 1
    with pytest.raises(AudioError, match="short_body: 1 of 6 bytes came"):
        list(read_manifest_shard(second, FetchPolicy(limits=QUICK)))
    memory.pipe("/lists/m.txt", b"a.wav\nc.wav\n")
    with pytest.raises(AudioError, match=r"list: changed: .*m.txt was changed while the run read it"):
        list(read_manifest_shard(second))
    memory.rm("/lists/m.txt")
    with pytest.raises(AudioError, match="fetch: not_found"):
        list(read_manifest_shard(first))


def test_change_of_a_local_manifest_is_detected(tmp_path: Path) -> None:
    path = written(tmp_path, "m.txt", "a.wav\nb.wav\n")
    first, second = manifest_shards(str(path))
    path.write_text("a.wav\nc.wav\n")
    assert len(list(read_manifest_shard(first))) == 1
    with pytest.raises(AudioError, match=r"list: changed: .*m.txt was changed while the run read it"):
        list(read_manifest_shard(second))


def test_fields_with_newlines_are_in_one_shard(tmp_path: Path) -> None:
    rows = "".join(f'{n}.wav,"one\ntwo, ""three"""\n' for n in range(3_000))
    sources = found(written(tmp_path, "m.csv", f"path,text\n{rows}"))
    assert len(sources) == 3_000
    assert {one.reference for one in sources if isinstance(one, AudioSource)} == {'one\ntwo, "three"'}


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("m.jsonl", b"\x1f\x8b\x08\0\0", "cannot read the manifest .*m.jsonl: cannot be unpacked to its end"),
        ("m.json", b'{\n "path": "a.wav"\n}', r":1: not JSON: .*; a \.json manifest has one object"),
        ("m.json", b'{"path": "a.wav"}'[:-1], "m.json:1: not JSON"),
        ("m.csv", b"\n\nwords\n", "m.csv:3: no column for the audio among words"),
    ],
)
def test_invalid_first_line_is_an_error(tmp_path: Path, name: str, content: bytes, error: str) -> None:
    with pytest.raises(ManifestError, match=error):
        list(manifest_shards(str(written(tmp_path, name, content))))


def test_bytes_that_are_not_unicode_are_preserved(tmp_path: Path) -> None:
    (source,) = found(written(tmp_path, "m.csv", b"path,text,who\na.wav,caf\xe9 \x81,\xe9\x81\n"))
    assert isinstance(source, AudioSource)
    assert source.reference == "caf\udce9 \udc81"
    metadata = {name: json.loads(value) for name, value in source.metadata}
    (remark,) = metadata.pop("remarks")
    assert remark.startswith("its line is neither UTF-8 nor Windows-1252: its bytes were kept")
    assert metadata == {"who": "\udce9\udc81"}


def test_row_has_clip_language_and_metadata(tmp_path: Path) -> None:
    lines = [
        {
            "path": "a.wav",
            "start": 1.5,
            "end": 3,
            "language": "German",
            "speaker": "x",
            "n": [1, {"y": None}],
        },
        {"audio_filepath": "a.wav", "offset": 4.0, "duration": 2.5},
        {"path": "a.wav", "start": 0, "end": ""},
        {"path": "a.wav", "duration": 7.5, "snr": float("nan")},
        {"path": "a.wav", "language": "en-US"},
    ]
    path = written(tmp_path, "m.jsonl", "\n".join(json.dumps(line) for line in lines))
    sources = [one for one in found(path) if isinstance(one, AudioSource)]
    assert [(one.start_s, one.end_s, one.language) for one in sources] == [
        (1.5, 3.0, "de"), (4.0, 6.5, None), (None, None, None), (None, None, None), (None, None, "en"),
    ]  # fmt: skip
    assert {name: json.loads(value) for name, value in sources[0].metadata} == {
        "speaker": "x", "n": [1, {"y": None}],
    }  # fmt: skip
    assert sources[3].metadata == (("duration", "7.5"), ("snr", "null"))
    audio = f"{tmp_path}/a.wav"
    assert [one.audio_id for one in sources] == [
        audio_id_of(audio, "#t=1.5,3"), audio_id_of(audio, "#t=4,6.5"), *[audio_id_of(audio)] * 3,
    ]  # fmt: skip
    assert sources[0].name == f"{audio}#t=1.5,3"


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ({"start": -1}, "start is -1, where seconds, 0 or more, were expected"),
        ({"start": 3, "end": 3}, "ends at 3 s, which is not after its start at 3 s"),
        ({"offset": 3, "duration": 0}, "ends at 3 s"),
    ],
)
def test_invalid_clip_is_a_failure(tmp_path: Path, row: dict[str, object], error: str) -> None:
    path = written(tmp_path, "m.jsonl", json.dumps({"path": "a.wav", **row}))
    (failure,) = found(path)
    assert isinstance(failure, Failure)
    assert error in failure.message


def test_shards_are_small(tmp_path: Path) -> None:
    (shard,) = manifest_shards(str(written(tmp_path, "m.txt", "a.wav")))
    assert shard == ManifestShard(f"{tmp_path}/m.txt", 1, 0, 5, 1, shard.digest)
    assert str(shard) == f"{tmp_path}/m.txt"


def test_forbidden_uri_is_a_failure_unless_manifests_are_trusted(tmp_path: Path) -> None:
    path = written(tmp_path, "m.txt", "file:///data/a.wav\nb.wav\nfile:///data/c.wav\nd.wav\n")
    *_, failure, last = sources = found(path)
    assert [Path(one.uri).name for one in sources] == ["m.txt", "b.wav", "m.txt", "d.wav"]
    assert isinstance(failure, Failure)
    assert isinstance(last, AudioSource)
    assert (failure.stage, failure.kind, failure.retryable) == ("list", "forbidden_uri", False)
    assert failure.audio_id == audio_id_of(str(path), "#line=3")
    assert failure.message.startswith(f"{path}:3: file:///data/c.wav is a file:// URL; ")
    assert "--trust_manifests" in failure.message
    with pytest.raises(ManifestError, match=r"m\.txt:1: file:///data/a\.wav is a file:// URL; "):
        listed(path)
    trusted = read_manifest(str(path), policy=FetchPolicy(trust_manifests=True))
    assert [source.uri for source in trusted] == [
        "/data/a.wav", f"{tmp_path}/b.wav", "/data/c.wav", f"{tmp_path}/d.wav",
    ]  # fmt: skip
