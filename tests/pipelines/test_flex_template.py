from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.command_line import parse
from pipelines.flex_template import NOT_IN_TEMPLATES, template_metadata
from pipelines.options import TranscribeOptions

FILE = Path(__file__).parents[2] / "docker" / "flex_template.json"
PARAMETERS: dict[str, dict[str, Any]] = {one["name"]: one for one in template_metadata()["parameters"]}
TEXT = {"type": "string", "minLength": 1}

# TemplateMetadata, ParameterMetadata and what is in them, of the Dataflow API, v1b3:
# https://cloud.google.com/dataflow/docs/reference/rest/v1b3/TemplateMetadata
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["name", "parameters"],
    "additionalProperties": False,
    "properties": {
        "name": TEXT,
        "description": TEXT,
        "streaming": {"type": "boolean"},
        "supportsAtLeastOnce": {"type": "boolean"},
        "supportsExactlyOnce": {"type": "boolean"},
        "defaultStreamingMode": {"enum": ["UNSPECIFIED", "EXACTLY_ONCE", "AT_LEAST_ONCE"]},
        "parameters": {"type": "array", "items": {"$ref": "#/$defs/parameter"}},
    },
    "$defs": {
        "parameter": {
            "type": "object",
            "required": ["name", "label", "helpText"],
            "additionalProperties": False,
            "properties": {
                "name": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
                "label": TEXT,
                "helpText": TEXT,
                "isOptional": {"type": "boolean"},
                "regexes": {"type": "array", "items": {"type": "string", "format": "regex"}},
                "paramType": {
                    "enum": [
                        *("DEFAULT", "TEXT", "GCS_READ_BUCKET", "GCS_WRITE_BUCKET", "GCS_READ_FILE"),
                        *("GCS_WRITE_FILE", "GCS_READ_FOLDER", "GCS_WRITE_FOLDER", "PUBSUB_TOPIC"),
                        *("PUBSUB_SUBSCRIPTION", "BIGQUERY_TABLE", "JAVASCRIPT_UDF_FILE", "SERVICE_ACCOUNT"),
                        *("MACHINE_TYPE", "KMS_KEY_NAME", "WORKER_REGION", "WORKER_ZONE", "BOOLEAN", "ENUM"),
                        *("NUMBER", "KAFKA_TOPIC", "KAFKA_READ_TOPIC", "KAFKA_WRITE_TOPIC"),
                    ]
                },
                "customMetadata": {"type": "object", "additionalProperties": {"type": "string"}},
                "groupName": TEXT,
                "parentName": TEXT,
                "parentTriggerValues": {"type": "array", "items": TEXT},
                "enumOptions": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["value"],
                        "additionalProperties": False,
                        "properties": {"value": TEXT, "label": TEXT, "description": TEXT},
                    },
                },
                "defaultValue": TEXT,
                "hiddenUi": {"type": "boolean"},
            },
        }
    },
}


def test_the_file_is_what_the_options_say() -> None:
    written = json.loads(FILE.read_text("utf-8"))
    assert written == template_metadata(), (
        "run: python -m pipelines.flex_template > docker/flex_template.json"
    )


def test_the_metadata_is_as_dataflow_wants_it() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    validator = jsonschema.Draft202012Validator(
        SCHEMA, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    validator.validate(template_metadata())
    for wrong in ({"paramType": "FLOAT"}, {"helptext": "misspelt"}, {"defaultValue": 1}, {"regexes": ["("]}):
        with pytest.raises(jsonschema.ValidationError):
            validator.validate({"name": "x", "parameters": [{**PARAMETERS["input"], **wrong}]})


def test_every_option_that_a_template_can_have_is_there_with_what_beam_needs() -> None:
    ours = {option.name for option in fields(TranscribeOptions)}
    assert set(NOT_IN_TEMPLATES) <= ours
    beams = PARAMETERS.keys() - (ours - set(NOT_IN_TEMPLATES))
    assert beams == {
        "sdk_container_image",
        "number_of_worker_harness_threads",
        "dataflow_service_options",
    }
    assert beams <= PipelineOptions([]).get_all_options().keys()
    required = [name for name, one in PARAMETERS.items() if not one["isOptional"]]
    assert required == ["output", "sdk_container_image"]


def test_a_form_that_is_left_as_it_begins_gives_the_defaults() -> None:
    argv = [f"--{name}={one['defaultValue']}" for name, one in PARAMETERS.items() if "defaultValue" in one]
    assert len(argv) > 25
    given = parse(["--input=gs://b/talks", "--output=gs://b/out", *argv])
    assert given == (TranscribeOptions(input=("gs://b/talks",), output="gs://b/out"), [])


def test_every_value_that_a_form_offers_can_be_used() -> None:
    for name, one in PARAMETERS.items():
        offered = [option["value"] for option in one.get("enumOptions", [])]
        offered += ["true", "false"] if one["paramType"] == "BOOLEAN" else []
        for value in offered:
            options, rest = parse(["--input=gs://b/talks", "--output=gs://b/out", f"--{name}={value}"])
            assert str(getattr(options, name)).lower() == value.lower()
            assert not rest


def test_the_patterns_let_numbers_through_and_nothing_else() -> None:
    numbers = {"batch_size": ("8", "eight"), "patience": ("1.5", "1,5"), "suppress_tokens": ("-1,50", None)}
    for name, (good, bad) in numbers.items():
        patterns = PARAMETERS[name].get("regexes", [])
        assert all(re.search(pattern, good) for pattern in patterns)
        assert bad is None or not any(re.search(pattern, bad) for pattern in patterns)
