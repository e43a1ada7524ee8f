"""The grid that vectors are summed on: whole multiples of 2^-bits, so that sums are exact, in any order.

Each entry is rounded to the grid half to even, a function of the entry alone, and is added as a whole number. How large a
vector's entries can be, and how many vectors are ever summed, decide the type: int32 where the fullest sum fits, else int64.
Every entry is checked against the bound, so that no sum can wrap.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
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
UNHEARD = partial(np.errstate, over="ignore", invalid="ignore")
"""Without warnings: what overflows, or is no number, lies beyond every bound."""


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
    def own(self) -> np.dtype[Any]:
        """Of one vector's grid values, in the fewest bytes."""
        return np.min_scalar_type(-self.largest)

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
    rounder, offset = _rounder(vector, grid)
    with UNHEARD():
        for part, sums in _sums(vector, rounder, offset, grid):
            np.subtract(sums, offset, out=values[part], casting="same_kind")
    return values


def add_to(total: np.ndarray, vector: np.ndarray, grid: Grid, sign: int = 1) -> int:
    """Add the grid values of a vector to a total in the grid's type, and to each of them the same offset.

    To take the offset off at once would be to go through the values once more; taking it off a sum of many vectors, in the
    arithmetic of its type (modulo 2^32 or 2^64), is to go through them once.

    Args:
        total: changed in place; on InputError it is as it was.
        vector: fp32 or float64, shape [d].
        sign: -1 to subtract both.

    Returns:
        What every entry of the total is too large by (with ``sign`` -1 too small, so negative).
    """
    rounder, offset = _rounder(vector, grid)
    owed = offset if np.can_cast(rounder.view(f"i{rounder.itemsize}").dtype, total.dtype) else 0
    fold, done = np.add if sign > 0 else np.subtract, 0
    try:
        with UNHEARD():
            for part, sums in _sums(vector, rounder, offset, grid):
                if not owed:
                    sums = np.subtract(sums, offset, out=sums).astype(total.dtype)
                fold(total[part], sums, out=total[part])
                done = part.stop
    except InputError:
        if done:
            add_to(total[:done], vector[:done], grid, -sign)  # whole numbers: this takes out exactly what went in
        raise
    return sign * owed


def settle(total: np.ndarray, owed: int) -> None:
    """Take what every entry is too large by off a total, modulo 2^32 or 2^64 as its type has it."""
    bits = 8 * total.itemsize
    np.subtract(total, total.dtype.type((owed + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)), out=total)


def from_grid(values: np.ndarray, grid: Grid, divisor: int = 1) -> np.ndarray:
    """fp32 values of grid values over a divisor, rounded once from float64; shape [d]."""
    floats = np.empty(values.shape, dtype=np.float32)
    for start in range(0, values.size, BLOCK):
        part = slice(start, start + BLOCK)
        floats[part] = values[part].astype(np.float64) / (divisor * 2.0**grid.bits)
    return floats


def _rounder(vector: np.ndarray, grid: Grid) -> tuple[np.float32 | np.float64, int]:
    """A float that rounds entries of a vector to the grid when it is added to them, and its bits.

    Floats around 1.5 · 2^(p - bits), where p is the number of bits of a fraction, are 2^-bits apart. So adding that one
    rounds an entry to the grid, half to even, and the bits of the sum are those of that number plus the grid value. (Casting
    rounded floats to integers is slower.)
    """
    if vector.dtype not in (np.float32, np.float64):
        raise InputError(f"vectors are summed from fp32 or float64, not {vector.dtype}")
    if vector.dtype == np.float32 and grid.largest < SINGLE:
        single = np.float32(1.5 * 2.0 ** (23 - grid.bits))
        return single, int(single.view(np.int32))
    double = np.float64(1.5 * 2.0 ** (52 - grid.bits))
    return double, int(double.view(np.int64))


def _sums(
    vector: np.ndarray, rounder: np.float32 | np.float64, offset: int, grid: Grid
) -> Iterator[tuple[slice, np.ndarray]]:
    """Grid values plus the offset, one cache-sized block at a time; a block's are gone when the next one comes.

    As bits of floats they grow with an entry, and those of entries beyond the range, of infinities and of NaN lie beyond
    those of all others, so that comparing them checks everything.
    """
    smallest, largest = offset - grid.largest, offset + grid.largest
    buffer = np.empty(min(BLOCK, vector.size), dtype=rounder.dtype)
    integers = buffer.view(f"i{rounder.itemsize}")
    for start in range(0, vector.size, BLOCK):
        part = slice(start, min(start + BLOCK, vector.size))
        sums = integers[: part.stop - start]
        np.add(vector[part], rounder, out=buffer[: part.stop - start])
        if np.minimum.reduce(sums) < smallest or np.maximum.reduce(sums) > largest:
            raise InputError(f"a vector has NaN, infinite or |entries| > {grid.limit:g}, more than can be summed")
        yield part, sums
