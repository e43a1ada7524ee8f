"""Masks as one bit per parameter, and served vectors built from them in one pass.

Bit order is little: entry i is bit ``i % 8`` of byte ``i // 8``; unused bits of the last byte are zero.
"""

from collections.abc import Sequence

import numpy as np

from clients.errors import InputError

BLOCK = 1 << 16  # a multiple of 8, so that blocks of entries are blocks of bytes


def pack(mask: np.ndarray) -> np.ndarray:
    """bool [d] to uint8 [ceil(d/8)]."""
    return np.packbits(mask, bitorder="little")


def unpack(packed: np.ndarray, size: int) -> np.ndarray:
    """uint8 [ceil(size/8)] to bool [size].

    Raises:
        InputError: the number of bytes does not fit ``size``.
    """
    _check_packed(packed, size)
    return np.unpackbits(packed, count=size, bitorder="little").view(bool)


def count(packed: np.ndarray) -> int:
    """Number of ones."""
    return int(np.bitwise_count(packed).sum())


def sign_vector(seed: int, size: int) -> np.ndarray:
    """The shared sign vector v of sign-fixed tuning, uniform over {-1, +1} and drawn before any training.

    Returns:
        fp32 of -1 and +1, shape [size]; the same for a seed on every machine (Philox counter generator).
    """
    generator = np.random.Generator(np.random.Philox(key=seed))
    raw = np.frombuffer(generator.bytes((size + 7) // 8), dtype=np.uint8)
    return np.where(unpack(raw, size), np.float32(1), np.float32(-1))


def largest_share(vector: np.ndarray, keep: float) -> np.ndarray:
    """Mask of the largest ``keep`` share of a vector's own non-zero entries (all of them at 1); bool [d].

    Entries as large as the smallest one kept are kept too, so the mask does not depend on the order of ties.
    """
    magnitude = np.abs(vector)
    nonzero = magnitude > 0
    if keep >= 1.0:
        return nonzero
    present = magnitude[nonzero]
    kept = round(keep * present.size)
    if kept == 0:
        return np.zeros_like(nonzero)
    threshold = np.partition(present, present.size - kept)[present.size - kept]
    return magnitude >= threshold


def add_masked(
    theta: np.ndarray,
    direction: np.ndarray,
    scale: float,
    packed: np.ndarray | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """``theta + scale · mask ⊙ direction`` in one blocked pass over the parameters.

    Args:
        theta, direction: fp32 [d].
        packed: packed mask, or None for all ones.
        out: fp32 [d] to write into.

    Raises:
        InputError: direction or mask do not fit theta.
    """
    if direction.shape != theta.shape:
        raise InputError(f"a direction of shape {direction.shape} does not fit {theta.size} parameters")
    if packed is not None:
        _check_packed(packed, theta.size)
    out = np.empty_like(theta) if out is None else out
    factor = np.float32(scale)
    step = np.empty(min(BLOCK, theta.size), dtype=np.float32)
    for start in range(0, theta.size, BLOCK):
        part = slice(start, min(start + BLOCK, theta.size))
        s = step[: part.stop - start]
        np.multiply(direction[part], factor, out=s)
        if packed is not None:
            ones = np.unpackbits(packed[start // 8 : (part.stop + 7) // 8], count=s.size, bitorder="little")
            np.multiply(s, ones, out=s)
        np.add(theta[part], s, out=out[part])
    return out


def weighted_sum(directions: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """Σ weight · direction in the order given, in float64 and rounded once; fp32 [d].

    Raises:
        InputError: directions of different sizes.
    """
    if len(sizes := {direction.shape for direction in directions}) != 1:
        raise InputError(f"directions of shapes {sorted(sizes)} cannot be added")
    out = np.empty_like(directions[0], dtype=np.float32)
    for start in range(0, out.size, BLOCK):
        part = slice(start, start + BLOCK)
        total = np.zeros(out[part].size, dtype=np.float64)
        for direction, weight in zip(directions, weights, strict=True):
            total += weight * direction[part].astype(np.float64)
        out[part] = total
    return out


def _check_packed(packed: np.ndarray, size: int) -> None:
    if packed.dtype != np.uint8 or packed.shape != ((size + 7) // 8,):
        raise InputError(f"a mask of {size} parameters is {(size + 7) // 8} bytes, not {packed.dtype} {packed.shape}")
