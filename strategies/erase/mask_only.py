"""Mask only: the masks of SIFT-Masks without the sum, the control that shows what merging adds beyond the masks.

Serve client t: θ0 + m_t ⊙ v ⊙ a_t with v the shared sign vector and a_t one number per tensor, the mean size of the
client's own kept entries; anybody else: θ0. Nothing is merged, so forgetting is erasing: no training at all.
"""

from typing import Annotated, ClassVar

from pydantic import Field

from clients.work.served import BASE, Masked, Served
from strategies.state.kept import SIGNS, Kept
from strategies.state.masks import masked
from strategies.state.part import Part
from strategies.strategy import Deletion, Parameters, Strategy


class MaskOnlyParameters(Parameters):
    """``keep``: share ρ of a client's own mask."""

    keep: Annotated[float, Field(gt=0, le=1)] = 0.5


class MaskOnly(Strategy[MaskOnlyParameters]):
    deletion: ClassVar[Deletion] = "erase"
    rule = "sign_fixed"

    @property
    def parts(self) -> tuple[Part, ...]:
        return masked(self.parameters.keep)

    def serve(self, kept: Kept, client: str) -> Served:
        if client not in kept.members:
            return BASE
        masks, sizes = masked(self.parameters.keep)
        return Masked(SIGNS, mask=kept[masks].read(client), factors=kept[sizes].read(client))
