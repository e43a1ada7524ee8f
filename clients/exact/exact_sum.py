"""Sums of task vectors that do not depend on order or grouping, and from which subtracting gives back the exact rest.

Each entry is put on a grid (``clients.exact.grid``), a function of the entry alone, and added as a whole number, int32 or
int64. Entries and the number of vectors are checked against the grid's limits, so that a sum of vectors that were added
cannot overflow. Digests are those of the numbers, whichever type holds them.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from clients.errors import InputError
from clients.exact import digest
from clients.exact.grid import FINE, Grid, add_to, from_grid, settle


class ExactSum:
    """The sum of ``count`` vectors as values of a grid, in its type, shape [d]."""

    def __init__(self, size: int, grid: Grid = FINE) -> None:
        self.grid = grid
        self.count = 0
        self._total = np.zeros(size, dtype=grid.dtype)
        self._owed = 0

    @property
    def total(self) -> np.ndarray:
        """Grid values of the sum, shape [d]."""
        if self._owed:
            settle(self._total, self._owed)
            self._owed = 0
        return self._total

    def add(self, vector: np.ndarray) -> None:
        """Add one vector, fp32 or float64, shape [d]. On InputError the sum is unchanged."""
        self._check_shape(vector)
        self._check_count(self.count + 1)
        self._owed += add_to(self._total, vector, self.grid)
        self.count += 1

    def subtract(self, vector: np.ndarray) -> None:
        """Take one vector out again, fp32 or float64, shape [d]. On InputError the sum is unchanged."""
        self._check_shape(vector)
        self._check_count(self.count - 1)
        self._owed += add_to(self._total, vector, self.grid, sign=-1)
        self.count -= 1

    def merge(self, values: np.ndarray, count: int) -> None:
        """Add a partial sum of ``count`` vectors (negative: take it out), grid values in the grid's type, shape [d]."""
        if values.dtype != self.grid.dtype:
            raise InputError(f"a partial sum must be {self.grid.dtype} grid values, not {values.dtype}")
        self._check_shape(values)
        self._check_count(self.count + count)
        limit = abs(count) * self.grid.largest
        if values.size and (int(values.max()) > limit or int(values.min()) < -limit):
            raise InputError(f"a partial sum of {abs(count)} vectors has entries beyond {abs(count)} x {self.grid.limit:g}")
        if count >= 0:
            self._total += values
        else:
            self._total -= values
        self.count += count

    def mean(self) -> np.ndarray:
        """fp32 mean of the vectors, shape [d]; zeros where there is none."""
        return from_grid(self.total, self.grid, max(self.count, 1))

    def values(self) -> np.ndarray:
        """float64 sum of the vectors, shape [d]; exact below 2^53 grid values."""
        return self.total / 2.0**self.grid.bits

    def digest(self) -> str:
        """Digest of grid, count and total: equal for equal sets of vectors, whatever the history and the type."""
        return digest.of_json([self.grid.bits, self.count, digest.of_integers(self.total)])

    def to_bytes(self) -> bytes:
        """The sum as a safetensors file."""
        return save({"sum": self.total, "count": np.array([self.count], dtype=np.int64)})

    @classmethod
    def load(cls, path: Path, grid: Grid = FINE) -> "ExactSum":
        """Read a sum of values of a grid back.

        Raises:
            InputError: the file is missing or damaged.
        """
        arrays = read_safetensors(path)
        expected = {"sum": grid.dtype, "count": np.dtype(np.int64)}
        if {name: array.dtype for name, array in arrays.items()} != expected or arrays["sum"].ndim != 1:
            raise InputError(f"{path}: not an exact sum (needs {grid.dtype} 'sum' [d] and int64 'count' [1])")
        if arrays["count"].shape != (1,):
            raise InputError(f"{path}: not an exact sum ('count' has shape {arrays['count'].shape}, not (1,))")
        loaded = cls(arrays["sum"].size, grid)
        try:
            loaded.merge(arrays["sum"], int(arrays["count"][0]))
        except InputError as error:
            raise InputError(f"{path}: damaged: {error}") from error
        return loaded

    def _check_shape(self, vector: np.ndarray) -> None:
        if vector.shape != self._total.shape:
            raise InputError(f"vector of shape {vector.shape} does not fit a sum of shape {self._total.shape}")

    def _check_count(self, count: int) -> None:
        if not 0 <= count <= self.grid.most:
            raise InputError(f"an exact sum holds 0 to {self.grid.most} vectors, not {count}")


def added(partial: Sequence[np.ndarray]) -> np.ndarray:
    """The sum of partial sums of the same shape and type, at least one, in that type.

    Raises:
        InputError: they differ in shape or type, or their sum does not fit it.
    """
    total = partial[0].copy()
    for values in partial[1:]:
        if (values.shape, values.dtype) != (total.shape, total.dtype):
            raise InputError(f"partial sums differ: {total.dtype} {total.shape}, {values.dtype} {values.shape}")
        before = total.copy()
        total += values
        if (((before ^ total) & (values ^ total)) < 0).any():  # both had the other sign
            raise InputError(f"the sum of partial sums does not fit {total.dtype}")
    return total


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a safetensors file; InputError if it is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read as safetensors ({error})") from error
