from pathlib import Path

import pytest

from model.formats.contents import read_json, tokenizer_files
from model.formats.mapped_file import FormatError


def test_tokenizer_files(tmp_path: Path) -> None:
    assert tokenizer_files(tmp_path) is None
    (tmp_path / "vocab.json").touch()
    assert tokenizer_files(tmp_path) is None
    (tmp_path / "merges.txt").touch()
    assert tokenizer_files(tmp_path) == tmp_path
    (tmp_path / "tokenizer.json").touch()
    assert tokenizer_files(tmp_path) == tmp_path / "tokenizer.json"


def test_read_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": 1}')
    assert read_json(path) == {"a": 1}
    for content, message in (
        ("[]", "contains a list"),
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be"),
    ):
        path.write_text(content)
        with pytest.raises(FormatError, match=rf"a\.json {message}"):
            read_json(path)
