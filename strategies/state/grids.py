"""Each client's own statistics as grid values, and their sum, which a client leaves by its own file: nobody is asked."""

from collections.abc import Mapping

import numpy as np

from clients.jobs import Reply
from clients.work.contributions import GRID, Wanted
from strategies.state.layout import Layout, Shape
from strategies.state.part import Own, Part, damaged
from strategies.state.sum import Sum


class Grids(Own):
    """The grid values of each client's vector, [d], in the fewest bytes that hold those of any client."""

    name = "grids"

    def wants(self) -> Mapping[Wanted, Shape | None]:
        return {GRID: self.shape(self.kept.layout)}

    def shape(self, size: Layout) -> tuple[tuple[int, ...], type[np.generic]]:
        return (size.size,), size.grid.own.type

    def add(self, client: str, sent: Mapping[Wanted, np.ndarray]) -> None:
        self.write(client, sent[GRID])

    def read(self, client: str) -> np.ndarray:
        """A client's grid values; InputError if its file is missing, damaged or of another model."""
        found = super().read(client)
        shape, dtype = self.shape(self.kept.layout)
        if found.shape != shape or found.dtype != np.dtype(dtype):
            reason = f"{found.dtype} {found.shape}, expected {np.dtype(dtype)} {shape}"
            raise damaged(self.kept.store.path(self.file(client)), reason)
        return found

    def values(self, client: str) -> np.ndarray:
        """What the grid values stand for, float64 [d]."""
        return self.read(client) / 2.0**self.kept.layout.grid.bits


class OwnSum(Sum):
    """The sum of ``Grids``. A client leaves it by its file, so nothing is derived for it."""

    summed = False
    name = "own_sum"

    def needs(self) -> tuple[Part, ...]:
        return (Grids(),)

    def wants(self) -> Mapping[Wanted, Shape | None]:
        return self.kept[Grids()].wants()

    def fold(self, reply: Reply) -> None:
        for client in reply.clients:
            self._merge(reply.arrays[f"{GRID.key}/{client}"], 1)

    def take_out(self, client: str, grid: np.ndarray) -> None:
        """``erase`` does it."""

    def erase(self, client: str) -> None:
        self._merge(self.kept[Grids()].read(client), -1)

    def _merge(self, values: np.ndarray, count: int) -> None:
        self.total.merge(values.astype(self.kept.layout.grid.dtype), count)
