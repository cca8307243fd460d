"""The program, from the rows of a run to its output and files."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import fsspec
import pytest

from pipelines.evaluate import main
from pipelines.evaluation import evaluation as module
from pipelines.output.run_folder import RunFolder
from tests.support.finished_runs import evaluation, failure, row, scored, write_run
from tests.support.tone_backend import run as transcribe
from tests.support.tone_backend import snapshot, write_talk


def evaluate(out: Path | str, *flags: str) -> int:
    return main(["--run", str(out), *flags])


def manifest(path: Path, *rows: dict[str, object]) -> str:
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in rows), "utf-8")
    return str(path)


@pytest.mark.parametrize(
    "arguments",
    [["OUT"], ["--run", "OUT"], ["--run=OUT"], ["--worst", "5", "OUT"], ["OUT", "--text-column=t"]],
)
def test_the_folder_is_an_argument_or_an_option(arguments: list[str], tmp_path: Path) -> None:
    out = write_run(tmp_path / "a-run", [row("/a.wav", "a", "a")])
    assert main([word.replace("OUT", str(out)) for word in arguments]) == 0
    assert evaluation(out)["total"]["wer"] == 0


def test_a_folder_that_begins_with_a_dash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "--a-run", [row("/a.wav", "a", "a")])
    assert main(["--worst", "1", "--", "--a-run"]) == 0


def test_a_real_run_is_evaluated_from_its_manifest(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_talk(tmp_path / "a.wav", 3)
    write_talk(tmp_path / "b.wav", 2)
    listed = [{"path": "a.wav", "text": "En0 en7, en2!"}, {"path": "b.wav", "text": "en0 en1"}]
    source = manifest(tmp_path / "talks.jsonl", *listed)
    assert transcribe(Path(source), out) == 0
    before = json.loads((out / "run.json").read_text())
    capsys.readouterr()
    assert evaluate(out) == 0
    printed = capsys.readouterr().out
    assert "en           2     10  10.00  12.00            1        0         0" in printed
    assert f"the worst: {out}/evaluation/report.html" in printed
    after = json.loads((out / "run.json").read_text())
    report = after.pop("evaluation")
    assert after == before
    assert report["total"].items() >= {"words": 10, "wer": 0.1, "substitutions": 1, "recordings": 2}.items()
    assert report["references"] == "rows"
    assert report["normaliser"].startswith("whisper-normalizer 0.")
    assert "b.wav" not in (out / "evaluation/report.html").read_text()  # it has no errors
    assert transcribe(Path(source), out) == 0  # the run is still known as finished
    assert "evaluation" in json.loads((out / "run.json").read_text())


@pytest.mark.parametrize("parquet", [False, True])
def test_errors_by_recording_and_language(tmp_path: Path, parquet: bool) -> None:
    shards = [
        [row("/t/d.wav", "the cat sat down", "The cat sat."), row("/t/a.wav", "", "two words")],
        [row("/t/c.wav", "東京です", "東京都です。", "ja"), row("/t/b.wav", "thank you", "")],
        [row("/t/e.wav", "das Haus", "Das Haus", "de"), row("/t/f.wav", "nobody knows")],
    ]
    out = write_run(tmp_path, *shards, parquet=parquet)
    assert evaluate(out) == 0
    columns = (
        "uri",
        "unit",
        "words",
        "wer",
        "cer",
        "substitutions",
        "deletions",
        "insertions",
        "transcribed",
    )
    assert [tuple(one[column] for column in columns) for one in scored(out)] == [
        ("/t/a.wav", "words", 2, 1.0, 1.0, 0, 2, 0, True),
        ("/t/c.wav", "characters", 5, 0.2, 0.2, 0, 1, 0, True),
        ("/t/d.wav", "words", 3, round(1 / 3, 6), round(5 / 11, 6), 0, 0, 1, True),
        ("/t/e.wav", "words", 2, 0.0, 0.0, 0, 0, 0, True),
    ]
    report = evaluation(out)
    assert (report["total"]["words"], report["total"]["wer"], report["without_reference"]) == (
        12,
        round(4 / 12, 6),
        1,
    )
    assert report["empty_references"] == 1
    assert {name: group["words"] for name, group in report["languages"].items()} == {
        "de": 2,
        "en": 5,
        "ja": 5,
    }


def test_a_rerun_gives_the_same_bytes(tmp_path: Path) -> None:
    rows = [row(f"/{n}.wav", f"a b{n}", f"a b{n % 3}") for n in range(30)]
    out = write_run(tmp_path, rows[::2], rows[1::2])
    assert evaluate(out) == 0
    first = snapshot(out)
    assert evaluate(out, "--worst", "5") == 0
    assert snapshot(out) != first
    assert evaluate(out) == 0
    assert snapshot(out) == first
    assert [one["uri"] for one in scored(out)] == sorted(one["uri"] for one in rows)


def test_references_of_a_manifest_by_path_and_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        row("/t/a.wav", "a b"),
        row("/t/b.wav", "c d", "own words"),
        row("/t/c.wav", "e"),
        row("/x/d.wav", "f"),
    ]
    out = write_run(tmp_path / "out", [*rows, row("/y/d.wav", "g"), row("/t/own.wav", "mine", "mine")])
    references = manifest(
        tmp_path / "m.jsonl",
        {"audio": "/t/a.wav", "text": "a x"},
        {"audio": "/elsewhere/b.wav", "text": "c d"},
        {"audio": "/elsewhere/d.wav", "text": "whose?"},
        {"audio": "/t/nobody.wav", "text": "unused"},
    )
    assert evaluate(out, "--references", references) == 0
    assert {one["uri"]: one["wer"] for one in scored(out)} == {
        "/t/a.wav": 0.5,
        "/t/b.wav": 0,
        "/t/own.wav": 0,
    }
    report = evaluation(out)
    assert report["references"] == references
    assert (report["without_reference"], report["ambiguous_names"], report["unused_references"]) == (3, 2, 2)
    assert "recordings whose file name matches several references or recordings: 2" in capsys.readouterr().out


def test_all_words_of_a_failed_recording_are_deletions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row("/t/b.wav", "c'est vrai", language="fr"), row("/t/cut.wav", "oui", "oui", language="fr")]
    failures = [
        failure("/t/a.wav"),
        failure("/t/a.wav", "again"),
        failure("/t/cut.wav", "truncated"),
        failure("/t/x"),
    ]
    out = write_run(tmp_path / "out", rows, failures=failures)
    listed = [
        {"audio": "/t/a.wav", "text": "cinq mots en français, non?"},
        {"audio": "/t/b.wav", "text": "c'est vrai"},
    ]
    assert evaluate(out, "--references", manifest(tmp_path / "m.jsonl", *listed)) == 0
    lost, *others = scored(out)
    assert lost.items() >= {"uri": "/t/a.wav", "transcribed": False, "deletions": 5, "language": "fr"}.items()
    assert [one["wer"] for one in others] == [0, 0]
    report = evaluation(out)
    assert (report["total"]["recordings"], report["total"]["not_transcribed"]) == (3, 1)
    assert (report["total"]["wer"], report["failed_without_reference"]) == (round(5 / 9, 6), 1)
    assert "not_found: gone" in (out / "evaluation/report.html").read_text()
    assert "recordings without a transcript, all words deleted: 1" in capsys.readouterr().out


def test_a_translation_is_english(tmp_path: Path) -> None:
    out = write_run(tmp_path, [row("/a.wav", "The colour red", "the color red", "ja")], task="translate")
    assert evaluate(out) == 0
    assert evaluation(out)["languages"]["ja"].items() >= {"unit": "words", "words": 3, "wer": 0.0}.items()


def test_times_of_words_and_of_segments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [{"start": 0.1, "end": 0.5, "word": " two", "probability": 1.0}]
    words += [{"start": 0.5, "end": 1.25, "word": " words.", "probability": 1.0}]
    segments = [{"id": 0, "start": 0.1, "end": 1.25, "text": " two words.", "words": words}]
    timed = row("/t/a.wav", "two words.", segments=segments)
    coarse = row("/t/b.wav", "one segment", segments=[{"start": 0.0, "end": 2.0, "text": " one segment"}])
    out = write_run(tmp_path / "out", [timed, coarse, row("/t/c.wav", "c")], parquet=True)
    said = [{"start": 0, "end": 0.5, "word": "two"}, {"start": 0.5, "end": 1, "word": "words"}]
    segment = {"start": 0.3, "end": 1.5, "text": "One segment"}
    listed = [
        {"audio": "/t/a.wav", "words": said},
        {"audio": "/t/b.wav", "text": "1 segment", "segments": [segment]},
    ]
    assert evaluate(out, "--references", manifest(tmp_path / "m.jsonl", *listed)) == 0
    report = evaluation(out)["timestamps"]
    assert report["recordings"] == 2
    assert report["starts"].items() >= {"compared": 3, "median_s": 0.1, "p95_s": 0.3}.items()
    assert (
        report["ends"].items()
        >= {"compared": 3, "median_s": 0.25, "p95_s": 0.5, "within_0.2_s": 0.333333}.items()
    )
    assert [one["timestamps"] is None for one in scored(out)] == [False, False]
    assert [one["wer"] for one in scored(out)] == [0, 0]
    assert "starts of words: 3 compared, half within 0.100 s" in capsys.readouterr().out


def test_hostile_text_reaches_the_page_as_text(tmp_path: Path) -> None:
    hostile = "<script>alert('x')</script>"
    out = write_run(tmp_path, [row(f"/t/{hostile}.wav", f"ab {hostile}", "cd")])
    assert evaluate(out) == 0
    page = (out / "evaluation/report.html").read_text()
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 2  # the name, and the text as it was written


def test_the_folder_may_be_a_url(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    local = write_run(tmp_path / "out", [row("/a.wav", "a", "b")], parquet=True)
    url = f"memory://{tmp_path.name}/out"
    fsspec.filesystem("memory").put(f"{local}/", f"/{tmp_path.name}/out", recursive=True)
    assert evaluate(f"{url}/", "--html", str(tmp_path / "page.html")) == 0
    with RunFolder(url).open("run.json") as file:
        assert json.load(file)["evaluation"]["total"]["wer"] == 1
    assert not fsspec.filesystem("memory").exists(f"{url}/evaluation/report.html")
    assert "<h3>/a.wav</h3>" in (tmp_path / "page.html").read_text()
    assert f"the worst: {tmp_path}/page.html" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], "none of its rows has a reference; give --references a manifest"),
        (
            ["--references", "m.jsonl"],
            "none of its 1 references, such as /t/other.wav, belongs to a recording",
        ),
        (["--references", "none.csv"], "cannot read the manifest"),
        (["--references", "m.txt"], "a manifest with a column of text was expected"),
        (["--references", "m.jsonl", "--text_column", "said"], "no column said among audio, text"),
        (["--worst", "-1"], "--worst -1: must be at least 0"),
        (["--worst", "many"], "invalid int value: 'many'"),
        (["--best=3"], "unrecognized arguments: --best=3; --help"),
        (["--html-page", "x"], "unrecognized arguments: --html_page (did you mean --html?)"),
        (["--referenecs=m.jsonl"], "--referenecs=m.jsonl (did you mean --references?); --help"),
        (["other"], "give the run's folder once: as an argument, or with --run"),
        (["--run", "nowhere"], "--run nowhere: no finished run is there"),
    ],
)
def test_refusals_have_a_message_and_change_nothing(
    flags: Sequence[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    manifest(tmp_path / "m.jsonl", {"audio": "/t/other.wav", "text": "other"})
    out = write_run(tmp_path / "out", [row("/t/a.wav", "a")], failures=[failure("/t/b.wav")])
    before = snapshot(out)
    assert evaluate(out, *flags) == 1
    message = capsys.readouterr().err
    assert message.startswith("Nothing was evaluated: ")
    assert expected in message
    assert "Traceback" not in message
    assert snapshot(out) == before


def test_a_missing_file_of_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = write_run(tmp_path, [row("/a.wav", "a", "a")])
    shutil.rmtree(out / "jsonl")
    assert evaluate(out) == 1
    assert "jsonl/part-00000-of-00001.jsonl" in capsys.readouterr().err


def test_ctrl_c_gives_130(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(url: str) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(module, "open_run", interrupted)
    assert evaluate(tmp_path) == 130
    assert "Interrupted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "exit_code", "expected"),
    [
        (["--help"], 0, "--references MANIFEST"),
        ([], 1, "give the run's folder once: as an argument, or with --run; --help lists the options"),
        (["out", "--refs", "r.jsonl"], 1, "--refs r.jsonl; --help lists the options"),
        (["--run", "out", "--worst", "all"], 1, "invalid int value: 'all'"),
    ],
)
def test_help_and_refusals_need_none_of_the_heavy_libraries(
    flags: list[str], exit_code: int, expected: str
) -> None:
    program = (
        "import sys\n"
        "from pipelines.evaluate import main\n"
        f"try: code = main({flags!r})\n"
        "except SystemExit as stop: code = stop.code or 0\n"
        "heavy = {'apache_beam', 'flax', 'jax', 'jaxlib', 'pyarrow', 'scipy', 'tokenizers', 'transformers'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "AssertionError" not in done.stderr, done.stderr
    assert done.returncode == exit_code, done.stderr
    assert expected in done.stdout + done.stderr


def test_an_evaluation_imports_neither_beam_nor_jax(tmp_path: Path) -> None:
    out = write_run(tmp_path, [row("/a.wav", "a", "a")])
    program = (
        "import sys\n"
        "from pipelines.evaluate import main\n"
        f"assert main(['--run', {str(out)!r}]) == 0\n"
        "assert not {'apache_beam', 'jax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
