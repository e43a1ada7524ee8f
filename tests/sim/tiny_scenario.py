"""The tiny scenario with every strategy."""

from typing import Any

from sim.scenario import Scenario

TINY: dict[str, Any] = {
    "name": "tiny",
    "data": {"source": "fiction", "clients": 8, "pairs": 3, "public_authors": 8},
    "model": {"max_length": 128, "tiny": {"layers": 1, "width": 16, "heads": 2, "vocabulary": 300, "steps": 3, "batch": 4}},
    "tuning": {"steps": 3},
    "strategies": [
        "zero_shot",
        "local",
        {"average": {"alpha": [0.5, 1.0]}},
        "sift_masks",
        {"sift_masks": {"label": "counts", "scale": "counts"}},
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


def tiny(**sections: Any) -> Scenario:
    """The tiny scenario with other sections."""
    return Scenario.model_validate(TINY | sections)
