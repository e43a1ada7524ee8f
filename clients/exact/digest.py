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


def of_integers(array: np.ndarray) -> str:
    """Digest of whole numbers, whichever type holds them: ``of_array`` in the smallest signed type that holds them all."""
    if array.dtype.kind not in "iu":
        return of_array(array)
    smallest, largest = int(array.min(initial=0)), int(array.max(initial=0))
    types = (np.int8, np.int16, np.int32, np.int64)
    narrow = next((t for t in types if np.iinfo(t).min <= smallest and largest <= np.iinfo(t).max), array.dtype)
    return of_array(array.astype(narrow, copy=False))
