"""What does merging add, and what is each strategy worth? Studies of many strategies over settings, clients and seeds.

    python -m tests.benchmarks.study OUT --data FOLDER      # play what is not there yet; several processes may share OUT
    python -m tests.benchmarks.study_tables OUT             # the tables of docs/what_merging_adds.md and docs/strategies.md

Two studies for each setting: of strategies that tune, and, where answers are labels, of heads in closed form (``-heads``),
which need no tuning. Their sweep is over T. In a setting the population, the base model and who has how many examples are
the same for every T: T of the clients join at random, and of the others, who are never seen, 20 are served what anybody
gets. At T = 100 of the labelled embedded settings all strategies run, and 10 clients are deleted in one release; elsewhere
those of the question alone run, without deletions: these are studies of their own (``-all``). FOLDER holds ``tofu``,
``sentiment140`` and ``mnist`` as the hub lays them out; without it the settings on real data are left out.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sim.scenario.file import Asked, load
from sim.scenario.model import Scenario
from sim.study.results import POINTS
from sim.study.sweep import named, points_of
from tests.benchmarks.studies import play

SEEDS = (1, 2, 3)
TASKS = (10, 50, 200)
TABLE = 100
UNSEEN = 20
ALPHA = [0.8, 1.0, 1.2, 1.4, 1.6, 2.0, 2.5, 3.0, 4.0, 6.0]
DELETED = 10
JOIN = "stream.join"

QUESTION: list[Any] = [
    "zero_shot",
    "local",
    {"central": {"steps": 200, "batch": 32}},
    "average",
    {"sift_masks": {"keep": 1.0, "alpha": ALPHA}},
    {"sift_masks": {"label": "sift_half", "keep": 0.5, "alpha": ALPHA}},
    {"sift_masks": {"label": "sift_fifth", "keep": 0.2, "alpha": ALPHA}},
    {"mask_only": {"label": "mask_only_all", "keep": 1.0}},
    {"mask_only": {"label": "mask_only_half", "keep": 0.5}},
    {"mask_only": {"label": "mask_only_fifth", "keep": 0.2}},
    {"clamu": {"affinity": "task_vectors", "steps": 10}},
    {"clamu": {"label": "clamu_each", "clusters": "clients", "steps": 10}},
    {"clamu": {"label": "sift_clamu", "tuning": "sign_fixed", "affinity": "task_vectors", "steps": 10}},
    {"clamu": {"label": "sift_clamu_each", "tuning": "sign_fixed", "clusters": "clients", "steps": 10}},
    "tall",
    "emr",
]
HEADS: list[Any] = [
    "zero_shot",
    "label_prior",
    "class_means",
    {"ridge": {"label": "ridge_global", "personal": False}},
    "ridge",
    {"ridge": {"label": "ridge_relu", "features": "relu"}},
    "ridge_own",
]
ONLY_ASKED = [  # in the question, but not in the table of all strategies
    {"sift_masks": {"label": "sift_fifth", "keep": 0.2, "alpha": ALPHA}},
    {"mask_only": {"label": "mask_only_all", "keep": 1.0}},
    {"mask_only": {"label": "mask_only_fifth", "keep": 0.2}},
    {"clamu": {"label": "sift_clamu_each", "tuning": "sign_fixed", "clusters": "clients", "steps": 10}},
]
EDIT = {"steps": 200, "batch": 32}
OTHERS: list[Any] = [
    "task_arithmetic",
    "dare",
    "cluster_average",
    {"cluster_average": {"label": "cluster_average_anchors", "by": "anchor"}},
    {"sift_masks": {"label": "sift_counts", "keep": 1.0, "scale": "counts"}},
    {"sift_masks": {"label": "sift_half_l1", "keep": 0.5, "scale": "l1"}},
    "vote_masks",
    {"vote_masks": {"label": "vote_masks_anchors", "by": "anchor"}},
    {"clamu": {"label": "clamu_features", "affinity": "features", "steps": 10}},
    {"clamu": {"label": "clamu_random", "affinity": "random", "steps": 10}},
    {"tall": {"label": "tall_clusters", "clusters": 8}},
    {"emr": {"label": "emr_clusters", "clusters": 8}},
    "ties",
    "magmax",
    "breadcrumbs",
    "consensus",
    {"sisa": {"steps": 40}},
    {"sisa": {"label": "sisa_vote", "steps": 40, "aggregate": "vote"}},
    {"apa": {"steps": 40}},
    {"apa": {"label": "apa_anchors", "steps": 40, "by": "anchor"}},
    {"negmerge": EDIT},
    *[
        {"negmerge": EDIT | {"label": f"negation_{merge}", "merge": merge}}
        for merge in ("best", "uniform", "ties", "magmax")
    ],
    {"linear_negation": EDIT},
    {"gradient_ascent": EDIT},
    {"salun": EDIT},
    {"l1_sparse": EDIT},
]
ALL = [spec for spec in QUESTION if spec not in ONLY_ASKED] + OTHERS


@dataclass(frozen=True)
class Setting:
    """A scenario file and what is set differently; ``needs`` is the folder of real data that it reads."""

    scenario: str
    sets: tuple[str, ...]
    joins: tuple[int, ...] = TASKS
    needs: str | None = None
    everybody: int = 220
    labelled: bool = True


DIGITS = ("data.maximum=20", "data.validation=3", "data.test=5", "data.public_clients=30")
SETTINGS = {
    "fiction": Setting("quickstart", ("data.pairs=6",), labelled=False),
    "sent140": Setting("sent140", ("data.maximum=24",)),
    "reddit": Setting("reddit", ("data.maximum=24",)),
    "clip_i": Setting("clip_i", DIGITS),
    "clip_ii": Setting("clip_ii", DIGITS),
    "tofu_real": Setting("tofu", ("data.source={}",), (10, 50, 180), "tofu", 200, False),
    "sent140_real": Setting("sent140", ("data.source={}", "data.minimum=5", "data.public_clients=60"), needs="sentiment140"),
    "mnist_writers": Setting("mnist_writers", ("data.sets=[{}]", "data.maximum=24"), needs="mnist"),
}
LABELLED = ("sent140", "reddit", "clip_i", "clip_ii")


def studies(data: bool) -> Iterator[tuple[str, bool, bool]]:
    """Setting of every study, whether it is the one at T = 100 of all strategies, and whether it is one of heads.

    Args:
        data: whether there are real data.
    """
    for name, setting in SETTINGS.items():
        if data or not setting.needs:
            for whole in (False, True) if name in LABELLED else (False,):
                for heads in (False, True) if setting.labelled else (False,):
                    yield name, whole, heads


def study_of(name: str, whole: bool, heads: bool) -> str:
    """The name of a study's folder."""
    return f"{name}{'-all' if whole else ''}{'-heads' if heads else ''}"


def run_of(name: str, tasks: int, seed: int, heads: bool) -> Path:
    """Where the run of a point lies."""
    return Path(study_of(name, tasks == TABLE, heads)) / POINTS / named({JOIN: tasks}, seed)


def asked_of(name: str, whole: bool, heads: bool, data: Path | None) -> Asked:
    """The scenario of one study."""
    setting = SETTINGS[name]
    folder = str((data or Path()).absolute() / setting.needs) if setting.needs else ""
    asked = load(setting.scenario, [each.format(folder) for each in setting.sets])
    deleted = DELETED if whole else 0
    for key, value in {
        "name": study_of(name, whole, heads),
        "seeds": list(SEEDS),
        "sweep": {JOIN: [TABLE] if whole else list(setting.joins)},
        "data.clients": setting.everybody,
        "strategies": HEADS if heads else ALL if whole else QUESTION,
        "stream": {"unseen": UNSEEN, "requests": deleted, "release": {"every": max(1, deleted)}},
        "workers": {"kind": "inline", "cohort": 4},
        "audit": [],
        "report": {"html": False},
    }.items():
        asked.put(key, value, "study")
    return asked


def scenario_of(name: str, tasks: int, seed: int, data: Path | None) -> Scenario:
    """The scenario of one run of strategies that tune."""
    points = points_of(asked_of(name, tasks == TABLE, False, data))
    return next(point.scenario for point in points if (point.axes[JOIN], point.seed) == (tasks, seed))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--only", nargs="*", help="settings")
    parser.add_argument("--heads", action="store_true", help="the heads in closed form alone")
    asked = parser.parse_args()
    for name, whole, heads in studies(asked.data is not None):
        if (heads or not asked.heads) and (not asked.only or name in asked.only):
            folder = asked.out / study_of(name, whole, heads)
            play(folder, partial(asked_of, name, whole, heads, asked.data))
            print(folder.name, flush=True)


if __name__ == "__main__":
    main()
