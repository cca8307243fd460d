"""The device mesh, and the partition spec of each kind of weight.

Two axes: `data` splits the batch of windows, `model` splits heads and hidden units within each layer
(Shoeybi et al., "Megatron-LM", 2019): in each pair of kernels the first is split by outputs and the second by
inputs, so that one sum over `model` follows each pair.
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
    # By width: the vocabulary sizes (51,864 to 51,866) have no useful divisors.
    (r"embedding\.embedding$", PartitionSpec(None, MODEL)),
)


def make_mesh(data: int = 1, model: int = 1) -> Mesh:
    """Returns a mesh of `data` x `model` devices of this process.

    Raises:
        MeshError: the process has too few devices.
    """
    devices = jax.local_devices()
    if data < 1 or model < 1 or data * model > len(devices):
        raise MeshError(f"a mesh of data={data}, model={model} needs {data * model} devices, "
                        f"and this process has {len(devices)}")  # fmt: skip
    return Mesh(np.asarray(devices[: data * model]).reshape(data, model), (DATA, MODEL))


def check_mesh(mesh: Mesh, config: WhisperConfig, batch_size: int) -> None:
    """Raises `MeshError` if heads or windows cannot be divided over the mesh."""
    n_model = mesh.shape[MODEL]
    for heads in (config.encoder_heads, config.decoder_heads):
        if heads % n_model:
            raise MeshError(f"{heads} heads cannot be divided over the mesh axis model={n_model}")
    MeshShape(mesh.shape[DATA], n_model).check_batch(batch_size)


def weight_spec(name: str) -> PartitionSpec:
    """Returns the partition spec of a weight, by its name in `model.network`; by default replicated."""
    for pattern, spec in _SPECS:
        if re.search(pattern, name):
            return spec
    return PartitionSpec()


def weight_sharding(mesh: Mesh, name: str) -> NamedSharding:
    """Returns the sharding of a weight on the mesh."""
    return NamedSharding(mesh, weight_spec(name))


def cross_kv_sharding(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of the cross-attention K/V cache, whose first axes are windows and heads."""
    return NamedSharding(mesh, PartitionSpec(DATA, MODEL))


def split_by_windows(program: Callable[..., Any], mesh: Mesh) -> Callable[..., Any]:
    """Maps a program of (weights, windows) over `data`: each device runs it on its own windows.

    Without this XLA gathers the inputs of a loop over windows and heads, and every device computes all of it.
    """
    windows = PartitionSpec(DATA)
    # Where layers are whole, nothing is left to XLA's partitioner, which may not know a call of cuDNN.
    names = {DATA} if mesh.shape[MODEL] > 1 else {DATA, MODEL}
    split: Callable[..., Any] = jax.shard_map(
        program,
        mesh=mesh,
        in_specs=(PartitionSpec(), windows),
        out_specs=windows,
        axis_names=names,
        check_vma=False,
    )
    return split


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of an array whose first axis is windows."""
    return NamedSharding(mesh, PartitionSpec(DATA))
