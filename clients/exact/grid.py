"""The grid that vectors are summed on: whole multiples of 2^-bits, so that sums are exact, in any order.

Each entry is rounded to the grid half to even, a function of the entry alone, and is added as a whole number. How large a
vector's entries can be, and how many vectors are ever summed, decide the type: int32 where the fullest sum fits, else int64.
Every entry is checked against the bound, so that no sum can wrap.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from clients.errors import InputError

MOST_VECTORS = 2**16
BLOCK = 1 << 16
"""Entries handled at a time: a block's work buffer stays in the second-level cache."""
LARGEST_INT64 = 2**63 - 1
SINGLE, DOUBLE = 2**22, 2**51
"""Grid values below these can be rounded by an addition in fp32, in float64."""
FEWEST_BITS, MOST_BITS = -100, 140
"""The floats that round by an addition have to exist in fp32."""


@dataclass(frozen=True)
class Grid:
    """Multiples of 2^-bits.

    Attributes:
        bits: 2^-bits is the step of the grid.
        largest: the largest |grid value| that an entry of one vector can have; larger ones are refused.
        most: how many vectors are ever summed.

    Raises:
        InputError: the fullest sum would not fit int64, or entries could not be rounded.
    """

    bits: int
    largest: int
    most: int = MOST_VECTORS

    def __post_init__(self) -> None:
        if not FEWEST_BITS <= self.bits <= MOST_BITS:
            raise InputError(f"a grid has {FEWEST_BITS} to {MOST_BITS} bits, not {self.bits}")
        if not 0 < self.largest < DOUBLE or self.most < 1 or self.most * self.largest > LARGEST_INT64:
            raise InputError(f"sums of {self.most} vectors with entries up to {self.largest} steps do not fit int64")

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of grid values and their sums: int32 where the fullest sum fits, else int64."""
        return np.dtype(np.int32 if self.most * self.largest < 2**31 else np.int64)

    @property
    def counter(self) -> np.dtype[Any]:
        """The smallest type that counts to ``most``."""
        return np.min_scalar_type(self.most)

    @property
    def limit(self) -> float:
        """The largest |entry| of a vector."""
        return self.largest * 2.0**-self.bits


FINE = Grid(32, (1 << 47) - (1 << 23))
"""For vectors of which nothing is known: steps of 2^-32, every fp32 below 2^15, sums of 2^16 vectors, in int64."""


def to_grid(vector: np.ndarray, grid: Grid) -> np.ndarray:
    """Grid values of a vector.

    Args:
        vector: fp32 or float64, shape [d].

    Returns:
        int32 or int64, as the grid says, shape [d].

    Raises:
        InputError: an entry is NaN, infinite or larger than the grid's bound.
    """
    values = np.empty(vector.shape, dtype=grid.dtype)
    for part, rounded in _rounded(vector, grid):
        values[part] = rounded
    return values


def add_to(total: np.ndarray, vector: np.ndarray, grid: Grid, sign: int = 1) -> None:
    """total += sign · grid values of a vector, fp32 or float64, shape [d]; on InputError total is as it was."""
    fold, done = np.add if sign > 0 else np.subtract, 0
    try:
        for part, rounded in _rounded(vector, grid):
            fold(total[part], rounded, out=total[part])
            done = part.stop
    except InputError:
        if done:
            add_to(total[:done], vector[:done], grid, -sign)  # whole numbers: this takes out exactly what went in
        raise


def from_grid(values: np.ndarray, grid: Grid, divisor: int = 1) -> np.ndarray:
    """fp32 values of grid values over a divisor, rounded once from float64; shape [d]."""
    floats = np.empty(values.shape, dtype=np.float32)
    for start in range(0, values.size, BLOCK):
        part = slice(start, start + BLOCK)
        floats[part] = values[part].astype(np.float64) / (divisor * 2.0**grid.bits)
    return floats


def _rounded(vector: np.ndarray, grid: Grid) -> Iterator[tuple[slice, np.ndarray]]:
    """Grid values, one cache-sized block at a time; a block's are gone when the next one comes.

    Floats around 1.5 · 2^(p - bits), where p is the number of bits of a fraction, are 2^-bits apart. So adding that
    number rounds an entry to the grid, half to even, and the bits of the result are those of that number plus the grid
    value. (Casting rounded floats to integers is slower.) These bits grow with an entry, and those of entries beyond the
    range, of infinities and of NaN lie beyond those of all others, so that comparing them checks everything.
    """
    if vector.dtype not in (np.float32, np.float64):
        raise InputError(f"vectors are summed from fp32 or float64, not {vector.dtype}")
    single = vector.dtype == np.float32 and grid.largest < SINGLE
    floats, integers, fraction = (np.float32, np.int32, 23) if single else (np.float64, np.int64, 52)
    rounder = floats(1.5 * 2.0 ** (fraction - grid.bits))
    offset = int(rounder.view(integers))
    smallest, largest = offset - grid.largest, offset + grid.largest
    buffer = np.empty(min(BLOCK, vector.size), dtype=floats)
    for start in range(0, vector.size, BLOCK):
        entries = vector[start : start + BLOCK]
        sums = buffer[: entries.size]
        with np.errstate(over="ignore", invalid="ignore"):  # all of that lies beyond the bound
            np.add(entries, rounder, out=sums)
        values = sums.view(integers)
        if np.minimum.reduce(values) < smallest or np.maximum.reduce(values) > largest:
            raise InputError(f"a vector has NaN, infinite or |entries| > {grid.limit:g}, more than can be summed")
        np.subtract(values, offset, out=values)
        yield slice(start, start + entries.size), values
