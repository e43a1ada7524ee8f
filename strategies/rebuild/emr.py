"""EMR-Merging (Huang et al., 2024): elect one unified vector, mask and rescale it for each client.

g = sign(Σ); τ_uni = g ⊙ max_t |τ_t| over entries whose sign is g; m_t = 1{τ_t ⊙ τ_uni > 0}; s_t = ‖τ_t‖₁ / ‖m_t ⊙ τ_uni‖₁.
Serve client t: θ0 + s_t · m_t ⊙ τ_uni. Forget u: elect again from the vectors of all who stay.

Deviations and additions: the published code has two different rescalers; this is the flat ratio of ℓ1 norms. Anybody else is
served θ0 + s · τ_uni without a mask, s the mean of the members' rescalers (ours: the paper knows no unknown clients, and
τ_uni holds the largest entries of all, far too long by itself). ``clusters`` (ours): see ``rebuilt``.
"""

import math
from collections.abc import Sequence

import numpy as np

from clients.exact import bits
from clients.work.served import BASE, Masked, Served
from strategies.rebuild.rebuilt import MaskEach, MaskedParameters
from strategies.state.kept import Kept
from strategies.state.streaming import Row, blocks
from strategies.strategy import MERGED, Ask

TOGETHER = 8
"""Clients whose masks are made in one pass over τ_uni: so many packed masks are in memory."""


def unify(rows: Sequence[Row], size: int) -> np.ndarray:
    """τ_uni, fp32 [size]; 0 where Σ (added in float64) is 0."""
    unified = np.empty(size, dtype=np.float32)
    for part in blocks(0, size):
        added = np.zeros(part.stop - part.start)
        largest, smallest = np.zeros((2, added.size), dtype=np.float32)
        for row in rows:
            tau = row(part)
            np.add(added, tau, out=added)
            np.maximum(largest, tau, out=largest)
            np.minimum(smallest, tau, out=smallest)
        unified[part] = np.where(added > 0, largest, np.where(added < 0, smallest, np.float32(0)))
    return unified


def masks_and_scales(rows: Sequence[Row], unified: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """m_t, packed, and s_t of some rows; s_t is 0 where the mask is empty."""
    packed = np.empty((len(rows), (unified.size + 7) // 8), dtype=np.uint8)
    own, shared = np.zeros((2, len(rows)))
    for part in blocks(0, unified.size):
        uni, bytes_ = unified[part], slice(part.start // 8, (part.stop + 7) // 8)
        positive, negative, magnitude = uni > 0, uni < 0, np.abs(uni)
        work = np.empty_like(uni)
        for t, row in enumerate(rows):
            tau = row(part)
            mask = (tau > 0) & positive
            mask |= (tau < 0) & negative
            packed[t, bytes_] = bits.pack(mask)
            own[t] += np.abs(tau, out=work).sum()
            np.copyto(work, mask)  # then float times float: mixed types are slower
            shared[t] += np.multiply(work, magnitude, out=work).sum()
    scales = np.divide(own, shared, out=np.zeros(len(rows)), where=shared > 0)
    return [(mask, float(scale)) for mask, scale in zip(packed, scales, strict=True)]


def _batches(names: list[str]) -> list[list[str]]:
    return [names[start : start + TOGETHER] for start in range(0, len(names), TOGETHER)]


class EmrParameters(MaskedParameters):
    """Those of ``MaskedParameters``."""


class Emr(MaskEach[EmrParameters]):
    def localize(self, kept: Kept, ask: Ask) -> None:
        rows = self.rows(kept)
        self.erase_vector(MERGED)
        self.erase_masks(but=rows)
        scales: dict[str, float] = {}
        if rows:
            unified = unify(list(rows.values()), kept.size)
            self.keep_merged(unified)
            for names in _batches(list(rows)):
                found = masks_and_scales([rows[name] for name in names], unified)
                for name, (packed, scale) in zip(names, found, strict=True):
                    self.keep_mask(name, packed)
                    scales[name] = scale
        self.chosen["scales"] = scales

    def serve(self, kept: Kept, client: str) -> Served:
        scales = self.chosen.get("scales", {})
        if not scales:
            return BASE
        if client not in kept.members:
            return Masked(MERGED, scale=math.fsum(scales.values()) / len(scales))
        name = self.mask_of(client)
        return Masked(MERGED, scale=scales[name], mask=self.mask(name))
