"""The metadata of a Dataflow flex template, made from the fields of `TranscribeOptions`.

    python -m pipelines.flex_template > docker/flex_template.json

A template passes its parameters to the program as `--name=value`, each once.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, Field
from itertools import starmap
from typing import Any

from pipelines.option_flags import shown_default
from pipelines.options import grouped_options

NOT_IN_TEMPLATES = ("runner", "dry_run", "push_to_hub")
"""Options for a launcher that chooses its runner and waits for the job's end."""

_BEAM = "Dataflow"
_INTEGER, _NUMBER = r"^-?\d+$", r"^-?\d+(\.\d+)?$"

Parameter = dict[str, Any]


def template_metadata() -> dict[str, Any]:
    """Returns the content of the file, as `gcloud dataflow flex-template build --metadata-file` takes it."""
    ours = [(group, option) for group, option in grouped_options() if option.name not in NOT_IN_TEMPLATES]
    return {
        "name": "whisper-beam",
        "description": "Transcribes recordings with Whisper into a dataset of Parquet and JSON lines.",
        "streaming": False,
        "parameters": [*starmap(_parameter, ours), *_beam_parameters()],
    }


def _parameter(group: str, option: Field[Any]) -> Parameter:
    named = _named(option.name, option.metadata["help"], group)
    is_listed = isinstance(option.default, tuple) and not option.metadata["parse"]
    if is_listed:
        named["helpText"] += "; a template takes one, which may be a glob, a folder or a manifest"
    # Neither input nor dataset is required by itself: one of them is enough.
    named["isOptional"] = option.default is not MISSING
    default = _default(option)
    return {**named, **_kind(option), **({"defaultValue": default} if default else {})}


def _named(name: str, text: str, group: str) -> Parameter:
    label = name.replace("_", " ").capitalize()
    return {"name": name, "label": label, "helpText": text[0].upper() + text[1:], "groupName": group}


def _kind(option: Field[Any]) -> Parameter:
    default, choices = option.default, option.metadata["choices"]
    if isinstance(default, bool):
        return {"paramType": "BOOLEAN"}
    if choices and not isinstance(default, tuple):
        return {"paramType": "ENUM", "enumOptions": [{"value": one, "label": one} for one in choices]}
    if option.name == "output":
        return {"paramType": "GCS_WRITE_FOLDER"}
    if isinstance(default, int | float):
        return {"paramType": "TEXT", "regexes": [_INTEGER if isinstance(default, int) else _NUMBER]}
    return {"paramType": "TEXT"}


def _default(option: Field[Any]) -> str:
    """Returns a form's initial value: without one it would be false, also where that is not the default."""
    if isinstance(option.default, bool):
        return str(option.default).lower()
    return shown_default(option).strip("`")


def _beam_parameters() -> list[Parameter]:
    """Returns those of Beam's options that `gcloud dataflow flex-template run` has no flag for."""
    texts = {
        "sdk_container_image": "the image of the workers: the one that the template was built from",
        "number_of_worker_harness_threads": "bundles that a worker process takes at the same time",
        "dataflow_service_options": "such as worker_accelerator=type:tpu-v5-lite-podslice;topology:1x1",
    }
    return [
        {**_named(name, text, _BEAM), "isOptional": name != "sdk_container_image", "paramType": "TEXT"}
        for name, text in texts.items()
    ]


if __name__ == "__main__":
    print(json.dumps(template_metadata(), indent=2))
