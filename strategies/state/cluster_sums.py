"""Sums per cluster of clients of something that follows from each task vector alone: exact, and exact to subtract from.

A client's cluster is a hash of its name, or the anchor that its data are nearest to (``Kept.cluster``). Of its vector on the
grid (``clients.exact.exact_sum``) is added

    vectors   the vector
    dropped   the vector with each entry dropped with probability ``share``; which ones follows from the run's seed and the
              client's name, so a vector that is derived again drops the same entries
    votes     one where the entry is among the largest ``share`` of the vector's own non-zero entries

and taken out again when the client leaves. All three follow from the grid values, whose digest is recorded when a client
joins: what is subtracted is what was added. A cluster that nobody is in any more takes no memory and no file space.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field
from safetensors.numpy import save

from clients.errors import InputError
from clients.exact import bits, digest
from clients.exact.exact_sum import MOST_VECTORS, from_grid, read_safetensors
from clients.strict import Strict
from strategies.state.clusters import By


class Additive(Strict):
    """What is added, in how many clusters, and what numbers a client's cluster."""

    of: Literal["vectors", "dropped", "votes"]
    clusters: int = Field(1, ge=1)
    share: float = Field(1.0, ge=0, le=1)
    by: By = "hash"

    @property
    def name(self) -> str:
        return f"{self.of}-{self.clusters}-{self.share}" + ("-anchor" if self.by == "anchor" else "")

    @property
    def dtype(self) -> type[np.signedinteger]:
        """Of the sums in memory."""
        return np.int32 if self.of == "votes" else np.int64

    def stored(self, count: int) -> np.dtype[Any]:
        """Of a sum of ``count`` contributions on disk: votes take the fewest bytes that hold them all."""
        return np.min_scalar_type(count) if self.of == "votes" else np.dtype(np.int64)

    def contribution(self, client: str, grid: np.ndarray, seed: int) -> np.ndarray:
        """What a client adds, by the grid values of its vector; int [d]."""
        if self.of == "votes":
            return bits.largest_share(from_grid(grid), self.share).astype(np.int32)
        if self.of == "dropped":
            key = int(digest.of_json(["drop", seed, client])[:15], 16)
            kept = np.random.Generator(np.random.Philox(key=key)).random(grid.size, dtype=np.float32) >= self.share
            return np.where(kept, grid, 0)
        return grid


class Sums:
    """The sums of one ``Additive``; ``totals`` int [d] and ``counts`` by cluster, for clusters that somebody is in."""

    def __init__(self, additive: Additive, size: int, seed: int) -> None:
        self.additive, self.size, self.seed = additive, size, seed
        self.totals: dict[int, np.ndarray] = {}
        self.counts: dict[int, int] = {}

    def fold(self, client: str, k: int, grid: np.ndarray, sign: Literal[1, -1]) -> None:
        """Add a client's contribution to its cluster k (1), or take it out (-1)."""
        count = self.counts.get(k, 0) + sign
        if not 0 <= count <= MOST_VECTORS:
            raise InputError(f"a sum holds 0 to {MOST_VECTORS} vectors, not {count}")
        if count == 0:
            del self.totals[k], self.counts[k]
            return
        total = self.totals.setdefault(k, np.zeros(self.size, dtype=self.additive.dtype))
        (np.add if sign > 0 else np.subtract)(total, self.additive.contribution(client, grid, self.seed), out=total)
        self.counts[k] = count

    def mean(self, k: int | None = None) -> np.ndarray:
        """fp32 mean vector of a cluster, or of all; shape [d], zeros of nobody."""
        chosen = sorted(self.totals) if k is None else [k] if k in self.totals else []
        if not chosen:
            return np.zeros(self.size, dtype=np.float32)
        total = self.totals[chosen[0]] if len(chosen) == 1 else np.sum([self.totals[c] for c in chosen], axis=0)
        return from_grid(total, sum(self.counts[c] for c in chosen))

    def digest(self) -> str:
        return digest.of_json([[k, self.counts[k], digest.of_array(self.totals[k])] for k in sorted(self.totals)])

    def to_bytes(self) -> bytes:
        """A safetensors file: one array per cluster, by its number, and the counts."""
        present = sorted(self.totals)
        counts = np.array([[k, self.counts[k]] for k in present], dtype=np.int64).reshape(-1, 2)
        totals = {str(k): self.totals[k].astype(self.additive.stored(self.counts[k]), copy=False) for k in present}
        return save(totals | {"counts": counts})

    @classmethod
    def load(cls, path: Path, additive: Additive, size: int, seed: int) -> "Sums":
        """Read ``to_bytes`` back; InputError if the file is missing, damaged or of another model."""
        sums, arrays = cls(additive, size, seed), read_safetensors(path)
        counts = arrays.pop("counts", np.zeros((0, 2), dtype=np.int64))
        if counts.ndim == 2 and counts.shape[1] == 2:
            sums.counts = {int(k): int(count) for k, count in counts}
        expected = {str(k): ((size,), additive.stored(count)) for k, count in sums.counts.items()}
        if {name: (array.shape, array.dtype) for name, array in arrays.items()} != expected:
            raise InputError(f"{path}: not the sums of {additive.name} over {size} parameters")
        sums.totals = {int(k): array.astype(additive.dtype) for k, array in arrays.items()}
        return sums
