import platform
import subprocess
import sys

import pytest

from model.arithmetic import Arithmetic, choose_arithmetic, describe_arithmetic


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({"amx_int8", "avx512_vnni", "avx512_bf16"}, Arithmetic.A8),
        ({"avx512_vnni", "avx512_bf16"}, Arithmetic.BF16_A8),
        ({"avx512_vnni"}, Arithmetic.A8),
        ({"avx_vnni"}, Arithmetic.A8),
        ({"avx2"}, Arithmetic.NONE),
        ({"asimd", "asimddp", "i8mm", "bf16", "sve", "sme"}, Arithmetic.NONE),  # ARM: nothing was measured
        (set(), Arithmetic.NONE),
    ],
)
def test_auto_depends_on_the_processor(features: set[str], expected: Arithmetic) -> None:
    known = frozenset(features)
    assert choose_arithmetic("auto", "auto", backend="cpu", features=known) is expected
    # Explicit dtypes and quantizations are kept, and accelerators use their dtype.
    assert choose_arithmetic("auto", "float32", backend="cpu", features=known) is Arithmetic.NONE
    assert choose_arithmetic("auto", "auto", backend="gpu", features=known) is Arithmetic.NONE
    assert choose_arithmetic("a8", "float32", backend="cpu", features=known) is Arithmetic.A8
    assert choose_arithmetic("none", "auto", backend="cpu", features=known) is Arithmetic.NONE


def test_an_unknown_quantization_raises() -> None:
    with pytest.raises(
        ValueError, match="quantization 'int4' is unknown; use auto, none, bf16, a8, bf16-a8, w8"
    ):
        choose_arithmetic("int4", "auto", backend="cpu", features=frozenset())


@pytest.mark.parametrize(
    ("quantization", "dtype", "backend", "features", "expected"),
    [
        (
            *("auto", "auto", "cpu", {"avx512_bf16", "avx512_vnni"}),
            "encoder bfloat16 products, decoder 8-bit weights and activations (bf16-a8, chosen for x86-64 "
            "with AVX512-BF16, AVX512-VNNI)",
        ),
        (
            *("auto", "auto", "cpu", {"amx_int8"}),
            "encoder and decoder 8-bit weights and activations (a8, chosen for x86-64 with AMX)",
        ),
        ("auto", "auto", "cpu", {"sse"}, "encoder and decoder float32 (none, chosen for x86-64)"),
        ("auto", "float32", "cpu", {"amx_int8"}, "encoder and decoder float32"),
        ("auto", "auto", "gpu", {"amx_int8"}, "encoder and decoder float32"),
        (
            "w8",
            "auto",
            "gpu",
            set(),
            "encoder and decoder 8-bit weights, float32 products (w8, as it was asked for)",
        ),
        ("none", "auto", "cpu", {"amx_int8"}, "encoder and decoder float32 (none, as it was asked for)"),
        ("bf16", "auto", "cpu", set(), "encoder and decoder bfloat16 products (bf16, as it was asked for)"),
    ],
)
def test_the_arithmetic_in_words(
    quantization: str,
    dtype: str,
    backend: str,
    features: set[str],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    known = frozenset(features)
    assert expected == describe_arithmetic(
        quantization, dtype, backend=backend, features=known, activations="float32"
    )


def test_on_arm_it_says_that_nothing_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    known = frozenset({"asimddp", "bf16", "i8mm"})
    said = describe_arithmetic("auto", "auto", backend="cpu", features=known, activations="float32")
    assert said.endswith(
        "float32 (none, chosen for ARM with dot products, I8MM, BF16, which was not measured)"
    )


def test_it_needs_no_jax() -> None:
    program = "import sys, model.arithmetic; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
