from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipelines.process.left_out_packages import leaving_out


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "package_of_a_test.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "package_of_a_test", raising=False)
    return "package_of_a_test"


def test_a_package_is_missing_inside_and_there_again_after_an_error(package: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=package), leaving_out(package):
        __import__(package)
    assert package not in sys.modules
    assert __import__(package).VALUE == 1


def test_a_package_that_is_imported_already_stays(package: str) -> None:
    __import__(package)
    with leaving_out(package):
        assert __import__(package).VALUE == 1


def test_other_packages_are_imported(package: str) -> None:
    with leaving_out("another"):
        assert __import__(package).VALUE == 1
