"""What strategies with a ridge head share: its settings, and choosing among them on data that are not reported."""

import itertools
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import Field

from clients.data.manifest import Manifest
from clients.work import statistics
from clients.work.head import numbering
from clients.work.heads import Setting
from strategies.scale import choose_scale, grid_of
from strategies.state.kept import Kept
from strategies.strategy import Ask, Parameters, Strategy

Strength = Annotated[float, Field(ge=1e-3)]
Share = Annotated[float, Field(ge=0)]
Strengths = Strength | Annotated[tuple[Strength, ...], Field(min_length=1)]
Shares = Share | Annotated[tuple[Share, ...], Field(min_length=1)]


class HeadParameters(Parameters):
    """``ridge``: λ; ``mix``: weight of the frozen model's log-probabilities; each a number or a grid to choose from.
    ``features``: φ itself, or ``width`` random ReLU features of it."""

    ridge: Strengths = (0.1, 1.0, 10.0)
    mix: Shares = (0.0, 0.03, 0.1, 0.3)
    features: Literal["plain", "relu"] = "plain"
    width: int = Field(256, ge=1)

    @property
    def relu(self) -> int:
        """How many random ReLU features; 0 for φ itself."""
        return self.width if self.features == "relu" else 0


H = TypeVar("H", bound=HeadParameters)


class RidgeStrategy(Strategy[H]):
    """Serves ridge heads of one setting (λ, κ, mix), the best of a grid."""

    @property
    def rule(self) -> str:
        return f"gram-{relu}" if (relu := self.parameters.relu) else "gram"

    def check(self, manifest: Manifest) -> None:
        numbering(manifest.label_sets)

    def localize(self, kept: Kept, ask: Ask) -> None:
        settings = settings_of(self.parameters.ridge, self.kappas, self.parameters.mix)
        self.chosen = {"settings": settings}
        index = int(choose_scale(self, kept, ask, range(len(settings))))
        self.chosen = dict(zip(("ridge", "kappa", "mix"), settings[index], strict=True))
        self.told = self.tell(kept)

    @property
    def settings(self) -> tuple[Setting, ...]:
        """The setting that was chosen; while choosing, all of them, which scales number."""
        if "settings" in self.chosen:
            return tuple(self.chosen["settings"])
        return ((self.chosen["ridge"], self.chosen["kappa"], self.chosen["mix"]),)

    @property
    def kappas(self) -> Shares:
        """κ, or a grid of them."""
        return 0.0

    def tell(self, kept: Kept) -> dict[str, Any]:
        """What is told of the choice, beside it."""
        return {}


def settings_of(ridge: Strengths, kappa: Shares, mix: Shares) -> tuple[Setting, ...]:
    """All choices, those with the same λ and κ, which are solved once, one behind the other."""
    grids = [sorted(set(grid_of(each))) for each in (ridge, kappa, mix)]
    return tuple((a, b, c) for a, b, c in itertools.product(*grids))


def condition(triangle: np.ndarray, ridge: float) -> float:
    """The condition of G + λI, G of its upper triangle: the largest eigenvalue over the smallest, to two digits."""
    values = np.linalg.eigvalsh(statistics.gram_of(triangle))
    return float(f"{(values[-1] + ridge) / (max(values[0], 0.0) + ridge):.1e}")
