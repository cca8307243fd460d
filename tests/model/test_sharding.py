from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from model.checkpoint import Checkpoint
from model.config import WhisperConfig
from model.interface import ModelOptions
from model.mesh_shape import MeshError, parse_mesh
from model.sharding import DATA, MODEL, batch_sharding, check_mesh, make_mesh, weight_spec
from model.transcriber import load_transcriber

ROOT = Path(__file__).parents[2]
AUDIO = ROOT / "samples/en/quick_brown_fox.wav"
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
def test_weight_specs(name: str, spec: PartitionSpec) -> None:
    assert weight_spec(name) == spec


def test_the_default_mesh_has_one_device() -> None:
    mesh = make_mesh()
    assert dict(mesh.shape) == {DATA: 1, MODEL: 1}
    assert batch_sharding(mesh).spec == PartitionSpec(DATA)


def test_too_few_devices_raise() -> None:
    n_devices = len(jax.local_devices())
    with pytest.raises(ValueError, match=f"needs {n_devices * 2} devices, and this process has {n_devices}"):
        make_mesh(data=n_devices, model=2)


def test_a_model_is_loaded_on_the_mesh_of_its_settings(tiny_folder: Path) -> None:
    data = len(jax.local_devices()) * 2
    options = ModelOptions(model=str(tiny_folder), batch_size=data, mesh=f"data={data}")
    with pytest.raises(MeshError, match=f"a mesh of data={data}, model=1 needs {data} devices"):
        load_transcriber(options)


def test_heads_and_batches_that_do_not_divide_raise() -> None:
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
from dataclasses import replace
import numpy as np
from model.interface import ModelOptions, Request
from model.sharding import make_mesh
from model.transcriber import load_transcriber
n_samples = (80_000, 32_000, 80_000, 80_000, 32_000, 80_000, 32_000, 80_000, 80_000)
samples = [
    0.1 * np.random.default_rng(i).standard_normal(n).astype(np.float32) for i, n in enumerate(n_samples)
]
requests = [
    Request(s, "en", temperature=0.5 * (i == 7), seed=i, word_timestamps=True)
    for i, s in enumerate(samples)
]
beam_size, best_of = map(int, sys.argv[2:])
options = ModelOptions(
    model=sys.argv[1], batch_size=4, beam_size=beam_size, best_of=best_of, max_new_tokens=30
)
one = load_transcriber(options, make_mesh()).transcribe(requests)
on_mesh = load_transcriber(replace(options, parallel_batches=3), make_mesh(data=2, model=2))
assert on_mesh.max_concurrent_calls == 1  # devices must start programs in the same order
many = on_mesh.transcribe(requests)
texts = [[(s.start, s.stop, s.text, s.tokens) for s in r.segments] for r in one]
assert texts == [[(s.start, s.stop, s.text, s.tokens) for s in r.segments] for r in many], (one, many)
assert any(r.segments for r in one)
group = on_mesh.batch_group(requests[0])
batch = on_mesh.new_batch(group)
assert (batch.n_free, batch.n_refilled) == (4, 2)
assert sum(on_mesh.batch_group(r) == group for r in requests) > 4  # some refill rows
# One after the other, and in another order.
for n_rows in (1, 2):
    waiting, answers = [r for r in requests if on_mesh.batch_group(r) == group][::-1], {}
    while waiting or batch.requests:
        taken, waiting = waiting[:n_rows][:batch.n_free], waiting[min(n_rows, batch.n_free):]
        batch.add(taken)
        answers.update((id(r), result) for r, result in batch.advance(max_steps=3))
    assert len(answers) == sum(on_mesh.batch_group(r) == group for r in requests)
    for r, result in zip(requests, many, strict=True):
        assert answers.get(id(r), result).segments == result.segments, (r, result)
"""


@pytest.mark.parametrize("widths", [("1", "1"), ("3", "2")], ids=["one", "several"])
def test_a_mesh_of_four_devices_returns_the_same_segments(
    tiny_folder: object, widths: tuple[str, str]
) -> None:
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    command = [sys.executable, "-c", SHARDED, str(tiny_folder), *widths]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


REAL_MODEL = "openai/whisper-tiny.en"  # of 6 heads
N_LAYERS, D_MODEL = 4, 384
MESHES = ("data=8", "data=4,model=2", "data=2,model=3", "model=2")
Found = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def on_meshes(packaged: Callable[[str], Checkpoint], tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Results of a real model on one virtual device and on each mesh; see `tests.support.on_meshes`."""
    packaged(REAL_MODEL)
    if not AUDIO.exists():
        pytest.skip(f"{AUDIO} is not here; scripts/setup.sh fetches the samples")
    folder = tmp_path_factory.mktemp("programs")
    flags = ("--xla_force_host_platform_device_count=8", f"--xla_dump_to={folder}", "--xla_dump_hlo_as_text")
    environment = {
        **os.environ,
        "JAX_ENABLE_COMPILATION_CACHE": "false",  # XLA dumps only programs that it compiles
        "XLA_FLAGS": " ".join(flags),
    }
    arguments = [REAL_MODEL, "8", str(AUDIO), str(folder), "", *MESHES]
    command = [sys.executable, "-m", "tests.support.on_meshes", *arguments]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: Found = json.loads(done.stdout)
    return found


@pytest.mark.weights
@pytest.mark.parametrize("mesh", MESHES)
def test_every_mesh_returns_the_segments_of_one_device(mesh: str, on_meshes: Found) -> None:
    windows = on_meshes[mesh]["segments"]
    assert windows == on_meshes[""]["segments"]
    assert all(segments for segments in windows)
    assert len({json.dumps(segments) for segments in windows}) == len(windows), "two windows are the same"


@pytest.mark.weights
@pytest.mark.parametrize("mesh", ["", *MESHES])
def test_each_device_has_the_weights_of_its_spec(
    mesh: str, on_meshes: Found, packaged: Callable[[str], Checkpoint]
) -> None:
    shape = parse_mesh(mesh)
    expected = 0
    for name, weight in packaged(REAL_MODEL).weights():
        parts = math.prod(shape._asdict()[axis] for axis in weight_spec(name) if axis is not None)
        expected += weight.size * np.dtype(np.float32).itemsize // parts
    assert on_meshes[mesh]["weight_bytes"] == [expected] * (shape.data * shape.model)


@pytest.mark.weights
@pytest.mark.parametrize("mesh", MESHES)
def test_no_weight_is_sent_between_devices(
    mesh: str, on_meshes: Found, packaged: Callable[[str], Checkpoint]
) -> None:
    weights = {tuple(sorted(weight.shape)) for _, weight in packaged(REAL_MODEL).weights()}
    sent = [collective for program in on_meshes[mesh]["collectives"].values() for collective in program]
    moved = [shape for operation, shapes in sent if operation != "all-reduce" for shape in shapes]
    assert not [shape for shape in moved if tuple(sorted(shape)) in weights]
    assert any(operation == "all-reduce" for operation, _ in sent), "no program with an all-reduce was dumped"


@pytest.mark.weights
def test_data_parallel_devices_exchange_no_cache_but_those_of_new_windows(on_meshes: Found) -> None:
    programs = on_meshes["data=8"]["collectives"]
    inserted = [shape for _, shapes in programs.pop("jit_insert") for shape in shapes]
    assert len(inserted) <= 2 * N_LAYERS  # the keys and values of the windows, for the one that is inserted
    assert programs
    sent = [shape for program in programs.values() for _, shapes in program for shape in shapes]
    n_step = 8 * D_MODEL  # the keys or values of a token of each row
    assert all(math.prod(shape) <= n_step for shape in sent), (
        "devices exchange more than they write in a step"
    )
