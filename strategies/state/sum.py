"""The exact sum Σ of all vectors, as values of the rule's grid (``clients.exact.grid``)."""

from collections.abc import Iterable, Mapping

import numpy as np

from clients.exact.exact_sum import ExactSum
from clients.jobs import Reply
from clients.work.contributions import SUM, Wanted
from strategies.state.layout import Layout, Shape
from strategies.state.part import Whole, damaged

MEAN = "mean"
"""Name of the direction Σ/T."""
TOTAL = f"{MEAN}/total"
"""Name of the direction Σ, in float64: for statistics, which are solved and not moved along."""


class Sum(Whole):
    """``mean`` is Σ/T, zeros of nobody; ``mean/total`` is Σ."""

    summed = True
    name = "sum"
    directions = MEAN
    total: ExactSum

    def wants(self) -> Mapping[Wanted, Shape | None]:
        return {SUM: ((self.kept.size,), self.kept.layout.grid.dtype)}

    def start(self) -> None:
        self.total = ExactSum(self.kept.size, self.kept.layout.grid)

    def imagine(self, members: Iterable[str]) -> None:
        self.total.count = len(list(members))

    def fold(self, reply: Reply) -> None:
        self.total.merge(reply.arrays[SUM.key], len(reply.clients))

    def take_out(self, client: str, grid: np.ndarray) -> None:
        self.total.merge(grid, -1)

    def direction(self, rest: str) -> np.ndarray:
        return self.total.values() if rest else self.total.mean()

    def save(self) -> None:
        self.kept.store.write(self.file, self.total.to_bytes())

    def load(self) -> None:
        path = self.kept.store.path(self.file)
        self.total = ExactSum.load(path, self.kept.layout.grid)
        size, count, members = self.total.total.size, self.total.count, len(self.kept.members)
        if (size, count) != (self.kept.size, members):
            raise damaged(path, f"{count} vectors of {size} entries, expected {members} of {self.kept.size}")

    def digest(self) -> dict[str, str]:
        return {self.name: self.total.digest()}

    def layout(self, size: Layout, members: tuple[str, ...]) -> dict[str, Mapping[str, Shape]]:
        return {self.name: {"sum": ((size.size,), size.grid.dtype), "count": ((1,), np.int64)}}

    def memory(self, size: Layout, members: tuple[str, ...]) -> int:
        return size.grid.dtype.itemsize * size.size
