"""Sums per cluster of clients of something that follows from each task vector alone: exact, and exact to subtract from.

A client's cluster is a hash of its name, or the anchor that its data are nearest to (``ClusterSums.cluster``). Of its vector
on the grid (``clients.exact.grid``) is added

    vectors   the vector
    dropped   the vector with each entry dropped with probability ``share``; which ones follows from the run's seed and the
              client's name, so a vector that is derived again drops the same entries
    votes     one where the entry is among the largest ``share`` of the vector's own non-zero entries

and taken out again when the client leaves. All three follow from the grid values, whose digest is recorded when a client
joins: what is subtracted is what was added. A cluster that nobody is in any more takes no memory and no file space.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np

from clients.errors import InputError
from clients.exact import bits, digest
from clients.exact.grid import Grid, from_grid, to_grid
from clients.work.contributions import VECTOR, Wanted
from strategies.state import clusters
from strategies.state.anchors import Anchors
from strategies.state.clusters import By
from strategies.state.layout import Layout, Shape
from strategies.state.part import Part, Whole, damaged

Of = Literal["vectors", "dropped", "votes"]


class ClusterSums(Whole):
    """Sums per cluster; the direction NAME/K is the mean of cluster K, NAME that of all clusters.

    Args:
        of: what is added.
        count: how many clusters.
        share: of the entries that are dropped, or that vote.
        by: what numbers a client's cluster.

    Attributes:
        totals: int [d] by cluster, for clusters that somebody is in.
        counts: members by cluster, likewise.
    """

    summed = True
    totals: dict[int, np.ndarray]
    counts: dict[int, int]

    def __init__(self, of: Of, count: int = 1, share: float = 1.0, by: By = "hash") -> None:
        self.of, self.count, self.share, self.by = of, count, float(share), by
        self.name = f"{of}-{count}-{self.share}" + ("-anchor" if by == "anchor" else "")

    def needs(self) -> tuple[Part, ...]:
        return (Anchors(self.count),) if self.by == "anchor" else ()

    def wants(self) -> Mapping[Wanted, Shape | None]:
        return {VECTOR: ((self.kept.size,), np.float32)}

    def dtype(self, grid: Grid) -> np.dtype[Any]:
        """Of the sums in memory."""
        return grid.counter if self.of == "votes" else grid.dtype

    def stored(self, count: int, grid: Grid) -> np.dtype[Any]:
        """Of a sum of ``count`` contributions on disk: votes take the fewest bytes that hold them all."""
        return np.min_scalar_type(count) if self.of == "votes" else grid.dtype

    def cluster(self, client: str) -> int:
        """The number of a member's cluster, from 0."""
        if self.by == "anchor":
            return self.kept[Anchors(self.count)].number(client)
        return clusters.number(client, self.count, self.kept.seed)

    def contribution(self, client: str, grid: np.ndarray) -> np.ndarray:
        """What a client adds, by the grid values of its vector; int [d]."""
        if self.of == "votes":
            return bits.largest_share(from_grid(grid, self.kept.layout.grid), self.share)
        if self.of == "dropped":
            key = int(digest.of_json(["drop", self.kept.seed, client])[:15], 16)
            kept = np.random.Generator(np.random.Philox(key=key)).random(grid.size, dtype=np.float32) >= self.share
            return np.where(kept, grid, 0)
        return grid

    # -- joining and leaving --------------------------------------------------------------------------------------------

    def start(self) -> None:
        self.totals, self.counts = {}, {}

    def imagine(self, members: Iterable[str]) -> None:
        self.counts = dict(Counter(self.cluster(client) for client in members))
        self.totals = {k: np.zeros(self.kept.size, dtype=self.dtype(self.kept.layout.grid)) for k in self.counts}

    def add(self, client: str, sent: Mapping[Wanted, np.ndarray]) -> None:
        self._fold(client, to_grid(sent[VECTOR], self.kept.layout.grid), 1)

    def take_out(self, client: str, grid: np.ndarray) -> None:
        self._fold(client, grid, -1)

    def _fold(self, client: str, grid: np.ndarray, sign: Literal[1, -1]) -> None:
        k = self.cluster(client)
        count, most = self.counts.get(k, 0) + sign, self.kept.layout.grid.most
        if not 0 <= count <= most:
            raise InputError(f"a sum holds 0 to {most} vectors, not {count}")
        if count == 0:
            del self.totals[k], self.counts[k]
            return
        total = self.totals.setdefault(k, np.zeros(self.kept.size, dtype=self.dtype(self.kept.layout.grid)))
        (np.add if sign > 0 else np.subtract)(total, self.contribution(client, grid), out=total)
        self.counts[k] = count

    # -- reading --------------------------------------------------------------------------------------------------------

    @property
    def directions(self) -> str:
        return self.name

    def direction(self, rest: str) -> np.ndarray:
        """fp32 mean of a cluster, or of all; zeros of nobody."""
        k = int(rest) if rest else None
        chosen = sorted(self.totals) if k is None else [k] if k in self.totals else []
        if not chosen:
            return np.zeros(self.kept.size, dtype=np.float32)
        total = self.totals[chosen[0]] if len(chosen) == 1 else np.sum([self.totals[c] for c in chosen], axis=0)
        return from_grid(total, self.kept.layout.grid, sum(self.counts[c] for c in chosen))

    def digest(self) -> dict[str, Any]:
        sums = [[k, self.counts[k], digest.of_integers(self.totals[k])] for k in sorted(self.totals)]
        return {self.name: digest.of_json(sums)} | (self.kept[Anchors(self.count)].digest() if self.by == "anchor" else {})

    # -- files and prices -----------------------------------------------------------------------------------------------

    def save(self) -> None:
        """One array per cluster, by its number, and the counts."""
        present, grid = sorted(self.totals), self.kept.layout.grid
        counts = np.array([[k, self.counts[k]] for k in present], dtype=np.int64).reshape(-1, 2)
        totals = {str(k): self.totals[k].astype(self.stored(self.counts[k], grid), copy=False) for k in present}
        self.write(totals | {"counts": counts})

    def load(self) -> None:
        arrays, path, grid = self.read(), self.kept.store.path(self.file), self.kept.layout.grid
        counts = arrays.pop("counts", np.zeros((0, 2), dtype=np.int64))
        if counts.ndim == 2 and counts.shape[1] == 2:
            self.counts = {int(k): int(count) for k, count in counts}
        expected = {str(k): ((self.kept.size,), self.stored(count, grid)) for k, count in self.counts.items()}
        if {name: (array.shape, array.dtype) for name, array in arrays.items()} != expected:
            raise InputError(f"{path}: not the sums of {self.name} over {self.kept.size} parameters")
        if sum(self.counts.values()) != len(self.kept.members):
            raise damaged(path, f"its sums are not of {len(self.kept.members)} vectors")
        self.totals = {int(k): array.astype(self.dtype(grid)) for k, array in arrays.items()}

    def layout(self, size: Layout, members: tuple[str, ...]) -> dict[str, Mapping[str, Shape]]:
        counts = Counter(clusters.number(client, self.count, size.seed) for client in members)
        arrays: dict[str, Shape] = {str(k): ((size.size,), self.stored(count, size.grid)) for k, count in counts.items()}
        return {self.name: arrays | {"counts": ((len(counts), 2), np.int64)}}

    def memory(self, size: Layout, members: tuple[str, ...]) -> int:
        occupied = {clusters.number(client, self.count, size.seed) for client in members}
        return self.dtype(size.grid).itemsize * size.size * len(occupied)
