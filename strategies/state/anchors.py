"""Which anchor each client is nearest to (``clients.work.anchors``): a number, recorded with the member when it joins."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from clients.work.contributions import Wanted
from strategies.state import checking, clusters
from strategies.state.layout import Shape
from strategies.state.part import MEMBERS, Part, damaged

FACT = "anchors"
"""Where members hold the numbers: by how many anchors there are, as text."""


class Anchors(Part):
    """The numbers of a client's anchors, of so many; they stand in ``members.json``, so that there is no file of them.

    Args:
        count: how many anchors.
    """

    def __init__(self, count: int) -> None:
        self.count, self.name = count, f"anchors-{count}"

    def wants(self) -> Mapping[Wanted, Shape | None]:
        return {Wanted(what="anchor", value=self.count): ((1,), np.int64)}

    def imagine(self, members: Iterable[str]) -> None:
        """Clusters by anchor are taken to be those by hash, as who is nearest to which anchor is not known before."""
        for client in members:
            self._record(client, clusters.number(client, self.count, self.kept.seed))

    def add(self, client: str, sent: Mapping[Wanted, np.ndarray]) -> None:
        ((number,),) = sent.values()
        self._record(client, int(number))

    def number(self, client: str) -> int:
        """The number of the anchor that a client is nearest to, from 0."""
        return int(self.kept.members[client][FACT][str(self.count)])

    def load(self) -> None:
        for client, member in self.kept.members.items():
            numbers = member.get(FACT)
            if not isinstance(numbers, dict) or not checking.placed(numbers.get(str(self.count)), self.count):
                raise damaged(self.kept.store.path(MEMBERS), f"{client} lies at no anchor of {self.count}")

    def digest(self) -> dict[str, Any]:
        return {FACT: {client: [self.number(client)] for client in sorted(self.kept.members)}}

    def _record(self, client: str, number: int) -> None:
        self.kept.members[client].setdefault(FACT, {})[str(self.count)] = number
