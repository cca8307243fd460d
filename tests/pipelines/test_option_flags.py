from __future__ import annotations

from dataclasses import fields

import pytest

from pipelines.option_checks import OptionsError
from pipelines.option_flags import HelpFormatter, OptionParser, add_options, options_table, with_options_table
from pipelines.options import TranscribeOptions, grouped_options


def test_the_table_names_every_option_with_default_and_choices() -> None:
    table = options_table(grouped_options())
    assert table.count("\n| `--") == len(fields(TranscribeOptions))
    assert "| `--stride_length_s` | `5` |" in table
    assert "| `--return_timestamps` `--no-return_timestamps` | on |" in table
    assert "`transcribe`, `translate` |" in table
    assert "| `--mesh` |  | devices" in table
    assert "| `--output` `-o` |  |" in table


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="no <!-- options -->"):
        with_options_table("# Options\n", grouped_options())


@pytest.fixture
def parser() -> OptionParser:
    made = OptionParser(prog="p", formatter_class=HelpFormatter, allow_abbrev=False)
    add_options(made, grouped_options())
    return made


def test_flags_are_in_groups_and_set_the_values_of_their_fields(parser: OptionParser) -> None:
    values = vars(parser.parse_args(["-o", "out", "--no-vad", "--temperature", "0,0.5", "--batch_size=2"]))
    assert (values["output"], values["vad"], values["batch_size"]) == ("out", False, 2)
    assert values["temperature"] == (0.0, 0.5)
    help_text = parser.format_help().partition("What to read:")[2]  # behind the usage
    assert 0 < help_text.index("--input") < help_text.index("What to write:") < help_text.index("--output")
    assert "--vad, --no-vad" in help_text
    assert "true|false" not in help_text


def test_mistakes_raise_instead_of_exiting(parser: OptionParser) -> None:
    with pytest.raises(OptionsError, match="--output"):
        parser.parse_args([])
    with pytest.raises(OptionsError, match="true or false"):
        parser.parse_args(["-o", "out", "--vad=maybe"])
