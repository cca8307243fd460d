from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import card_rows

PAGE = Path(__file__).parents[2] / "docs/performance.md"
DOCUMENTED = ("base", "large-v3-turbo", "large-v3")


def test_the_tables_of_the_docs_are_what_is_computed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
    monkeypatch.setattr(sys, "argv", ["card_rows"])
    card_rows.main()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    documented = [line for line in lines if line.split(" | ")[0].lstrip("| ") in ("model", *DOCUMENTED)]
    assert len(documented) == 2 * (1 + 2 * len(DOCUMENTED))
    page = PAGE.read_text("utf-8").splitlines()
    assert [line for line in documented if line not in page] == []
