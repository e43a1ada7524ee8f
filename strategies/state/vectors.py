"""Every client's vector, as a file: kept for good, or at hand for strategies that merge all of them again.

``EveryVector`` is for strategies that need every current vector at each release, for which their clients would have to be
tuned again: the simulator keeps the vectors to tune nobody twice, but they are no part of such a strategy's state, are not
charged as its storage, and what tuning again would have cost is counted (``sim.life.deletion``).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from clients.work.contributions import VECTOR, Wanted
from strategies.state import checking
from strategies.state.layout import Layout, Shape
from strategies.state.part import Own, Part, damaged
from strategies.state.streaming import Row, mapped


class Vectors(Own):
    """Each client's vector, fp32 [d]."""

    name = "vectors"

    def wants(self) -> Mapping[Wanted, Shape | None]:
        return {VECTOR: self.shape(self.kept.layout)}

    def shape(self, size: Layout) -> tuple[tuple[int, ...], type[np.generic]]:
        return (size.size,), np.float32

    def add(self, client: str, sent: Mapping[Wanted, np.ndarray]) -> None:
        self.write(client, sent[VECTOR])

    def row(self, client: str) -> Row:
        """A client's vector, mapped into memory."""
        if self.kept.imagined:
            return self.read(client).__getitem__
        return mapped(self.kept.store.path(self.file(client)), self.kept.size)


class EveryVector(Part):
    """``Vectors``, whatever they cost; see the module."""

    rereads = True
    name = "every vector"

    def needs(self) -> tuple[Part, ...]:
        return (Vectors(),)

    def wants(self) -> Mapping[Wanted, Shape | None]:
        return self.kept[Vectors()].wants()

    def row(self, client: str) -> Row:
        """A client's vector, mapped into memory."""
        return self.kept[Vectors()].row(client)

    def load(self) -> None:
        """Check every vector: no state digest speaks of them."""
        for client, member in self.kept.members.items():
            if not checking.genuine(self.row(client)(slice(None)), self.kept.layout.grid, member["digest"]):
                path = self.kept.store.path(self.kept[Vectors()].file(client))
                raise damaged(path, "not the vector that was merged")

    def digest(self) -> dict[str, Any]:
        return {}
