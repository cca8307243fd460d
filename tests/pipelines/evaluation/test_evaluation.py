from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from pipelines.evaluation.evaluation import (
    PAGE_FILE,
    RECORDINGS_FILE,
    EvaluationError,
    _SortedLines,
    evaluate,
)
from pipelines.output.finished_run import NoRunError
from tests.support.finished_runs import evaluation, failure, row, scored, write_run


def manifest(path: Path, *rows: dict[str, object]) -> str:
    path.write_text("".join(f"{json.dumps(one)}\n" for one in rows))
    return str(path)


def line(uri: str, audio_id: str = "") -> bytes:
    return json.dumps({"uri": uri, "audio_id": audio_id}).encode() + b"\n"


def test_evaluate_writes_three_files_and_returns_the_sums(tmp_path: Path) -> None:
    out = write_run(tmp_path, [row("/b.wav", "a b", "a x")], [row("/a.wav", "c", "c"), row("/c.wav", "d")])
    before = json.loads((out / "run.json").read_text())
    tally = evaluate(str(out))
    assert (tally.total.recordings, tally.total.counts.wer, tally.without_reference) == (2, 1 / 3, 1)
    assert [one["uri"] for one in scored(out)] == ["/a.wav", "/b.wav"]
    assert (out / RECORDINGS_FILE).exists()
    assert "/b.wav" in (out / PAGE_FILE).read_text()
    assert evaluation(out)["references"] == "rows"
    after = json.loads((out / "run.json").read_text())
    del after["evaluation"]
    assert after == before


def test_given_references_take_precedence_and_failures_count_as_deleted(tmp_path: Path) -> None:
    out = write_run(tmp_path / "out", [row("/a.wav", "a b", "x y")], failures=[failure("/f.wav")])
    listed = [{"audio": "/a.wav", "text": "a b"}, {"audio": "/f.wav", "text": "three more words"}]
    tally = evaluate(str(out), manifest(tmp_path / "m.jsonl", *listed))
    assert tally.total.counts.deletions == 3
    (failed,) = tally.worst(transcribed=False)
    assert (failed.transcript, failed.language, failed.failure) == (None, "en", "not_found: gone")


def test_page_can_be_written_elsewhere(tmp_path: Path) -> None:
    out = write_run(tmp_path / "out", [row("/a.wav", "a", "b")])
    evaluate(str(out), html=str(tmp_path / "page.html"))
    assert "/a.wav" in (tmp_path / "page.html").read_text()
    assert not (out / PAGE_FILE).exists()


def test_run_that_cannot_be_evaluated_is_refused_and_not_changed(tmp_path: Path) -> None:
    out = write_run(tmp_path / "out", [row("/a.wav", "a")])
    files = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(EvaluationError, match="none of its rows has a reference; give --references"):
        evaluate(str(out))
    with pytest.raises(
        EvaluationError, match=r"none of its 1 references, such as /b\.wav, belongs to a recording"
    ):
        evaluate(str(out), manifest(tmp_path / "m.jsonl", {"audio": "/b.wav", "text": "b"}))
    with pytest.raises(EvaluationError, match="--worst -1: must be at least 0"):
        evaluate(str(out), worst=-1)
    with pytest.raises(NoRunError):
        evaluate(str(tmp_path))
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == files


def test_sorted_lines_merges_sorted_sequences() -> None:
    runs = [[line("a"), line("c", "1"), line("c", "2")], [], [line("b"), line("c", "0")]]
    merged = list(_SortedLines(io.BytesIO(), runs))
    assert merged == [line("a"), line("b"), line("c", "0"), line("c", "1"), line("c", "2")]


def test_empty_references_are_no_references(tmp_path: Path) -> None:
    rows = [
        row("/a.wav", "a b", "a b"),
        row("/b.wav", "thank you very much", ""),
        row("/c.wav", "so", "(laughs)"),
    ]
    out = write_run(tmp_path / "out", rows, failures=[failure("/f.wav"), failure("/g.wav")])
    listed: list[dict[str, object]] = [{"audio": "/f.wav", "text": " ... "}, {"audio": "/g.wav", "text": "x"}]
    tally = evaluate(str(out), manifest(tmp_path / "m.jsonl", *listed))
    assert (tally.total.recordings, tally.total.counts.insertions) == (2, 0)
    assert tally.empty_references == evaluation(out)["empty_references"] == 3
    assert [one["uri"] for one in scored(out)] == ["/a.wav", "/g.wav"]


def test_run_whose_references_are_all_empty_cannot_be_evaluated(tmp_path: Path) -> None:
    out = write_run(tmp_path / "out", [row("/a.wav", "a", ""), row("/b.wav", "b", "♪♪")])
    with pytest.raises(EvaluationError, match="2 references are empty, or without words once"):
        evaluate(str(out))


def test_empty_text_with_times_is_that_of_the_times(tmp_path: Path) -> None:
    out = write_run(tmp_path / "out", [row("/a.wav", "a b")])
    words = [{"start": 0.0, "end": 0.5, "word": "a"}, {"start": 0.5, "end": 1.0, "word": "b"}]
    given = manifest(tmp_path / "m.jsonl", {"audio": "/a.wav", "text": "", "words": words})
    assert evaluate(str(out), given).total.counts.n_words == 2
