from __future__ import annotations

import json
import os
from pathlib import Path

import fsspec
import pytest

from transforms.errors import ManifestError
from transforms.manifests import read_manifest

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


def test_tsv_with_lone_quotes_loses_no_line(tmp_path: Path) -> None:
    text = 'client_id\tpath\tsentence\n1\ta.mp3\t"Hello, he said\n2\tb.mp3\t"She said ""no"""\n3\tc.mp3\tx"\n'
    assert listed(written(tmp_path, "m.tsv", text)) == [
        (f"{tmp_path}/a.mp3", '"Hello, he said'),
        (f"{tmp_path}/b.mp3", 'She said "no"'),
        (f"{tmp_path}/c.mp3", 'x"'),
    ]


def test_txt_has_a_name_a_line(tmp_path: Path) -> None:
    path = written(tmp_path, "m.txt", "a b.wav\r\n\n#1 [x].wav\ngs://b/c.wav")
    expected = [(f"{tmp_path}/a b.wav", None), (f"{tmp_path}/#1 [x].wav", None), ("gs://b/c.wav", None)]
    assert listed(path) == expected
    assert listed(path, audio_column="file", text_column="said") == expected  # for other manifests


def test_a_name_that_is_no_unicode_still_names_its_file(tmp_path: Path) -> None:
    (uri, _), *_ = listed(written(tmp_path, "m.txt", b"caf\xe9.wav\n"))
    assert os.fsencode(uri) == os.fsencode(tmp_path) + b"/caf\xe9.wav"


def test_columns_are_those_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, "m.csv", "audio,clip,text,said\na.wav,b.wav,eins,zwei\n")
    assert listed(path) == [(f"{tmp_path}/a.wav", "eins")]
    assert listed(path, "clip", "said") == [(f"{tmp_path}/b.wav", "zwei")]


def test_a_remote_manifest() -> None:
    fsspec.filesystem("memory").pipe("/lists/m.txt", b"a.wav\n../b.wav\n")
    assert listed("memory://lists/m.txt") == [("memory://lists/a.wav", None), ("memory://b.wav", None)]


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("m.jsonl", '{"path": "a.wav"}\n{"path": \n', "m.jsonl, line 2: no JSON"),
        ("m.jsonl", '{"path": "a.wav"}\n\n["a.wav"]\n', "m.jsonl, line 3: a JSON object was expected"),
        ("m.jsonl", '{"name": "a.wav"}', "line 1: no column for the audio among name; name one with --audio"),
        ("m.jsonl", '{"path": 5}', "line 1: path is 5, where"),
        ("m.jsonl", '{"path": {"bytes": "x"}}', "line 1: path is {'bytes': 'x'}, where"),
        ("m.jsonl", '{"path": " "}', "line 1: path is ' ', where"),
        ("m.csv", "path,text\na.wav,x\nb.wav\n", "m.csv, line 3: 1 fields, where the header has 2"),
        ("m.csv", "path,text\na.wav,eins, zwei\n", "m.csv, line 2: 3 fields, where the header has 2"),
        ("m.csv", 'path,text\na.wav,"x\n', "m.csv, line 2: no CSV: unexpected end of data; check its quotes"),
        ("m.csv", "name,text\na.wav,x\n", "m.csv, line 2: no column for the audio among name, text"),
        ("m.csv", "path,text\n,x\n", "m.csv, line 2: path is '', where"),
        ("m.tsv", "path\ttext\na.wav\tx\ty\n", "m.tsv, line 2: 3 fields"),
        ("m.txt", b"RIFF\0\0\0\0WAVE", "m.txt, line 1: uri is .*, where"),
        ("m.txt", "", "cannot read the manifest .*m.txt: 0 bytes"),
    ],
)  # fmt: skip
def test_a_bad_line_is_an_error_that_names_it(
    tmp_path: Path, name: str, text: str | bytes, error: str
) -> None:
    with pytest.raises(ManifestError, match=error):
        listed(written(tmp_path, name, text))


def test_a_column_asked_for_must_be_there(tmp_path: Path) -> None:
    path = written(tmp_path, "m.csv", "path,text\na.wav,x\n")
    with pytest.raises(ManifestError, match=r"line 2: no column clip among path, text; .* --audio_column"):
        listed(path, audio_column="clip")
    with pytest.raises(ManifestError, match=r"line 2: no column said among path, text; .* --text_column"):
        listed(path, text_column="said")


def test_a_missing_manifest_is_an_error() -> None:
    with pytest.raises(ManifestError, match=r"cannot read the manifest memory://lists/none.csv"):
        listed("memory://lists/none.csv")


def test_lines_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    sources = read_manifest(str(written(tmp_path, "m.jsonl", '{"path": "a.wav"}\nbroken')))
    assert next(sources).uri == f"{tmp_path}/a.wav"
    sources.close()  # type: ignore[attr-defined]


def test_prompts_and_hot_words_are_columns(tmp_path: Path) -> None:
    manifest = tmp_path / "talks.jsonl"
    lines = [
        {"path": "a.wav", "initial_prompt": "Dear sir,", "prompt": "no", "hotwords": "Caxton, Mainz"},
        {"path": "b.wav", "initial_prompt": "So", "hotwords": ""},
        {"path": "c.wav", "prompt": "what was to be read"},
    ]
    manifest.write_text("\n".join(json.dumps(line) for line in lines))
    sources = list(read_manifest(str(manifest)))
    assert [(source.prompt, source.hotwords) for source in sources] == [
        ("Dear sir,", "Caxton, Mainz"),
        ("So", None),
        (None, None),
    ]
