from __future__ import annotations

from pathlib import Path

import pytest

from model import cards
from model.cards import (
    CARDS,
    Card,
    describe_cpu,
    describe_memory,
    format_rows,
    gpu_memory,
    jax_bytes,
    local_card,
)
from model.config import WhisperConfig
from model.interface import ModelOptions
from model.memory import MemoryModel

MIB = 2**20
LARGE = WhisperConfig(128, 1280, 5120, 32, 20, 32, 20, 51_866)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of programs."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
    return tmp_path


def write_program(folder: Path, body: str) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o700)


def test_the_card_that_is_listed_first(path: Path) -> None:
    write_program(path, "echo 'NVIDIA L4, 23034'; echo 'NVIDIA T4, 15360'")
    assert local_card() == Card("NVIDIA L4", 23034 * MIB)


@pytest.mark.parametrize("body", ["exit 9", "", "echo 'No devices were found'", "echo 'NVIDIA GB10, [N/A]'"])
def test_no_card(path: Path, body: str) -> None:
    assert local_card() is None  # no program
    write_program(path, body)
    assert local_card() is None


def test_share_of_jax(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert jax_bytes(16_000) == 12_000
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", ".9")
    assert jax_bytes(16_000) == 14_400


def test_auto_is_float16_without_quantization() -> None:
    memory = gpu_memory(LARGE, ModelOptions())
    assert memory.weights() == pytest.approx(2 * 1_541_000_000, rel=0.01)
    assert gpu_memory(LARGE, ModelOptions(dtype="float32")).weights() == 2 * memory.weights()
    assert gpu_memory(LARGE, ModelOptions(quantization="w8")).weights() < 0.51 * memory.weights()
    assert gpu_memory(LARGE, ModelOptions(parallel_batches=3, mesh="")).n_lanes == 3
    assert gpu_memory(LARGE, ModelOptions(mesh="data=2,model=4")).mesh == (2, 4)


def test_the_arithmetic_of_this_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cards, "cpu_features", lambda: frozenset({"avx512_vnni"}))
    assert "CPU encoder and decoder 8-bit weights and activations (a8, chosen" in describe_cpu(ModelOptions())
    assert describe_cpu(ModelOptions(dtype="bfloat16")) == "on this CPU encoder and decoder bfloat16"


def test_without_a_card_rows_are_listed_by_card(path: Path) -> None:
    use, rows = describe_memory(LARGE, ModelOptions(beam_size=1))
    assert use == (
        "on a GPU    11.6 GB (weights 3.1, cross-attention caches 6.8, self-attention caches 1.3, encoder "
        "0.4, logits 0.0) at most, for batches of 8 rows"
    )
    assert rows.startswith("rows        T4 16 GB: 7, L4 24 GB: 8, A100 40 GB: 24, ")
    assert len(rows.split(", ")) == len(CARDS)


def test_the_card_of_this_machine(path: Path) -> None:
    write_program(path, "echo 'NVIDIA L4, 23034'")
    use, _, here = describe_memory(LARGE, ModelOptions(beam_size=1))
    assert "at most, for batches of 8 rows" in use
    assert here == "this GPU    NVIDIA L4: 8 rows"
    use, here = describe_memory(LARGE, ModelOptions(beam_size=1, batch_size=32))
    assert use.endswith("at most, for batches of 32 rows")
    assert here == "this GPU    NVIDIA L4: 32 rows, which may not fit"


def test_rows_that_may_not_fit_are_marked(path: Path) -> None:
    memory: MemoryModel = gpu_memory(LARGE, ModelOptions(beam_size=5))
    assert format_rows(memory, CARDS["T4 16 GB"]) == "4 (tight)"
    assert format_rows(memory, CARDS["H200 141 GB"]) == "40"
