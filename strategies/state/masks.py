"""A mask per client, of its own largest entries, and the sum of all clients' masks."""

from collections.abc import Iterable, Mapping

import numpy as np

from clients.exact import bits, digest
from clients.work.contributions import Wanted, text_of
from strategies.state.layout import Layout, Shape
from strategies.state.part import Own, Part, Whole, damaged
from strategies.state.sum import Sum


class Sizes(Own):
    """Mean size of the entries that a client's mask keeps of each tensor; fp32 [tensors].

    Args:
        keep: share of the vector's own non-zero entries that the mask keeps.
    """

    def __init__(self, keep: float) -> None:
        self.keep, self.name = keep, f"sizes-{text_of(keep)}"

    def wants(self) -> Mapping[Wanted, Shape | None]:
        return {Wanted(what="size", value=self.keep): self.shape(self.kept.layout)}

    def shape(self, size: Layout) -> tuple[tuple[int, ...], type[np.generic]]:
        return (size.tensors,), np.float32

    def add(self, client: str, sent: Mapping[Wanted, np.ndarray]) -> None:
        (value,) = sent.values()
        self.write(client, value)


class Masks(Own):
    """Packed mask of the largest ``keep`` share of a client's own non-zero entries; a bit per parameter."""

    suffix = ".bits"

    def __init__(self, keep: float) -> None:
        self.keep, self.name = keep, f"masks-{text_of(keep)}"

    def wants(self) -> Mapping[Wanted, Shape | None]:
        return {Wanted(what="mask", value=self.keep): self.shape(self.kept.layout)}

    def shape(self, size: Layout) -> tuple[tuple[int, ...], type[np.generic]]:
        return (size.mask_bytes,), np.uint8

    def add(self, client: str, sent: Mapping[Wanted, np.ndarray]) -> None:
        (packed,) = sent.values()
        self.kept.store.write(self.file(client), packed.tobytes())

    def read(self, client: str) -> np.ndarray:
        """A client's packed mask; InputError if its file is missing or has the wrong length."""
        if self.kept.imagined:
            return super().read(client)
        name, bytes_ = self.file(client), self.kept.layout.mask_bytes
        packed = np.frombuffer(self.kept.store.read(name), dtype=np.uint8)
        if packed.size != bytes_:
            reason = f"{packed.size} bytes, a mask of {self.kept.size} parameters has {bytes_}"
            raise damaged(self.kept.store.path(name), reason)
        return packed

    def bytes(self, size: Layout, members: tuple[str, ...]) -> int:
        return len(members) * size.mask_bytes


class Counts(Whole):
    """c = Σ m_t, [d], in the fewest bytes that count all who may join. The direction ``counts-KEEP`` is Σ/c, 0 where c is.

    A client's mask leaves c as it came, from its file; nothing is derived for it.
    """

    counts: np.ndarray

    def __init__(self, keep: float) -> None:
        self.keep, self.name = keep, f"counts-{text_of(keep)}"

    def needs(self) -> tuple[Part, ...]:
        return (Sum(), Masks(self.keep))

    def wants(self) -> Mapping[Wanted, Shape | None]:
        return self.kept[Masks(self.keep)].wants()

    def start(self) -> None:
        self.counts = np.zeros(self.kept.size, dtype=self.kept.layout.grid.counter)

    def imagine(self, members: Iterable[str]) -> None:
        self.counts[:] = len(list(members))

    def add(self, client: str, sent: Mapping[Wanted, np.ndarray]) -> None:
        (packed,) = sent.values()
        self.counts += bits.unpack(packed, self.kept.size)

    def erase(self, client: str) -> None:
        self.counts -= bits.unpack(self.kept[Masks(self.keep)].read(client), self.kept.size)

    @property
    def directions(self) -> str:
        return self.name

    def direction(self, rest: str) -> np.ndarray:
        total, counts = self.kept[Sum()].total, self.counts
        shares = np.divide(total.total, counts, out=np.zeros(self.kept.size), where=counts > 0)
        return (shares / 2.0**total.grid.bits).astype(np.float32)

    def save(self) -> None:
        self.write({"counts": self.counts})

    def load(self) -> None:
        counts, path = self.read().get("counts", np.zeros(0)), self.kept.store.path(self.file)
        if (counts.shape, counts.dtype) != (self.counts.shape, self.counts.dtype):
            raise damaged(path, f"{counts.dtype} {counts.shape}, expected {self.counts.dtype} {self.counts.shape}")
        if counts.max(initial=0) > len(self.kept.members):
            raise damaged(path, f"counts more than {len(self.kept.members)} masks")
        self.counts = counts.copy()

    def digest(self) -> dict[str, str]:
        return {self.name: digest.of_integers(self.counts)}

    def layout(self, size: Layout, members: tuple[str, ...]) -> dict[str, Mapping[str, Shape]]:
        return {self.name: {"counts": ((size.size,), size.grid.counter)}}

    def memory(self, size: Layout, members: tuple[str, ...]) -> int:
        return size.grid.counter.itemsize * size.size


def masked(keep: float) -> tuple[Masks, Sizes]:
    """A mask per client with the sizes of what it keeps."""
    return Masks(keep), Sizes(keep)
