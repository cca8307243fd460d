import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from model.cpu_features import cpu_features, n_usable_cpus, processor


def test_the_flags_of_the_first_processor(tmp_path: Path) -> None:
    listing = tmp_path / "cpuinfo"
    listing.write_text("processor : 0\nflags\t\t: fpu avx2 avx512_vnni\n\nprocessor : 1\nflags : other\n")
    assert cpu_features(listing) == {"fpu", "avx2", "avx512_vnni"}


def test_the_features_of_an_arm_processor(tmp_path: Path) -> None:
    listing = tmp_path / "cpuinfo"
    listing.write_text(
        "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd asimddp sve i8mm bf16\nCPU part\t: 0xd40\n"
    )
    assert cpu_features(listing) == {"fp", "asimd", "asimddp", "sve", "i8mm", "bf16"}


def test_a_listing_without_flags_has_no_features(tmp_path: Path) -> None:
    listing = tmp_path / "cpuinfo"
    listing.write_text("isa : rv64imafdc\n")
    assert cpu_features(listing) == frozenset()


def test_without_a_listing_there_are_no_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert cpu_features(tmp_path / "none") == frozenset()


def test_macos_names_them_by_sysctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = (
        "hw.optional.arm.FEAT_BF16: 1\nhw.optional.arm.FEAT_I8MM: 1\nhw.optional.arm.FEAT_DotProd: 1\n"
        "hw.optional.arm.FEAT_SME: 0\nhw.optional.arm.AdvSIMD: 1\nhw.optional.arm.caps: 868072184\n"
    )
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess((), 0, said))
    assert cpu_features(tmp_path / "none") == {"asimd", "asimddp", "bf16", "i8mm"}

    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError("sysctl")

    monkeypatch.setattr(subprocess, "run", missing)
    assert cpu_features(tmp_path / "none") == frozenset()


@pytest.mark.parametrize(
    ("machine", "features", "expected"),
    [
        ("x86_64", {"fpu", "amx_int8", "avx512_bf16"}, "x86-64 with AMX, AVX512-BF16"),
        ("AMD64", set(), "x86-64"),
        ("aarch64", {"bf16", "asimd"}, "ARM with BF16, which was not measured"),
        ("arm64", set(), "ARM, which was not measured"),
        ("riscv64", {"v"}, "riscv64"),
        ("", set(), "an unknown processor"),
    ],
)
def test_a_processor_in_words(
    machine: str, features: set[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert processor(frozenset(features)) == expected


def test_only_the_cpus_that_the_process_may_use_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3}, raising=False)
    assert n_usable_cpus() == 2


def test_all_cpus_are_counted_on_a_system_without_affinities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert n_usable_cpus() == 6
