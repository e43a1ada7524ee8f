"""The tiny scenario with every strategy that was made for it; other lists with merging methods and with pooled training."""

from typing import Any

from sim.scenario.model import Scenario

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

MERGING: list[Any] = [
    "average",
    {"task_arithmetic": {"scale": [0.1, 0.2]}},
    {"cluster_average": {"clusters": 3}},
    "dare",
    {"vote_masks": {"clusters": 3}},
    {"cluster_average": {"label": "anchor_average", "clusters": 3, "by": "anchor", "tuning": "sign_fixed"}},
    {"vote_masks": {"label": "anchor_votes", "clusters": 4, "by": "anchor"}},
    "ties",
    "magmax",
    {"breadcrumbs": {"alpha": [1.0, 1.5]}},
    {"consensus": {"alpha": 1.0}},
    {"tall": {"density": [0.3, 0.7], "alpha": [1.0, 1.5]}},
    {"tall": {"label": "tall_clusters", "clusters": 3, "density": 0.5, "alpha": 1.0, "tuning": "sign_fixed"}},
    "emr",
    {"emr": {"label": "emr_clusters", "clusters": 3}},
]

CENTRAL_STEPS, EDIT_STEPS = 4, 2
_EDITED = {"steps": CENTRAL_STEPS, "batch": 8, "edit_steps": EDIT_STEPS}

POOLED: list[Any] = [
    {"central": {"steps": CENTRAL_STEPS, "batch": 8}},
    {"sisa": {"shards": 2, "slices": 2, "steps": 2, "batch": 8}},
    {"apa": {"clusters": 3, "steps": 2, "batch": 8}},
    {"negmerge": _EDITED | {"tunings": 3}},
    *[
        {"negmerge": _EDITED | {"label": merge, "tunings": 3, "merge": merge}}
        for merge in ("best", "uniform", "ties", "magmax")
    ],
    {"linear_negation": _EDITED},
    {"gradient_ascent": _EDITED},
    {"salun": _EDITED},
    {"l1_sparse": _EDITED},
]


def tiny(**sections: Any) -> Scenario:
    """The tiny scenario with other sections."""
    return Scenario.model_validate(TINY | sections)
