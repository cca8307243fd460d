"""The device mesh, and which axis of it each kind of weight is split over.

Two axes: `data` splits the batch of windows, `model` splits heads and hidden units within each layer
(Shoeybi et al., "Megatron-LM", 2019): the kernels that come first are split by outputs, those that come
second by inputs, so that a layer needs one sum over `model` after each pair.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from model.config import WhisperConfig
from model.mesh_shape import MeshError, MeshShape

DATA, MODEL = MeshShape._fields

_SPECS = (
    (r"attention\.(query|key|value)\.kernel$", PartitionSpec(None, MODEL)),
    (r"attention\.(query|key|value)\.(bias|kernel_scale)$", PartitionSpec(MODEL)),
    (r"attention\.out\.kernel$", PartitionSpec(MODEL, None)),
    (r"mlp\.up\.kernel$", PartitionSpec(None, MODEL)),
    (r"mlp\.up\.(bias|kernel_scale)$", PartitionSpec(MODEL)),
    (r"mlp\.down\.kernel$", PartitionSpec(MODEL, None)),
    # By width: the sizes of the vocabularies (51,864 to 51,866) divide by nothing useful.
    (r"embedding\.embedding$", PartitionSpec(None, MODEL)),
)


def make_mesh(data: int = 1, model: int = 1) -> Mesh:
    """A mesh of `data` x `model` of this process's devices.

    Raises:
        MeshError: there are too few devices.
    """
    devices = jax.local_devices()
    if data < 1 or model < 1 or data * model > len(devices):
        raise MeshError(f"a mesh of data={data}, model={model} needs {data * model} devices, "
                        f"and this process has {len(devices)}")  # fmt: skip
    return Mesh(np.asarray(devices[: data * model]).reshape(data, model), (DATA, MODEL))


def check_mesh(mesh: Mesh, config: WhisperConfig, batch_size: int) -> None:
    """Raises `MeshError` where heads or windows cannot be divided over the mesh."""
    n_model = mesh.shape[MODEL]
    for heads in (config.encoder_heads, config.decoder_heads):
        if heads % n_model:
            raise MeshError(f"{heads} heads cannot be divided over the mesh axis model={n_model}")
    MeshShape(mesh.shape[DATA], n_model).check_batch(batch_size)


def weight_spec(name: str) -> PartitionSpec:
    """How a weight is split, by its name in `model.network`; what no rule names is on every device."""
    for pattern, spec in _SPECS:
        if re.search(pattern, name):
            return spec
    return PartitionSpec()


def weight_sharding(mesh: Mesh, name: str) -> NamedSharding:
    """Where a weight lives on the mesh."""
    return NamedSharding(mesh, weight_spec(name))


def memory_sharding(mesh: Mesh) -> NamedSharding:
    """Where keys and values of the audio live, whose axes begin with windows and heads."""
    return NamedSharding(mesh, PartitionSpec(DATA, MODEL))


def split_by_windows(program: Callable[..., Any], mesh: Mesh) -> Callable[..., Any]:
    """A program of (weights, windows) that runs on each device with windows of its own.

    Left to itself XLA gathers what a loop over windows and heads reads, and every device does all of it.
    """
    windows = PartitionSpec(DATA)
    split: Callable[..., Any] = jax.shard_map(
        program,
        mesh=mesh,
        in_specs=(PartitionSpec(), windows),
        out_specs=windows,
        axis_names={DATA},
        check_vma=False,
    )
    return split


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Where an array whose first axis is windows lives on the mesh."""
    return NamedSharding(mesh, PartitionSpec(DATA))
