"""Sizes of what is kept: where the tensors of a vector lie, and the bytes of files by the shapes of what is in them."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from clients.exact.grid import FINE, Grid

Shape = tuple[tuple[int, ...], Any]
"""Shape and type of an array."""

SAFETENSORS_ORDER = ("U8", "I8", "I16", "U16", "I32", "U32", "F32", "F64", "I64")
"""A file holds its arrays by type, the last of these first, then by name; the length of its header follows from it."""


@dataclass(frozen=True)
class Layout:
    """What sizes follow from.

    Attributes:
        size: entries of a vector, d.
        tensors: in how many tensors.
        seed: of the run; random clusters follow from it.
        features: width of a client's mean feature, 0 where it is not known.
        grid: that vectors are summed on.
    """

    size: int
    tensors: int
    seed: int
    features: int = 0
    grid: Grid = FINE

    @property
    def mask_bytes(self) -> int:
        """Bytes of a packed mask."""
        return (self.size + 7) // 8

    @property
    def vector_bytes(self) -> int:
        """Bytes of a file that holds one vector."""
        return safetensors_bytes({"value": ((self.size,), np.float32)})


def safetensors_bytes(arrays: Mapping[str, Shape]) -> int:
    """Bytes of a safetensors file of arrays, by name their shape and type."""
    types = {name: np.dtype(kind) for name, (_, kind) in arrays.items()}
    named = {name: f"{kind.kind.upper()}{8 * kind.itemsize}" for name, kind in types.items()}
    header, offset = {}, 0
    for name in sorted(arrays, key=lambda name: (-SAFETENSORS_ORDER.index(named[name]), name)):
        shape = arrays[name][0]
        end = offset + types[name].itemsize * math.prod(shape)
        header[name] = {"dtype": named[name], "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    return 8 + 8 * math.ceil(len(json.dumps(header, separators=(",", ":"))) / 8) + offset
