"""The tiny scenario with strategies made for it; and every other row of the registry, by what its deletion takes."""

from typing import Any

from contract import FREE, small

from sim.scenario.model import Scenario, StrategySpec
from strategies.registry import REGISTRY

TINY: dict[str, Any] = {
    "name": "tiny",
    "data": {"source": "fiction", "clients": 8, "pairs": 3, "public_authors": 8},
    "model": {"max_length": 128, "tiny": {"layers": 1, "width": 16, "heads": 2, "vocabulary": 300, "steps": 3, "batch": 4}},
    "tuning": {"steps": 3},
    "strategies": [
        "zero_shot",
        "local",
        {"average": {"alpha": [0.5, 1.0]}},
        {"sift_masks": {"keep": 1.0}},
        {"sift_masks": {"label": "counts", "keep": 1.0, "scale": "counts"}},
        {"sift_masks": {"label": "half", "keep": 0.5}},
        "mask_only",
        {"clamu": {"clusters": 3, "steps": 2}},
        {"clamu": {"label": "clamu_vectors", "clusters": 3, "steps": 2, "affinity": "task_vectors"}},
        {"clamu": {"label": "clamu_random", "clusters": 3, "steps": 2, "affinity": "random"}},
        {"clamu": {"label": "clamu_signs", "clusters": "clients", "steps": 2, "tuning": "sign_fixed"}},
    ],
    "stream": {"requests": 4, "evaluate_after": [2, 4], "release": {"every": 2}},
    "workers": {"kind": "inline", "cohort": 3},
    "report": {"html": False},
}

CENTRAL_STEPS, EDIT_STEPS = 4, 2
_EDITED = {"steps": CENTRAL_STEPS, "batch": 8, "edit_steps": EDIT_STEPS}
_MERGES = ("best", "uniform", "ties", "magmax")

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "task_arithmetic": [{"scale": [0.1, 0.2]}],
    "cluster_average": [
        {"clusters": 3},
        {"label": "anchor_average", "clusters": 3, "by": "anchor", "tuning": "sign_fixed"},
    ],
    "vote_masks": [{"clusters": 3}, {"label": "anchor_votes", "clusters": 4, "by": "anchor"}],
    "breadcrumbs": [{"alpha": [1.0, 1.5]}],
    "consensus": [{"alpha": 1.0}],
    "tall": [
        {"density": [0.3, 0.7], "alpha": [1.0, 1.5]},
        {"label": "tall_clusters", "clusters": 3, "density": 0.5, "alpha": 1.0, "tuning": "sign_fixed"},
    ],
    "emr": [{}, {"label": "emr_clusters", "clusters": 3}],
    "central": [{"steps": CENTRAL_STEPS, "batch": 8}],
    "negmerge": [
        _EDITED | {"tunings": 3},
        *[_EDITED | {"label": merge, "tunings": 3, "merge": merge} for merge in _MERGES],
    ],
    **{name: [_EDITED] for name, row in REGISTRY.items() if row.deletion == "edit" and name != "negmerge"},
}
"""Parameters that show more of a row than its small ones do; a row that is not here is there with those."""


def rows(*deletions: str) -> list[Any]:
    """Every row of the registry with these deletion rules that takes free text, as a scenario lists it, but for those that
    ``TINY`` has."""
    there = {entry if isinstance(entry, str) else next(iter(entry)) for entry in TINY["strategies"]}
    names = [name for name in FREE if REGISTRY[name].deletion in deletions and name not in there]
    return [{name: parameters} for name in names for parameters in VARIANTS.get(name, [small(name)[name]])]


def labels(entries: list[Any]) -> list[str]:
    """The labels of strategies as a scenario lists them."""
    return [StrategySpec.model_validate(entry).label for entry in entries]


SUBTRACTED = ["average", *rows("subtract", "relearn")]
REBUILT = rows("rebuild")
RETRAINED, EDITED = rows("retrain"), rows("edit")
MERGING = [*SUBTRACTED, *REBUILT]
POOLED = [*RETRAINED, *EDITED]


def tiny(**sections: Any) -> Scenario:
    """The tiny scenario with other sections."""
    return Scenario.model_validate(TINY | sections)
