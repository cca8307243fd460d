from pathlib import Path

from model.cpu_features import cpu_features


def test_the_flags_of_the_first_processor(tmp_path: Path) -> None:
    listing = tmp_path / "cpuinfo"
    listing.write_text("processor : 0\nflags\t\t: fpu avx2 avx512_vnni\n\nprocessor : 1\nflags : other\n")
    assert cpu_features(listing) == {"fpu", "avx2", "avx512_vnni"}


def test_a_listing_without_flags_has_no_features(tmp_path: Path) -> None:
    listing = tmp_path / "cpuinfo"
    listing.write_text("Features : asimd\n")
    assert cpu_features(listing) == frozenset()


def test_without_a_listing_there_are_no_features(tmp_path: Path) -> None:
    assert cpu_features(tmp_path / "none") == frozenset()
