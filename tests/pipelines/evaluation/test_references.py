from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from pipelines.evaluation.references import Matches, Reference, match, read_references
from pipelines.evaluation.timestamp_errors import TimedText
from transforms.core.errors import InputError
from transforms.core.uris import audio_id_of


def written(path: Path, *rows: dict[str, object]) -> str:
    path.write_text("".join(f"{json.dumps(row)}\n\n" for row in rows))
    return str(path)


def references(*uris: str) -> dict[str, Reference]:
    return {audio_id_of(uri): Reference(uri, uri) for uri in uris}


def matched(given: dict[str, Reference], *uris: str) -> dict[str, str | None]:
    found = match(given, [(audio_id_of(uri), uri) for uri in uris])
    return {uri: found.by_id[audio_id_of(uri)].text for uri in uris if audio_id_of(uri) in found.by_id}


def test_texts_and_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segments = [{"start": 0, "end": 2, "text": "a b"}]
    words = [{"start": 0.0, "end": 0.5, "word": "a"}, {"start": 0.5, "end": 1, "text": "b"}]
    written(
        tmp_path / "m.jsonl",
        {"audio": "a.wav", "text": "a b", "words": words, "segments": segments},
        {"audio": "b.wav", "segments": segments, "words": []},
        {"audio": "c.wav", "text": ""},
        {"audio": "d.wav", "text": None},
    )
    monkeypatch.chdir(tmp_path)
    found = read_references("m.jsonl")
    a, b, c = f"{tmp_path}/a.wav", f"{tmp_path}/b.wav", f"{tmp_path}/c.wav"
    assert found == {
        audio_id_of(a): Reference(a, "a b", (TimedText(0.0, 0.5, "a"), TimedText(0.5, 1, "b"))),
        audio_id_of(b): Reference(b, None, (TimedText(0, 2, "a b"),)),
        audio_id_of(c): Reference(c, ""),
    }


@pytest.mark.parametrize("name", ["m.json", "m.json.gz", "m.jsonl.gz"])
def test_texts_and_times_of_other_json(tmp_path: Path, name: str) -> None:
    row = {"audio": "a.wav", "text": "a", "words": [{"start": 0.0, "end": 0.5, "word": "a"}]}
    text = json.dumps([row], indent=1) if ".json." in f"{name}." else json.dumps(row)
    data = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    (found,) = read_references(str(tmp_path / name)).values()
    assert found == Reference(f"{tmp_path}/a.wav", "a", (TimedText(0.0, 0.5, "a"),))


def test_tables_with_columns_of_any_name(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("clip,said,text\na.wav,this,that\n")
    (found,) = read_references(str(tmp_path / "m.csv"), "clip", "said").values()
    assert found == Reference(f"{tmp_path}/a.wav", "this")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"words": {"start": 0}}, "line 1: words is \"{'start': 0}\", where a list was expected"),
        ({"words": ["a"]}, r"line 1: words\[0\] is a, where"),
        ({"segments": [{"start": 0, "end": 1, "text": "a"}, {"start": 0, "text": "b"}]}, r"segments\[1\] is"),
        ({"words": [{"start": 0, "end": float("nan"), "word": "a"}]}, r"words\[0\] is"),
        ({"words": [{"start": 0, "end": 1}]}, r"words\[0\] is"),
    ],
)
def test_invalid_times_are_refused(tmp_path: Path, row: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_references(written(tmp_path / "m.jsonl", {"audio": "a.wav", **row}))


def test_references_of_the_same_recording_must_be_equal(tmp_path: Path) -> None:
    twice = [{"audio": "a.wav", "text": "this"}, {"audio": "./a.wav", "text": "this"}]
    assert len(read_references(written(tmp_path / "m.jsonl", *twice))) == 1
    with pytest.raises(InputError, match=r"two different references for .*/a\.wav; keep one"):
        read_references(written(tmp_path / "m.jsonl", *twice, {"audio": "a.wav", "text": "that"}))


@pytest.mark.parametrize("name", ["talks.txt", "talks.wav", "talks"])
def test_other_files_than_manifests_with_text_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"--references {name}: a manifest with a column of text"):
        read_references(name)


def test_path_takes_precedence_over_file_name() -> None:
    given = references("/a/1.wav", "/a/2.wav")
    assert matched(given, "/a/1.wav", "/b/1.wav", "/b/2.wav") == {
        "/a/1.wav": "/a/1.wav",
        "/b/2.wav": "/a/2.wav",
    }


def test_urls_match_without_credentials() -> None:
    given = references("https://u:p@h/1.wav", "https://other/talks/2.wav?x=1")
    assert matched(given, "https://h/1.wav", "https://h/2.wav?y=2") == {
        "https://h/1.wav": "https://u:p@h/1.wav",
        "https://h/2.wav?y=2": "https://other/talks/2.wav?x=1",
    }


@pytest.mark.parametrize(
    ("given", "recordings", "n_ambiguous", "n_unused"),
    [
        (["/a/1.wav", "/b/1.wav"], ["/c/1.wav"], 1, 2),
        (["/a/1.wav"], ["/b/1.wav", "/c/1.wav"], 2, 1),
        (["/a/1.wav"], ["/b/2.wav"], 0, 1),
    ],
)
def test_ambiguous_file_name_matches_nothing(
    given: list[str], recordings: list[str], n_ambiguous: int, n_unused: int
) -> None:
    named = [(audio_id_of(uri), uri) for uri in recordings]
    assert match(references(*given), named) == Matches({}, n_ambiguous, n_unused)


def test_recordings_may_repeat() -> None:
    given = references("/a/1.wav")
    twice = [(audio_id_of("/b/1.wav"), "/b/1.wav")] * 2
    assert match(given, twice) == Matches({audio_id_of("/b/1.wav"): given[audio_id_of("/a/1.wav")]})
