"""The shape of a device mesh, parsed from text. No JAX, so that a launcher can check it."""

from __future__ import annotations

from typing import NamedTuple


class MeshError(ValueError):
    """A mesh that cannot be parsed, made or used."""


class MeshShape(NamedTuple):
    """Devices along each axis: `data` splits the batch of windows, `model` each layer."""

    data: int = 1
    model: int = 1

    def check_batch(self, batch_size: int) -> None:
        """Raises `MeshError` if a batch cannot be divided over `data`."""
        if batch_size % self.data:
            raise MeshError(
                f"batch_size {batch_size} cannot be divided over the mesh axis data={self.data}; "
                f"take a multiple of {self.data}"
            )


def parse_mesh(text: str) -> MeshShape:
    """Parses a text such as `data=4,model=2`; an axis that is not named has one device.

    Raises:
        MeshError: an unknown axis, an axis named twice, or a size that is not a positive whole number.
    """
    sizes: dict[str, int] = {}
    for part in text.split(",") if text.strip() else ():
        axis, _, size = (word.strip() for word in part.partition("="))
        if axis not in MeshShape._fields:
            raise MeshError(
                f"mesh {text!r} has an unknown axis {axis!r}; write data=N, model=N, or data=N,model=N"
            )
        if axis in sizes:
            raise MeshError(f"mesh {text!r} names the axis {axis} twice")
        if not (size.isascii() and size.isdecimal() and int(size)):
            raise MeshError(
                f"mesh {text!r} has {axis}={size}, which must be a whole number of devices, at least 1"
            )
        sizes[axis] = int(size)
    return MeshShape(**sizes)
