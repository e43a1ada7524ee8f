"""What the server keeps of the clients tuned under one rule: the exact sum, and a few small things per client.

All strategies that share a tuning rule share one ``Kept``, so each client is tuned and folded once however many are
compared; each strategy reads, and is charged for, only the parts that it declares. Parts of a client are files of their
own, so the server's memory does not grow with the number of clients, and forgetting is deleting files:

    sum.safetensors               int64 grid sum and count of the vectors
    members.json                  digest, recipe and steps of each client's task vector, and its anchors' numbers
    counts-RHO.safetensors        int32 sum of the masks of kept share RHO
    masks-RHO/CLIENT.bits         packed mask
    sizes-RHO/CLIENT.safetensors  mean size of the kept entries per tensor
    vectors/, features/           fp32, where a strategy keeps them
    gram.safetensors              inner products of the task vectors of all pairs of clients
    NAME.safetensors              sums per cluster of what follows from each vector (``additive``)

``cached_vectors`` is for strategies that need every current vector at each release, for which their clients would have to be
tuned again: the simulator keeps the vectors to tune nobody twice, but they are no part of such a strategy's state, are not
charged as its storage, and what tuning again would have cost is counted (``sim.life.deletion``).
"""

import json
import math
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
from safetensors.numpy import save

from clients.errors import InputError
from clients.exact import bits, digest
from clients.exact.exact_sum import BLOCK, GRID_BITS, ExactSum, read_safetensors, to_grid
from clients.exact.files import write_whole
from clients.jobs import Reply, Wants
from clients.settings import TuningKind
from clients.strict import Strict
from strategies.state import checking, clusters
from strategies.state.cluster_sums import Additive, Sums
from strategies.state.streaming import Row, mapped

SIGNS = "signs"
IDENTITY = ("digest", "recipe", "steps")
"""What is recorded of a task vector and belongs to the state, as the seconds that it took do not."""


class Keeps(Strict):
    """Parts that a strategy needs kept; see the module's list of files."""

    sum: bool = False
    masks: tuple[float, ...] = ()
    counts: tuple[float, ...] = ()
    vectors: bool = False
    features: bool = False
    gram: bool = False
    additive: tuple[Additive, ...] = ()
    cached_vectors: bool = False

    def __or__(self, other: "Keeps") -> "Keeps":
        return Keeps(
            sum=self.sum or other.sum,
            masks=tuple(sorted({*self.masks, *other.masks})),
            counts=tuple(sorted({*self.counts, *other.counts})),
            vectors=self.vectors or other.vectors,
            features=self.features or other.features,
            gram=self.gram or other.gram,
            additive=tuple(sorted({*self.additive, *other.additive}, key=lambda additive: additive.name)),
            cached_vectors=self.cached_vectors or other.cached_vectors,
        )

    @property
    def anchors(self) -> tuple[int, ...]:
        """Of how many anchors the number of each client's nearest is needed: its cluster."""
        return tuple(sorted({additive.clusters for additive in self.additive if additive.by == "anchor"}))

    def wants(self) -> Wants:
        """What clients have to send for it."""
        masks = tuple(sorted({*self.masks, *self.counts}))
        vector = self.vectors or self.cached_vectors or self.gram or bool(self.additive)
        return Wants(sum=self.sum, masks=masks, vector=vector, features=self.features, anchors=self.anchors)


class Kept:
    """The server's state for one tuning rule.

    Attributes:
        kind: plain, sign_fixed, or None for strategies that tune nothing.
        bounds: where each tunable tensor starts, then the end, which is also ``size``, the number of parameters d.
        seed: of the shared sign vector.
        members: for each current client the digest, recipe and steps of its task vector, the seconds that it took, and
            ``anchors`` where its clusters are numbered by them: by how many there are, the one that it is nearest to.
    """

    def __init__(self, folder: Path, kind: TuningKind | None, bounds: tuple[int, ...], keeps: Keeps, seed: int) -> None:
        self.folder, self.kind, self.bounds, self.keeps, self.seed = folder, kind, bounds, keeps, seed
        self.size = size = bounds[-1]
        self.members: dict[str, dict[str, Any]] = {}
        self.total = ExactSum(size)
        self.counts = {keep: np.zeros(size, dtype=np.int32) for keep in keeps.counts}
        self.products: dict[tuple[str, str], float] = {}
        self.sums = {additive: Sums(additive, size, seed) for additive in keeps.additive}
        self._directions: dict[str, np.ndarray] = {}

    # -- joining and leaving ------------------------------------------------------------------------------------------

    def absorb(self, reply: Reply) -> None:
        """Fold in the reply of a tune job; all of it or, on InputError, nothing."""
        signs = (lambda: self.direction(SIGNS)) if self.kind == "sign_fixed" else None
        checking.check(reply, self.keeps.wants(), self.members, self.size, signs)
        wants = self.keeps.wants()
        if wants.sum:
            self.total.merge(reply.arrays["sum"], len(reply.clients))
        for client in reply.clients:
            for keep in wants.masks:
                self._write(f"masks-{keep:g}", client, ".bits", reply.arrays[f"mask/{keep:g}/{client}"].tobytes())
                self._save(f"sizes-{keep:g}", client, reply.arrays[f"size/{keep:g}/{client}"])
            for keep, counts in self.counts.items():
                counts += bits.unpack(reply.arrays[f"mask/{keep:g}/{client}"], self.size)
            if wants.features:
                self._save("features", client, reply.arrays[f"features/{client}"])
            if self._writes_vectors:
                self._save("vectors", client, reply.arrays[f"vector/{client}"])
            if self.keeps.gram:
                self._multiply(client, reply.arrays[f"vector/{client}"])
            tuned = reply.facts["tunings"][client]
            seconds = round(reply.facts.get("seconds", 0.0) / len(reply.clients), 6)
            self.members[client] = {key: tuned[key] for key in IDENTITY} | {"seconds": seconds}
            if wants.anchors:
                self.members[client]["anchors"] = tuned["anchors"]
            if self.sums:
                self._fold(client, to_grid(reply.arrays[f"vector/{client}"]), 1)
        self._directions.clear()

    def register(self, clients: Iterable[str]) -> None:
        """Take in clients of whom nothing is tuned."""
        self.members |= {client: {"digest": "", "recipe": "", "steps": 0, "seconds": 0.0} for client in clients}

    def seal(self) -> None:
        """End of learning: task vectors that were only needed for inner products are deleted."""
        if self.keeps.gram and not self.keeps.vectors and not self.keeps.cached_vectors:
            shutil.rmtree(self.folder / "vectors", ignore_errors=True)

    def matches(self, client: str, reply: Reply) -> bool:
        """Whether a task vector derived again is, bit for bit, the one that was summed."""
        if reply.error or reply.clients != (client,) or "sum" not in reply.arrays:
            return False
        return digest.of_array(reply.arrays["sum"]) == self.members[client]["digest"]

    def subtract(self, client: str, reply: Reply) -> None:
        """Take a client out of the sums by its task vector, derived again.

        Raises:
            InputError: it is not bit for bit the vector that was summed; nothing has changed then.
        """
        if not self.matches(client, reply):
            raise InputError(f"client {client}: the task vector derived again differs from the one that was summed")
        if self.keeps.sum:
            self.total.merge(reply.arrays["sum"], -1)
        self._fold(client, reply.arrays["sum"], -1)
        self._directions.clear()

    def erase(self, client: str) -> None:
        """Delete every file and entry of a client; its mask leaves the counts. The sum is ``subtract``'s matter."""
        for keep, counts in self.counts.items():
            counts -= bits.unpack(self.mask(client, keep), self.size)
        for path in self._files(client):
            path.unlink(missing_ok=True)
        self.products = {pair: value for pair, value in self.products.items() if client not in pair}
        del self.members[client]
        self._directions.clear()

    # -- reading ------------------------------------------------------------------------------------------------------

    def cluster(self, client: str, count: int, by: clusters.By) -> int:
        """The number of a member's cluster of so many, from 0."""
        if by == "hash":
            return clusters.number(client, count, self.seed)
        return int(self.members[client]["anchors"][str(count)])

    def mask(self, client: str, keep: float) -> np.ndarray:
        """Packed mask of a client, uint8."""
        path = self._path(f"masks-{keep:g}", client, ".bits")
        try:
            packed = np.frombuffer(path.read_bytes(), dtype=np.uint8)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error})") from error
        if packed.size != (self.size + 7) // 8:
            raise InputError(f"{path}: holds {packed.size} bytes, a mask of {self.size} parameters {(self.size + 7) // 8}")
        return packed

    def part(self, name: str, client: str) -> np.ndarray:
        """A small array kept of a client: ``vectors``, ``features`` or ``sizes-RHO``."""
        return read_safetensors(self._path(name, client, ".safetensors"))["value"]

    def row(self, client: str) -> Row:
        """A client's task vector, kept or cached, mapped into memory."""
        return mapped(self._path("vectors", client, ".safetensors"), self.size)

    def direction(self, name: str) -> np.ndarray:
        """A vector that served models are built from, fp32 [d].

        ``mean``: Σ/T; ``counts/RHO``: Σ/c where the mask count c > 0, else 0; ``signs``: the shared sign vector;
        ``NAME/K``: mean of cluster K of an additive; ``NAME``: mean of all its clusters.
        """
        if name not in self._directions:
            self._directions[name] = self._direct(name)
        return self._directions[name]

    def _direct(self, name: str) -> np.ndarray:
        if name == "mean":
            return self.total.mean()
        if name == SIGNS:
            return bits.sign_vector(self.seed, self.size)
        part, _, rest = name.partition("/")
        for additive, sums in self.sums.items():
            if additive.name == part:
                return sums.mean(int(rest) if rest else None)
        counts = self.counts[float(rest)]
        shares = np.divide(self.total.total, counts, out=np.zeros(self.size), where=counts > 0)
        return (shares / 2.0**GRID_BITS).astype(np.float32)

    def gram(self, clients: list[str]) -> np.ndarray:
        """Inner products of these clients' task vectors, float64 [n, n]."""
        return np.array([[self.products[min(a, b), max(a, b)] for b in clients] for a in clients])

    def digest(self, keeps: Keeps) -> str:
        """Digest of the parts that a strategy keeps; a function of who is in it, whatever the history."""
        clients = sorted(self.members)
        parts: dict[str, Any] = {"members": {c: {key: self.members[c][key] for key in IDENTITY} for c in clients}}
        if keeps.anchors:
            parts["anchors"] = {c: [self.members[c]["anchors"][str(count)] for count in keeps.anchors] for c in clients}
        if keeps.sum:
            parts["sum"] = self.total.digest()
        for keep in sorted({*keeps.masks, *keeps.counts}):
            parts[f"masks-{keep:g}"] = [digest.of_array(self.mask(client, keep)) for client in clients]
            parts[f"sizes-{keep:g}"] = [digest.of_array(self.part(f"sizes-{keep:g}", client)) for client in clients]
        for keep in keeps.counts:
            parts[f"counts-{keep:g}"] = digest.of_array(self.counts[keep])
        for name in [n for n in ("vectors", "features") if getattr(keeps, n)]:
            parts[name] = [digest.of_array(self.part(name, client)) for client in clients]
        if keeps.gram:
            parts["gram"] = digest.of_array(self.gram(clients))
        for additive in keeps.additive:
            parts[additive.name] = self.sums[additive].digest()
        return digest.of_json(parts)

    def storage(self, keeps: Keeps) -> int:
        """Bytes of the files that hold these parts."""
        folders = [f"{kind}-{keep:g}" for keep in {*keeps.masks, *keeps.counts} for kind in ("masks", "sizes")]
        folders += [name for name in ("vectors", "features") if getattr(keeps, name)]
        files = ["sum.safetensors"] if keeps.sum else []
        files += [f"counts-{keep:g}.safetensors" for keep in keeps.counts] + ["gram.safetensors"] * keeps.gram
        files += [f"{additive.name}.safetensors" for additive in keeps.additive]
        paths = [self.folder / name for name in files]
        paths += [path for name in folders for path in (self.folder / name).glob("*")]
        return sum(path.stat().st_size for path in paths if path.exists())

    # -- files --------------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write sums, counts, products and members; members last, since ``load`` believes them."""
        if self.keeps.sum:
            write_whole(self.folder / "sum.safetensors", self.total.to_bytes())
        for keep, counts in self.counts.items():
            write_whole(self.folder / f"counts-{keep:g}.safetensors", save({"counts": counts}))
        if self.keeps.gram:
            write_whole(self.folder / "gram.safetensors", save({"gram": self.gram(sorted(self.members))}))
        for additive, sums in self.sums.items():
            write_whole(self.folder / f"{additive.name}.safetensors", sums.to_bytes())
        members = json.dumps(self.members, indent=1, sort_keys=True)
        write_whole(self.folder / "members.json", members.encode())

    @classmethod
    def load(cls, folder: Path, kind: TuningKind | None, bounds: tuple[int, ...], keeps: Keeps, seed: int) -> "Kept":
        """Read back what ``save`` wrote.

        Raises:
            InputError: a file is missing, damaged or of another model.
        """
        kept = cls(folder, kind, bounds, keeps, seed)
        size = kept.size
        try:
            kept.members = json.loads((folder / "members.json").read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"{folder / 'members.json'}: cannot be read ({error})") from error
        for client, member in kept.members.items():
            if not checking.placed(member.get("anchors", {}), keeps.anchors):
                raise InputError(f"{folder / 'members.json'}: damaged: {client} lies at no anchor of {keeps.anchors}")
        if keeps.sum:
            kept.total = ExactSum.load(folder / "sum.safetensors")
            if kept.total.total.size != size or kept.total.count != len(kept.members):
                raise InputError(
                    f"{folder / 'sum.safetensors'}: holds {kept.total.count} vectors of {kept.total.total.size} parameters, "
                    f"expected {len(kept.members)} of {size}"
                )
        for keep in keeps.counts:
            kept.counts[keep] = read_safetensors(folder / f"counts-{keep:g}.safetensors")["counts"].copy()
        if keeps.gram:
            matrix, clients = read_safetensors(folder / "gram.safetensors")["gram"], sorted(kept.members)
            kept.products = {
                (a, b): float(matrix[i, j]) for i, a in enumerate(clients) for j, b in enumerate(clients) if a <= b
            }
        for additive in keeps.additive:
            path = folder / f"{additive.name}.safetensors"
            kept.sums[additive] = Sums.load(path, additive, size, seed)
            if sum(kept.sums[additive].counts.values()) != len(kept.members):
                raise InputError(f"{path}: damaged: its sums are not of {len(kept.members)} vectors")
        for client in kept.members if keeps.cached_vectors else ():  # no state digest speaks of them
            if not checking.genuine(kept.row(client)(slice(None)), kept.members[client]["digest"]):
                raise InputError(f"{kept._path('vectors', client, '.safetensors')}: damaged: not the vector that was merged")
        return kept

    def _fold(self, client: str, grid: np.ndarray, sign: Literal[1, -1]) -> None:
        for additive, sums in self.sums.items():
            sums.fold(client, self.cluster(client, additive.clusters, additive.by), grid, sign)

    @property
    def _writes_vectors(self) -> bool:
        return self.keeps.vectors or self.keeps.cached_vectors or self.keeps.gram

    def _multiply(self, client: str, vector: np.ndarray) -> None:
        """Inner products with every client that is here, each summed in an order that depends on the pair alone."""
        for other in [*self.members, client]:
            theirs = vector if other == client else self.part("vectors", other)
            parts = [
                float((vector[s : s + BLOCK].astype(np.float64) * theirs[s : s + BLOCK]).sum())
                for s in range(0, self.size, BLOCK)
            ]
            self.products[min(client, other), max(client, other)] = math.fsum(parts)

    def _path(self, part: str, client: str, suffix: str) -> Path:
        return self.folder / part / (quote(client, safe="") + suffix)

    def _files(self, client: str) -> list[Path]:
        names = {quote(client, safe="") + suffix for suffix in (".bits", ".safetensors")}
        return [path for path in self.folder.glob("*/*") if path.name in names]

    def _write(self, part: str, client: str, suffix: str, content: bytes) -> None:
        write_whole(self._path(part, client, suffix), content)

    def _save(self, part: str, client: str, value: np.ndarray) -> None:
        self._write(part, client, ".safetensors", save({"value": np.ascontiguousarray(value)}))
