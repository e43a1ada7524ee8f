"""Passes over many task vectors at once, block by block, so that memory does not grow with their number.

A vector is a ``Row``: a function from a part (a slice of the parameters) to its entries. ``mapped`` makes one of a file
without reading it: the pages of a part are read when the part is asked for, so a pass reads each page once and holds a few
blocks of ``BLOCK`` entries (128 KiB each, which stay in the second-level cache). Rows come sorted by client name: floating
sums over them are then a function of who is there, whatever order they joined in.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from clients.errors import InputError

Row = Callable[[slice], np.ndarray]

BLOCK = 1 << 15
"""Entries handled at a time; a multiple of 8, so that blocks of entries are blocks of packed bytes."""
WHOLE = 1 << 17
"""Entries up to which a selection copies them all."""
SAMPLED = 256
"""Entries looked at in each block to guess where a selection will end."""
MARGIN = 0.01
"""How far from the guess, as a share of all entries, a selection looks at first."""


def mapped(path: Path, size: int) -> Row:
    """A vector kept as a safetensors file of one fp32 array ``value`` [size], mapped into memory.

    Raises:
        InputError: the file is missing, damaged or of another model.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:  # its torch side maps the file, its numpy side copies
            vector: np.ndarray = file.get_tensor("value").numpy()
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read as safetensors ({error})") from error
    if vector.dtype != np.float32 or vector.shape != (size,):
        raise InputError(f"{path}: holds {vector.dtype} {vector.shape}, a task vector is float32 ({size},)")
    return vector.__getitem__


def blocks(start: int, stop: int, size: int = BLOCK) -> Iterator[slice]:
    """Parts of at most ``size`` entries, from start to stop."""
    for first in range(start, stop, size):
        yield slice(first, min(first + size, stop))


def mean_of(rows: Sequence[Row]) -> Row:
    """The mean of some vectors as a row of its own, computed whenever a part is read."""
    if len(rows) == 1:
        return rows[0]
    return lambda part: (_added(rows, part) / len(rows)).astype(np.float32)


def total(rows: Sequence[Row], size: int) -> np.ndarray:
    """Σ of the rows, added in float64 and rounded once; fp32 [size]."""
    found = np.zeros(size, dtype=np.float32)
    for part in blocks(0, size):
        found[part] = _added(rows, part)
    return found


def _added(rows: Sequence[Row], part: slice) -> np.ndarray:
    added = np.zeros(part.stop - part.start)
    for row in rows:
        np.add(added, row(part), out=added)
    return added


def kth_largest(values: Row, start: int, stop: int, k: int) -> np.float32:
    """The k-th largest of the values from start to stop, counting equal ones; exact.

    One pass: a small sample of every block brackets the answer, and only what lies between the brackets is collected. Where
    the sample misled (or the values are few), more is collected, in the end all.

    Args:
        values: fp32, none NaN.
        k: from 1 to stop - start.
    """
    size = stop - start
    if size <= WHOLE:
        return np.float32(_kth(np.concatenate([values(part) for part in blocks(start, stop)]), k))
    heads = [slice(part.start, min(part.start + SAMPLED, part.stop)) for part in blocks(start, stop)]
    sample = np.sort(np.concatenate([values(head) for head in heads]))[::-1]
    margin = MARGIN
    while True:
        first, last = ((k / size + m) * sample.size for m in (-margin, margin))
        high = sample[int(first)] if first >= 0 else np.float32(np.inf)
        low = sample[int(last)] if last < sample.size else np.float32(-np.inf)
        found = _between(values, start, stop, k, low, high)
        if found is not None:
            return found
        margin *= 8


def _between(values: Row, start: int, stop: int, k: int, low: np.float32, high: np.float32) -> np.float32 | None:
    """The k-th largest if it is from low to high. Those equal to low or high are only counted: there may be many."""
    above = highest = lowest = 0
    inside = []
    for part in blocks(start, stop):
        found = values(part)
        above += int(np.count_nonzero(found > high))
        highest += int(np.count_nonzero(found == high))
        lowest += int(np.count_nonzero(found == low)) if low < high else 0
        inside.append(found[(found > low) & (found < high)])
    between = np.concatenate(inside)
    if above < k <= above + highest:
        return high
    if above + highest < k <= above + highest + between.size:
        return np.float32(_kth(between, k - above - highest))
    return low if above + highest + between.size < k <= above + highest + between.size + lowest else None


def _kth(values: np.ndarray, k: int) -> float:
    return float(np.partition(values, values.size - k)[values.size - k])
