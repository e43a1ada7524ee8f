"""SHA-256 digests of JSON values and arrays, the same on every machine."""

import hashlib
import json
from typing import Any

import numpy as np


def of_json(value: Any) -> str:
    """Digest of a JSON value with sorted keys and no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def of_array(array: np.ndarray) -> str:
    """Digest of dtype, shape and little-endian bytes of an array."""
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    state = hashlib.sha256(f"{little.dtype.str}{little.shape}".encode())
    state.update(little.data.cast("B") if little.size else b"")
    return state.hexdigest()
