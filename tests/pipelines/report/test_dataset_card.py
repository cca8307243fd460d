from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import datasets
import pytest
from huggingface_hub import DatasetCard

from pipelines.options import TranscribeOptions
from pipelines.output.run_folder import RunFolder
from pipelines.report.dataset_card import dataset_card
from pipelines.report.hub import push
from tests.pipelines.report.test_hub import FakeHub, report_of
from tests.support.tone_backend import run, write_talk

OPTIONS = TranscribeOptions(input=("/home/me/talks",), output="out", hotwords="a|b`c\nd")
FILES = ["parquet/part-00000-of-00002.parquet", "parquet/part-00001-of-00002.parquet"]


def report(**changed: Any) -> dict[str, Any]:  # noqa: ANN401  # values of run.json
    return {
        "options": {**asdict(OPTIONS), "model": "openai/whisper-base"},
        "versions": {"whisper-beam": "1.2.3"},
        "counts": {"transcribed": 1234, "not_transcribed": 5},
        "audio_hours": 56.789,
        "hours_by_language": {"en": 50.0, "jw": 6.0, "": 0.789},
        **changed,
    }


def card_of(content: dict[str, Any]) -> DatasetCard:
    return DatasetCard(dataset_card(content, "me/talks", FILES))


def test_card_describes_the_run() -> None:
    text = " ".join(card_of(report()).text.split())
    assert text.startswith("# talks ")
    assert "1,234 recordings, 56.79 hours of audio, transcribed by `openai/whisper-base` with" in text
    assert "with whisper-beam 1.2.3." in text
    assert "Hours by language: en 50.00, jw 6.00, no speech 0.79." in text
    assert "5 more recordings could not be transcribed." in text
    assert 'datasets.load_dataset("me/talks", split="train")' in text


def test_card_of_a_translation_without_failures() -> None:
    options = {**report()["options"], "task": "translate"}
    counts = {"transcribed": 1, "not_transcribed": 0}
    text = card_of(report(options=options, counts=counts, hours_by_language={})).text
    assert "translated to English by" in text
    assert "Hours by language: none. None is missing." in text


def test_options_are_escaped_for_a_table_and_local_paths_are_left_out() -> None:
    text = card_of(report()).text
    assert "| `--hotwords` | `a/b'c d` |" in text
    assert "/home/me" not in text


def test_header_has_iso_639_codes_and_a_pattern_of_this_runs_files() -> None:
    data = card_of(report()).data.to_dict()
    assert data["language"] == ["en", "jv"]
    (config,) = data["configs"]
    assert config["data_files"] == [{"split": "train", "path": "parquet/part-*-of-00002.parquet"}]


@pytest.mark.parametrize(
    ("n_rows", "category"), [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**9, "n>1B")]
)
def test_size_category(n_rows: int, category: str) -> None:
    counts = {"transcribed": n_rows, "not_transcribed": 0}
    assert card_of(report(counts=counts)).data.to_dict()["size_categories"] == [category]


def test_uploaded_card_describes_the_dataset_and_loads_it(out: Path, tmp_path: Path) -> None:
    talks = tmp_path / "talks"
    write_talk(talks / "a.wav", 3)
    write_talk(talks / "b|`.wav", 40, french_from=0)
    (talks / "bad.wav").write_bytes(b"nothing")
    assert run(talks, out, "--num_shards", "3", "--hotwords", "a|b`c\nd") == 2
    hub = FakeHub("parquet/part-00000-of-00001.parquet")
    push(RunFolder(str(out)), report_of(out), "me/talks", hub)
    hub.files["parquet/part-00000-of-00001.parquet"] = b"of another run, must not be loaded"
    for name, content in hub.files.items():
        path = tmp_path / "cloned" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    card = DatasetCard.load(tmp_path / "cloned/README.md")
    card_data = card.data.to_dict()
    assert set(card_data["language"]) == {"en", "fr"}
    assert card_data["size_categories"] == ["n<1K"]
    assert card_data["task_categories"] == ["automatic-speech-recognition"]
    (config,) = card_data["configs"]
    assert config["data_files"] == [{"split": "train", "path": "parquet/part-*-of-00003.parquet"}]
    assert "2 recordings, 0.01 hours of audio, transcribed by `openai/whisper-base`" in card.text
    assert "1 more recordings could not be transcribed" in card.text
    assert "| `--hotwords` | `a/b'c d` |" in card.text
    assert str(talks) not in card.text

    rows = datasets.load_dataset(
        str(tmp_path / "cloned"), split="train", cache_dir=str(tmp_path / "cache"), token=False
    )
    assert sorted(row["language"] for row in rows) == ["en", "fr"]
    assert rows.features["segments"].feature["end"].dtype == "float64"
    declared = [feature["name"] for feature in card_data["dataset_info"]["features"]]
    assert declared == rows.column_names
