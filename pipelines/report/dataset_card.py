"""The card of a dataset on the Hugging Face Hub: what its viewer must know, and what people should."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import DatasetInfo, Features
from datasets.info import DatasetInfosDict
from huggingface_hub import DatasetCardData

from pipelines.options import shaping_options
from pipelines.report.run_tally import NO_LANGUAGE
from transforms.writing.rows import SCHEMA

_SIZES = (
    *((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")),
    *((10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B")),
)
_MORE = "n>1B"
_OTHER_CODES = {"jw": "jv"}  # Whisper's code for Javanese is one that ISO 639 has withdrawn
_NOT_SHOWN = ("input", "dataset", "model")  # places on somebody's machine; and what is said before


def dataset_card(report: Mapping[str, Any], name: str, files: Sequence[str]) -> str:
    """The content of `README.md`, its YAML header included.

    Args:
        report: the content of `run.json`.
        name: of the dataset, `OWNER/NAME`.
        files: its Parquet files, at least one; all of one run.
    """
    return f"---\n{_header(report, files).to_yaml()}\n---\n\n{_body(report, name)}"


def _header(report: Mapping[str, Any], files: Sequence[str]) -> DatasetCardData:
    n_rows = report["counts"]["transcribed"]
    codes = [_OTHER_CODES.get(code, code) for code in report["hours_by_language"] if code != NO_LANGUAGE]
    # A pattern, as there may be thousands of files; it has their number, so that no other run's files match.
    pattern = files[0].replace("part-00000-of-", "part-*-of-")
    data = DatasetCardData(
        language=codes or None,
        pretty_name="Transcripts",
        size_categories=[next((size for limit, size in _SIZES if n_rows < limit), _MORE)],
        task_categories=["automatic-speech-recognition"],
        tags=["whisper", "whisper-beam"],
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": pattern}]}],
    )
    info = DatasetInfo(features=Features.from_arrow_schema(SCHEMA))
    DatasetInfosDict({"default": info}).to_dataset_card_data(data)
    return data


def _body(report: Mapping[str, Any], name: str) -> str:
    counts, model = report["counts"], report["options"]["model"]
    said = "translated to English" if report["options"]["task"] == "translate" else "transcribed"
    missing = counts["not_transcribed"]
    hours = ", ".join(
        f"{language or 'nobody speaks'} {hours:.2f}"
        for language, hours in report["hours_by_language"].items()
    )
    options = shaping_options(report["options"], without=_NOT_SHOWN)
    rows = [f"| `--{option}` | `{_in_table(value)}` |" for option, value in options.items()]
    return "\n".join(
        [
            f"# {name.rpartition('/')[2]}",
            "",
            f"{counts['transcribed']:,} recordings, {report['audio_hours']:,.2f} hours of audio, {said} by "
            f"`{_in_table(model)}` with whisper-beam {report['versions'].get('whisper-beam', '')}".rstrip()
            + ".",
            f"Hours by language: {hours or 'none'}. "
            + (f"{missing:,} more recordings could not be transcribed." if missing else "None is missing."),
            "The text is a machine's and was not checked by people.",
            "",
            "A row is a recording: `text` is the whole transcript, `segments` its parts with their times in "
            "seconds and the model's scores. The audio is not part of the dataset.",
            "",
            "```python",
            "import datasets",
            "",
            f'rows = datasets.load_dataset("{name}", split="train")',
            "```",
            "",
            "| option | value |",
            "|---|---|",
            *rows,
            "",
        ]
    )


def _in_table(value: Any) -> str:  # noqa: ANN401  # of whatever type JSON has
    """What stands between backquotes in a cell; neither they nor bars nor lines can be escaped there."""
    told = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return " ".join(told.replace("`", "'").replace("|", "/").split())
