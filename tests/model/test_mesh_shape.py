from __future__ import annotations

import re
import subprocess
import sys

import pytest

from model.mesh_shape import MeshError, MeshShape, parse_mesh


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("data=4,model=2", (4, 2)),
        ("model=2,data=4", (4, 2)),
        (" data = 4 , model = 2 ", (4, 2)),
        ("data=8", (8, 1)),
        ("model=16", (1, 16)),
        ("", (1, 1)),
        (" ", (1, 1)),
    ],
)
def test_axes_that_are_not_named_have_one_device(text: str, shape: tuple[int, int]) -> None:
    assert parse_mesh(text) == MeshShape(*shape)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch=4", "mesh 'batch=4' has an unknown axis 'batch'; write data=N, model=N, or data=N,model=N"),
        ("4", "mesh '4' has an unknown axis '4'"),
        ("data=4,", "has an unknown axis ''"),
        ("data=2,data=4", "mesh 'data=2,data=4' names the axis data twice"),
        ("data", "mesh 'data' has data=, which must be a whole number of devices, at least 1"),
        ("data=two", "has data=two, which must be"),
        ("model=2.0", "has model=2.0, which must be"),
        ("data=0", "has data=0, which must be"),
        ("data=-1", "has data=-1, which must be"),
        ("data=²", "has data=², which must be"),
        ("data=2=3", "has data=2=3, which must be"),
        ("data=4 model=2", "has data=4 model=2, which must be"),
    ],
)
def test_an_invalid_mesh_raises_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(MeshError, match=re.escape(message)):
        parse_mesh(text)


def test_a_batch_that_does_not_divide_raises() -> None:
    MeshShape(data=4, model=3).check_batch(8)
    with pytest.raises(MeshError, match="batch_size 6 cannot be divided over the mesh axis data=4; take"):
        MeshShape(data=4).check_batch(6)


def test_mesh_shape_does_not_import_jax() -> None:
    program = "import sys, model.mesh_shape; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
