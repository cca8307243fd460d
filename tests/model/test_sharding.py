import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from jax.sharding import PartitionSpec

from model.config import WhisperConfig
from model.interface import TranscriberSettings
from model.mesh_shape import MeshError
from model.sharding import DATA, MODEL, batch_sharding, check_mesh, make_mesh, weight_spec
from model.transcriber import load_transcriber

CONFIG = WhisperConfig(80, 384, 1536, 4, 6, 4, 6, 51_865)


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("encoder.layers.3.attention.query.kernel", PartitionSpec(None, MODEL)),
        ("decoder.layers.0.cross_attention.key.kernel", PartitionSpec(None, MODEL)),
        ("decoder.layers.0.self_attention.value.bias", PartitionSpec(MODEL)),
        ("decoder.layers.0.self_attention.out.kernel", PartitionSpec(MODEL, None)),
        ("decoder.layers.0.self_attention.out.bias", PartitionSpec()),
        ("encoder.layers.0.mlp.up.bias", PartitionSpec(MODEL)),
        ("encoder.layers.0.mlp.down.kernel", PartitionSpec(MODEL, None)),
        ("decoder.embedding.embedding", PartitionSpec(None, MODEL)),
        ("encoder.conv1.kernel", PartitionSpec()),
        ("decoder.norm.scale", PartitionSpec()),
    ],
)
def test_each_kind_of_weight_has_its_spec(name: str, spec: PartitionSpec) -> None:
    assert weight_spec(name) == spec


def test_one_device_is_a_mesh_of_one() -> None:
    mesh = make_mesh()
    assert dict(mesh.shape) == {DATA: 1, MODEL: 1}
    assert batch_sharding(mesh).spec == PartitionSpec(DATA)


def test_too_few_devices() -> None:
    n_devices = len(jax.local_devices())
    with pytest.raises(ValueError, match=f"needs {n_devices * 2} devices, and this process has {n_devices}"):
        make_mesh(data=n_devices, model=2)


def test_a_model_is_loaded_on_the_mesh_of_its_settings(tiny_folder: Path) -> None:
    data = len(jax.local_devices()) * 2
    settings = TranscriberSettings(str(tiny_folder), batch_size=data, mesh=f"data={data}")
    with pytest.raises(MeshError, match=f"a mesh of data={data}, model=1 needs {data} devices"):
        load_transcriber(settings)


def test_what_does_not_divide_is_refused() -> None:
    class Mesh:
        shape = {DATA: 4, MODEL: 4}  # noqa: RUF012  stands in for a mesh of 16 devices

    with pytest.raises(ValueError, match="6 heads cannot be divided over the mesh axis model=4"):
        check_mesh(Mesh(), CONFIG, 8)  # type: ignore[arg-type]
    Mesh.shape = {DATA: 4, MODEL: 2}
    check_mesh(Mesh(), CONFIG, 8)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="batch_size 6 cannot be divided over the mesh axis data=4"):
        check_mesh(Mesh(), CONFIG, 6)  # type: ignore[arg-type]


SHARDED = """
import sys
import numpy as np
from model.interface import Request, TranscriberSettings
from model.sharding import make_mesh
from model.transcriber import load_transcriber
samples = [np.random.default_rng(i).standard_normal(80_000).astype(np.float32) * 0.1 for i in range(4)]
requests = [Request(s, "en", temperature=0.5 * (i == 3), seed=i) for i, s in enumerate(samples)]
settings = TranscriberSettings(
    sys.argv[1], batch_size=4, beam_size=int(sys.argv[2]), word_timestamps=True, max_new_tokens=30
)
one = load_transcriber(settings, make_mesh()).transcribe(requests)
many = load_transcriber(settings, make_mesh(data=2, model=2)).transcribe(requests)
texts = [[(s.start, s.stop, s.text, s.tokens) for s in r.segments] for r in one]
assert texts == [[(s.start, s.stop, s.text, s.tokens) for s in r.segments] for r in many], (one, many)
assert any(r.segments for r in one)
"""


@pytest.mark.parametrize("beam_size", ["1", "3"])
def test_a_mesh_of_four_writes_what_one_device_writes(tiny_folder: object, beam_size: str) -> None:
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    command = [sys.executable, "-c", SHARDED, str(tiny_folder), beam_size]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
