"""Sums of task vectors that do not depend on order or grouping, and from which subtracting gives back the exact rest.

Each entry is put on the grid of multiples of 2^-32 (round half to even, a function of the entry alone) and added as
int64. With |τ| < 2^15 a grid value stays under 2^47, so 2^16 vectors fit below 2^63: both limits are checked, and a sum
of vectors that were added cannot overflow.
"""

from pathlib import Path

import numpy as np
from safetensors.numpy import save

from clients.errors import InputError
from clients.exact import digest

GRID_BITS = 32
LARGEST_ENTRY = 2.0**15
MOST_VECTORS = 2**16
LARGEST_GRID = (1 << 47) - (1 << 23)
"""Grid value of the largest fp32 below 2^15."""
BLOCK = 1 << 16
"""Entries handled at a time: a block's work buffer stays in the second-level cache."""
ROUNDER = 1.5 * 2.0**20
"""float64 numbers in [2^20, 2^21) are 2^-32 apart: adding this to an entry rounds it to the grid, half to even, and the
bits of the result are those of ROUNDER plus the grid value. (A cast of rounded floats to int64 is slower.)"""
ROUNDER_BITS = np.float64(ROUNDER).view(np.int64)


def to_grid(vector: np.ndarray) -> np.ndarray:
    """Grid values of a vector.

    Args:
        vector: fp32, shape [d].

    Returns:
        int64, shape [d].

    Raises:
        InputError: an entry is NaN, infinite or not below 2^15 in magnitude.
    """
    grid = np.zeros(vector.shape, dtype=np.int64)
    _add_blocked(grid, vector, sign=1)
    return grid


def from_grid(grid: np.ndarray, divisor: int = 1) -> np.ndarray:
    """fp32 values of ``grid / divisor``, rounded once from float64; shape [d]."""
    values = np.empty(grid.shape, dtype=np.float32)
    for start in range(0, grid.size, BLOCK):
        part = slice(start, start + BLOCK)
        values[part] = grid[part].astype(np.float64) / (divisor * 2.0**GRID_BITS)
    return values


class ExactSum:
    """The sum of ``count`` task vectors as int64 on the 2^-32 grid, shape [d]."""

    def __init__(self, size: int) -> None:
        self.total = np.zeros(size, dtype=np.int64)
        self.count = 0

    def add(self, vector: np.ndarray) -> None:
        """Add one fp32 task vector, shape [d]. On InputError the sum is unchanged."""
        self._check_shape(vector)
        self._check_count(self.count + 1)
        _add_blocked(self.total, vector, sign=1)
        self.count += 1

    def subtract(self, vector: np.ndarray) -> None:
        """Take one fp32 task vector out again, shape [d]. On InputError the sum is unchanged."""
        self._check_shape(vector)
        self._check_count(self.count - 1)
        _add_blocked(self.total, vector, sign=-1)
        self.count -= 1

    def merge(self, grid: np.ndarray, count: int) -> None:
        """Add a partial sum of ``count`` vectors (negative: take it out), int64 grid values of shape [d]."""
        if grid.dtype != np.int64:
            raise InputError(f"a partial sum must be int64 grid values, not {grid.dtype}")
        self._check_shape(grid)
        self._check_count(self.count + count)
        limit = abs(count) * LARGEST_GRID
        if grid.size and (int(grid.max()) > limit or int(grid.min()) < -limit):
            raise InputError(f"a partial sum of {abs(count)} vectors has entries beyond {abs(count)} x {LARGEST_ENTRY:g}")
        if count >= 0:
            self.total += grid
        else:
            self.total -= grid
        self.count += count

    def mean(self) -> np.ndarray:
        """fp32 mean of the vectors, shape [d]; zeros where there is none."""
        return from_grid(self.total, max(self.count, 1))

    def values(self) -> np.ndarray:
        """float64 sum of the vectors, shape [d]; exact below 2^53 grid values."""
        return self.total / 2.0**GRID_BITS

    def digest(self) -> str:
        """Digest of grid, count and total: equal for equal sets of vectors, whatever the history."""
        return digest.of_json([GRID_BITS, self.count, digest.of_array(self.total)])

    def to_bytes(self) -> bytes:
        """The sum as a safetensors file."""
        return save({"sum": self.total, "count": np.array([self.count], dtype=np.int64)})

    @classmethod
    def load(cls, path: Path) -> "ExactSum":
        """Read a sum back.

        Raises:
            InputError: the file is missing or damaged.
        """
        arrays = read_safetensors(path)
        if set(arrays) != {"sum", "count"} or any(a.dtype != np.int64 or a.ndim != 1 for a in arrays.values()):
            raise InputError(f"{path}: not an exact sum (needs int64 'sum' [d] and 'count' [1])")
        if arrays["count"].shape != (1,):
            raise InputError(f"{path}: not an exact sum ('count' has shape {arrays['count'].shape}, not (1,))")
        loaded = cls(arrays["sum"].size)
        try:
            loaded.merge(arrays["sum"], int(arrays["count"][0]))
        except InputError as error:
            raise InputError(f"{path}: damaged: {error}") from error
        return loaded

    def _check_shape(self, vector: np.ndarray) -> None:
        if vector.shape != self.total.shape:
            raise InputError(f"vector of shape {vector.shape} does not fit a sum of shape {self.total.shape}")

    def _check_count(self, count: int) -> None:
        if not 0 <= count <= MOST_VECTORS:
            raise InputError(f"an exact sum holds 0 to {MOST_VECTORS} vectors, not {count}")


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a safetensors file; InputError if it is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read as safetensors ({error})") from error


def _add_blocked(total: np.ndarray, vector: np.ndarray, sign: int) -> None:
    """total += sign · grid(vector), one cache-sized block at a time; on InputError total is as it was."""
    if vector.dtype not in (np.float32, np.float64):
        raise InputError(f"task vectors are summed from fp32 or float64, not {vector.dtype}")
    rounded = np.empty(min(BLOCK, vector.size), dtype=np.float64)
    fold = np.add if sign > 0 else np.subtract
    for start in range(0, vector.size, BLOCK):
        part, view = vector[start : start + BLOCK], total[start : start + BLOCK]
        if not max(float(part.max()), -float(part.min())) < LARGEST_ENTRY:  # false for NaN as well
            _add_blocked(total[:start], vector[:start], -sign)  # integers: this takes out exactly what went in
            raise InputError(f"a task vector has NaN, infinite or |entries| >= {LARGEST_ENTRY:g}: lower the learning rate")
        r = rounded[: part.size]
        grid = r.view(np.int64)
        np.copyto(r, part)
        np.add(r, ROUNDER, out=r)
        np.subtract(grid, ROUNDER_BITS, out=grid)
        fold(view, grid, out=view)
