from __future__ import annotations

import pytest

from model.languages import code_of


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("de", "de"), (" DE ", "de"), ("German", "de"), ("de-AT", "de"), ("pt_BR", "pt"),
        ("Haitian Creole", "ht"), ("kab", None), ("", None), ("deu", None), ("x-de", None),
    ],
)  # fmt: skip
def test_code_of_a_code_name_or_tag(language: str, code: str | None) -> None:
    assert code_of(language) == code
