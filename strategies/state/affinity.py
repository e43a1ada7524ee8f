"""How near clients are to each other, by features or by inner products of their vectors; clusters that follow from it."""

import math
from collections.abc import Iterable, Mapping

import numpy as np

from clients.exact import digest
from clients.exact.grid import BLOCK
from clients.jobs import Reply
from clients.work.contributions import VECTOR, Wanted
from strategies.state import clusters
from strategies.state.layout import Layout, Shape
from strategies.state.part import Own, Part, Whole
from strategies.state.streaming import blocks
from strategies.state.vectors import Vectors


class Features(Own):
    """Mean feature of each client's training data under the base model; fp32 [width]."""

    name = "features"

    def wants(self) -> Mapping[Wanted, Shape | None]:
        return {Wanted(what="features"): None}

    def shape(self, size: Layout) -> tuple[tuple[int, ...], type[np.generic]]:
        return (size.features,), np.float32

    def add(self, client: str, sent: Mapping[Wanted, np.ndarray]) -> None:
        (value,) = sent.values()
        self.write(client, value)

    def clusters(self, count: int) -> clusters.Clusters:
        """Spectral clusters of the members, by features centred on their mean, without which all cosines are near 1."""
        members = sorted(self.kept.members)
        if self.kept.imagined:
            return clusters.dealt(members, count)
        features = np.array([self.read(client) for client in members], dtype=np.float64)
        centred = features - features.mean(0)
        gram = np.array([[float((a * b).sum()) for b in centred] for a in centred])
        return clusters.spectral(members, gram, count, self.kept.seed)


class Gram(Whole):
    """Inner products of the vectors of all pairs of clients; float64, T² numbers."""

    name = "gram"
    products: dict[tuple[str, str], float]

    def needs_to_join(self) -> tuple[Part, ...]:
        return (Vectors(),)

    def wants(self) -> Mapping[Wanted, Shape | None]:
        return {VECTOR: ((self.kept.size,), np.float32)}

    def start(self) -> None:
        self.products = {}

    def imagine(self, members: Iterable[str]) -> None:
        """Nothing: there are T² of them."""

    def fold(self, reply: Reply) -> None:
        """Inner products of those who join with every client that is here, each summed in an order that depends on the pair
        alone. A vector that is here is opened once for all who join together, and passes through memory in blocks."""
        joining = {client: reply.arrays[f"{VECTOR.key}/{client}"] for client in reply.clients}
        rows = {other: self.kept[Vectors()].row(other) for other in self.kept.members if other not in joining}
        rows |= {client: vector.__getitem__ for client, vector in joining.items()}
        found: dict[tuple[str, str], list[float]] = {}
        room = np.empty(min(BLOCK, self.kept.size))
        for part in blocks(0, self.kept.size, BLOCK):
            mine = {client: vector[part].astype(np.float64) for client, vector in joining.items()}
            for other, row in rows.items():
                theirs = row(part).astype(np.float64)
                for client, values in mine.items():
                    if other not in mine or client <= other:
                        product = np.multiply(values, theirs, out=room[: len(theirs)])
                        found.setdefault((min(client, other), max(client, other)), []).append(float(product.sum()))
        self.products |= {pair: math.fsum(parts) for pair, parts in found.items()}

    def erase(self, client: str) -> None:
        self.products = {pair: value for pair, value in self.products.items() if client not in pair}

    def matrix(self, clients: list[str]) -> np.ndarray:
        """Inner products of these clients' vectors, float64 [n, n]."""
        return np.array([[self.products[min(a, b), max(a, b)] for b in clients] for a in clients])

    def clusters(self, count: int) -> clusters.Clusters:
        """Spectral clusters of the members."""
        members = sorted(self.kept.members)
        if self.kept.imagined:
            return clusters.dealt(members, count)
        return clusters.spectral(members, self.matrix(members), count, self.kept.seed)

    def save(self) -> None:
        self.write({"gram": self.matrix(sorted(self.kept.members))})

    def load(self) -> None:
        matrix, clients = self.read()["gram"], sorted(self.kept.members)
        self.products = {(a, b): float(matrix[i, j]) for i, a in enumerate(clients) for j, b in enumerate(clients) if a <= b}

    def digest(self) -> dict[str, str]:
        return {self.name: digest.of_array(self.matrix(sorted(self.kept.members)))}

    def layout(self, size: Layout, members: tuple[str, ...]) -> dict[str, Mapping[str, Shape]]:
        return {self.name: {"gram": ((len(members), len(members)), np.float64)}}
