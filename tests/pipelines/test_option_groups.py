import pytest

from model.interface import DecodingOptions, ModelOptions
from model.option_fields import option_fields
from pipelines.option_groups import (
    FORMATS,
    AudioOptions,
    InputOptions,
    OutputOptions,
    RunOptions,
    SafeguardOptions,
    WindowOptions,
)
from transforms.fetch.policy import FetchOptions
from transforms.recognition.fallback import FallbackPolicy
from transforms.recognition.hallucinations import FILTERS

GROUPS = (
    AudioOptions,
    InputOptions,
    OutputOptions,
    WindowOptions,
    ModelOptions,
    DecodingOptions,
    SafeguardOptions,
    RunOptions,
)


def test_each_option_is_in_one_group() -> None:
    names = [one.name for group in GROUPS for one in option_fields(group)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("group", "part"), [(AudioOptions, FetchOptions), (SafeguardOptions, FallbackPolicy)]
)
def test_groups_contain_the_options_of_transforms(group: type[object], part: type[object]) -> None:
    assert option_fields(group)[: len(option_fields(part))] == option_fields(part)


def test_filters_are_those_of_the_transforms() -> None:
    assert SafeguardOptions().hallucination_filters == tuple(FILTERS)


def test_the_formats_written_by_default_are_those_of_rows() -> None:
    assert OutputOptions(output="out").format == FORMATS[:2]
