"""Tests `transforms.sources.manifests` on manifests as other programs write them."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path

import fsspec
import pytest

from tests.support.servers import LOCAL, send, serving
from transforms.core.errors import ManifestError
from transforms.core.types import AudioSource, Failure
from transforms.core.uris import audio_id_of
from transforms.sources.manifests import manifest_shards, read_manifest, read_manifest_shard


def found(path: Path | str) -> list[AudioSource | Failure]:
    return [one for shard in manifest_shards(str(path)) for one in read_manifest_shard(shard)]


def recordings(path: Path | str) -> list[AudioSource]:
    sources = found(path)
    assert not [one for one in sources if isinstance(one, Failure)]
    return [one for one in sources if isinstance(one, AudioSource)]


def listed(path: Path | str) -> list[tuple[str, str | None]]:
    return [(Path(one.uri).name, one.reference) for one in recordings(path)]


def remarks(source: AudioSource) -> list[str]:
    found: list[str] = json.loads(dict(source.metadata).get("remarks", "[]"))
    return found


LINES = [{"audio_filepath": "a.wav", "text": "eins"}, {"audio_filepath": "b.wav", "text": "zwei"}]
JSON_LINES = "".join(f"{json.dumps(line)}\n" for line in LINES)


@pytest.mark.parametrize("text", [JSON_LINES, json.dumps(LINES), json.dumps(LINES, indent=2)])
@pytest.mark.parametrize("name", ["train_manifest.json", "train_manifest.JSON.gz"])
def test_json(tmp_path: Path, name: str, text: str) -> None:
    data = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert listed(tmp_path / name) == [("a.wav", "eins"), ("b.wav", "zwei")]


def test_items_of_an_array_are_numbered(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(json.dumps([LINES[0], 7, {"path": 3}], indent=1))
    first, *failures = found(tmp_path / "m.json")
    assert isinstance(first, AudioSource)
    assert [one.message.split(": ")[0] for one in failures if isinstance(one, Failure)] == [
        f"{tmp_path}/m.json:2", f"{tmp_path}/m.json:3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.jsonl.gz", JSON_LINES),
        ("m.csv.gz", 'audio,text\na.wav,"eins"\nb.wav,zwei\n'),
        ("m.tsv.gz", "audio\ttext\na.wav\teins\nb.wav\tzwei\n"),
    ],
)
def test_packed_manifest(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(text.encode()))
    assert listed(tmp_path / name) == [("a.wav", "eins"), ("b.wav", "zwei")]
    assert [shard.packed is not None for shard in manifest_shards(f"{tmp_path}/{name}")] == [True, True]
    with serving(lambda handler: send(handler, 200, gzip.compress(text.encode()))) as server:
        shards = list(manifest_shards(f"{server.url}/{name}?x=1", policy=LOCAL))
    sources = [one for shard in shards for one in read_manifest_shard(shard)]
    assert [one.uri for one in sources] == [f"{server.url}/a.wav", f"{server.url}/b.wav"]


def test_packed_list_of_names(tmp_path: Path) -> None:
    (tmp_path / "m.txt.gz").write_bytes(gzip.compress(b"a.wav\n\nb.wav\n"))
    assert listed(tmp_path / "m.txt.gz") == [("a.wav", None), ("b.wav", None)]


def test_packed_manifest_that_was_cut_short_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl.gz").write_bytes(gzip.compress(JSON_LINES.encode())[:-4])
    with pytest.raises(ManifestError, match=r"m\.jsonl\.gz: cannot be unpacked to its end: it was cut short"):
        found(tmp_path / "m.jsonl.gz")


CSV = 'audio,text,who\nköln.wav,"Grüße, ""du""",Jörg\nb.wav,zwei,\n'


@pytest.mark.parametrize(
    ("encoding", "end"),
    [
        *itertools.product(["utf-8", "utf-8-sig", "utf-16", "cp1252"], ["\n", "\r\n", "\r"]),
        ("mac_roman", "\r"),
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_csv_of_excel(tmp_path: Path, encoding: str, end: str, delimiter: str) -> None:
    text = CSV if delimiter == "," else CSV.replace(",", ";").replace("Grüße;", "Grüße,")
    (tmp_path / "köln.wav").touch()
    (tmp_path / "m.csv").write_bytes(text.replace("\n", end).encode(encoding))
    assert listed(tmp_path / "m.csv") == [("köln.wav", 'Grüße, "du"'), ("b.wav", "zwei")]
    first, second = recordings(tmp_path / "m.csv")
    assert json.loads(dict(first.metadata)["who"]) == "Jörg"
    name = {"cp1252": "Windows-1252", "mac_roman": "Mac Roman"}.get(encoding)
    told = [f"its line is not UTF-8: it was read as {name}; save the manifest as UTF-8"] if name else []
    assert (remarks(first), remarks(second)) == (told, [])


def test_columns_of_the_same_name_are_all_kept(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,text,note,note,note_2,,\na.wav,x,1,2,3,4,5\n,,,,,,\n")
    (source,) = recordings(tmp_path / "m.csv")
    assert source.reference == "x"
    assert {name: json.loads(value) for name, value in source.metadata} == {
        "note": "2", "note_2": "3", "note_3": "1", "": "5", "_2": "4",
    }  # fmt: skip
    (tmp_path / "n.csv").write_text("path,path\na.wav,b.wav\n")
    assert listed(tmp_path / "n.csv") == [("b.wav", None)]


def test_csv_of_r_with_semicolons(tmp_path: Path) -> None:
    text = '\n"path";"text"\n"a.wav";"two\nlines"\nb.wav;"x;y"\n'
    (tmp_path / "m.csv").write_text(text)
    assert listed(tmp_path / "m.csv") == [("a.wav", "two\nlines"), ("b.wav", "x;y")]
    (tmp_path / "m.csv.gz").write_bytes(gzip.compress(text.encode()))
    assert listed(tmp_path / "m.csv.gz") == [("a.wav", "two\nlines"), ("b.wav", "x;y")]
    (tmp_path / "n.csv").write_text("id;speaker;audio_file_name\n1;A;a.wav\n")
    assert listed(tmp_path / "n.csv") == [("a.wav", None)]


@pytest.mark.parametrize(
    "text",
    [
        'path\tsentence\tx\n"Smith, John.wav"\thello\t\n',
        'path\tsentence\tx\n"Smith, John.wav"\t"hello"\tNA\n',
        '"path"\t"sentence"\t"x"\n"Smith, John.wav"\t"hello"\t2021-05-03\n',
    ],
)  # fmt: skip
def test_tsv_of_a_writer_that_quotes(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.tsv").write_text(text)
    assert listed(tmp_path / "m.tsv") == [("Smith, John.wav", "hello")]
    assert [one.audio_id for one in recordings(tmp_path / "m.tsv")] == [
        audio_id_of(f"{tmp_path}/Smith, John.wav")
    ]


def test_tsv_of_common_voice(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    sentences = ['"Hello, he said', '"Yes," he said, "and no."', 'x"', '"Hello."']
    for n in range(len(sentences)):
        (tmp_path / "clips" / f"{n}.mp3").touch()
    rows = "".join(f"id\t{n}.mp3\t{sentence}\t0\n" for n, sentence in enumerate(sentences))
    (tmp_path / "train.tsv").write_text(f"client_id\tpath\tsentence\tup_votes\n{rows}")
    assert [(one.uri, one.reference) for one in recordings(tmp_path / "train.tsv")] == [
        (f"{tmp_path}/clips/{n}.mp3", sentence) for n, sentence in enumerate(sentences)
    ]


def test_list_of_windows(tmp_path: Path) -> None:
    (tmp_path / "train" / "clips").mkdir(parents=True)
    (tmp_path / "train" / "clips" / "a.wav").touch()
    (tmp_path / "m.csv").write_bytes(b"\xef\xbb\xbfaudio,text\r\ntrain\\clips\\a.wav,hello\r\n")
    assert [one.uri for one in recordings(tmp_path / "m.csv")] == [f"{tmp_path}/train/clips/a.wav"]


def test_backslashes_of_a_remote_list_lead_to_no_file_of_the_machine() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/lists/m.txt", b"\\etc\\passwd\n..\\b.wav\n\\\\host\\c.wav\n")
    first, second, third = found("memory://lists/m.txt")
    assert [one.kind for one in (first, third) if isinstance(one, Failure)] == ["forbidden_uri"] * 2
    assert second.uri == "memory://b.wav"


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ("file_name,text", "a.wav"), ("audio_file_name,text", "a.wav"), ("speech_file_name,text", "a.wav"),
        ("image_file_name,audio_file_name", "b.wav"), ("file_name,path", "b.wav"),
    ],
)  # fmt: skip
def test_columns_of_file_names(tmp_path: Path, header: str, named: str) -> None:
    (tmp_path / "m.csv").write_text(f"{header}\na.wav,b.wav\n")
    assert [Path(one.uri).name for one in recordings(tmp_path / "m.csv")] == [named]


def test_several_columns_of_file_names_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("image_file_name,speech_file_name\na.png,b.wav\n")
    with pytest.raises(ManifestError, match="no column for the audio among image_file_name, "):
        found(tmp_path / "m.csv")
    (source,) = read_manifest(f"{tmp_path}/m.csv", "speech_file_name")
    assert Path(source.uri).name == "b.wav"


def test_lines_of_channels_are_recordings(tmp_path: Path) -> None:
    lines = [{"audio_filepath": "call.wav", "channel": n, "speaker": "AB"[n]} for n in (0, 1)]
    (tmp_path / "m.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    left, right = recordings(tmp_path / "m.jsonl")
    audio_id = audio_id_of(f"{tmp_path}/call.wav")
    assert (left.audio_id, right.audio_id) == (f"{audio_id}-0", f"{audio_id}-1")
    assert (left.channel, right.channel) == (0, 1)
    assert [dict(one.metadata) for one in (left, right)] == [{"speaker": '"A"'}, {"speaker": '"B"'}]


def test_channels_and_parts_of_an_audio_folder_are_metadata(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("file_name,channel,start\na.wav,1,2\n")
    (shard,) = manifest_shards(f"{tmp_path}/metadata.csv", "file_name", has_clips=False)
    (source,) = read_manifest_shard(shard)
    assert isinstance(source, AudioSource)
    assert (source.channel, source.start_s) == (None, None)
    assert dict(source.metadata) == {"channel": '"1"', "start": '"2"'}


def test_no_recording_is_lost_for_a_value_that_is_not_understood(tmp_path: Path) -> None:
    row = {"path": "a.wav", "language": "Klingon", "start": "2021-05-03", "channel": "BBC"}
    (tmp_path / "m.jsonl").write_text(json.dumps(row))
    (source,) = recordings(tmp_path / "m.jsonl")
    assert (source.language, source.start_s, source.channel) == (None, None, None)
    metadata = {name: json.loads(value) for name, value in source.metadata}
    assert [remark.split(",")[0] for remark in metadata.pop("remarks")] == [
        "start is '2021-05-03'", "channel is 'BBC'", "language is 'Klingon'",
    ]  # fmt: skip
    del row["path"]
    assert metadata == row
