"""What a client computes of its vector and shard for the parts that the server keeps, by name: one function each.

A new kind of state needs a function here (or anywhere, named ``module:function``) and a part in ``strategies/state``. The
array of a client is called ``KEY/CLIENT`` in a reply. The exact ``sum`` is another matter: it is of a whole cohort.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from clients import outside
from clients.data.dataset import Shard
from clients.errors import InputError
from clients.exact import bits, finite
from clients.exact.determinism import deterministic
from clients.exact.grid import FINE, Grid, to_grid
from clients.strict import Strict
from clients.work.site import Site


class Wanted(Strict):
    """A contribution by name, with the value that decides it, as a mask's kept share."""

    what: str
    value: float | int | None = None

    @property
    def key(self) -> str:
        """Tells it from all others: ``vector``, ``mask-0.5``."""
        return self.what if self.value is None else f"{self.what}-{text_of(self.value)}"


SUM = Wanted(what="sum")
"""The exact sum of a cohort's vectors, as grid values."""
VECTOR = Wanted(what="vector")
GRID = Wanted(what="grid")
"""The grid values of one vector, as they are summed."""


def text_of(value: float) -> str:
    """A number as it stands in names: the shortest text that gives it back, whole numbers without a point."""
    return repr(value).removesuffix(".0")


@dataclass(frozen=True)
class Derived:
    """A client's vector as it was just derived, fp32 or float64 [d], with what it was derived from.

    Attributes:
        grid: that vectors like it are summed on.
    """

    site: Site
    shard: Shard
    vector: np.ndarray
    bounds: tuple[int, ...]
    grid: Grid = FINE
    _masks: dict[float, np.ndarray] = field(default_factory=dict)

    @cached_property
    def values(self) -> np.ndarray:
        """The vector on its grid, [d]; see ``summable``."""
        return summable(self.shard.client, self.vector, self.grid)

    def mask(self, keep: float) -> np.ndarray:
        """The largest ``keep`` share of the vector's own non-zero entries, bool [d]."""
        if keep not in self._masks:
            self._masks[keep] = bits.largest_share(self.vector, keep)
        return self._masks[keep]


def summable(client: str, vector: np.ndarray, grid: Grid) -> np.ndarray:
    """Grid values of a client's vector; InputError, with its name, if an entry is beyond the grid's bound."""
    try:
        return to_grid(vector, grid)
    except InputError as error:
        raise InputError(f"client {client}: {error}") from error


def vector(derived: Derived, value: None) -> np.ndarray:
    """The vector itself."""
    return derived.vector


def grid(derived: Derived, value: None) -> np.ndarray:
    """Its grid values, in the fewest bytes that hold those of any client, [d]."""
    return derived.values.astype(derived.grid.own)


def mask(derived: Derived, keep: float) -> np.ndarray:
    """The packed mask of the vector's largest share, uint8."""
    return bits.pack(derived.mask(keep))


def size(derived: Derived, keep: float) -> np.ndarray:
    """Mean |entry| over the entries that the mask keeps of each tensor, 0 where none is kept; fp32 [tensors]."""
    kept, starts = derived.mask(keep), derived.bounds[:-1]
    ones = np.add.reduceat(kept.astype(np.int64), starts)
    sums = np.add.reduceat(np.where(kept, np.abs(derived.vector), 0).astype(np.float64), starts)
    return (sums / np.maximum(ones, 1)).astype(np.float32)


def features(derived: Derived, value: None) -> np.ndarray:
    """Mean feature of the training data under the base model, fp32 [width]."""
    with deterministic():
        return derived.site.model.features(derived.shard.train)


def anchor(derived: Derived, count: int) -> np.ndarray:
    """The number of the anchor, of so many, that the shard is nearest to (``anchors``); int64 [1]."""
    return np.array([derived.site.nearest(derived.shard.client, count)], dtype=np.int64)


CONTRIBUTIONS: dict[str, Callable[[Derived, Any], np.ndarray]] = {
    "vector": vector,
    "grid": grid,
    "mask": mask,
    "size": size,
    "features": features,
    "anchor": anchor,
}


def contribution(derived: Derived, wanted: Wanted) -> np.ndarray:
    """What is wanted of a client.

    Raises:
        NotFiniteError: it is not.
        InputError: no client computes anything of that name.
    """
    if outside.is_outside(wanted.what):
        compute: Callable[[Derived, Any], np.ndarray] = outside.load(wanted.what)
    elif wanted.what in CONTRIBUTIONS:
        compute = CONTRIBUTIONS[wanted.what]
    else:
        raise InputError(f"there is no contribution {wanted.what!r}; there are {', '.join(CONTRIBUTIONS)}")
    found = compute(derived, wanted.value)
    finite.check(found, f"client {derived.shard.client}: its {wanted.key}")
    return found
