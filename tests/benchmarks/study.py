"""What does merging add, and what is each strategy worth? Runs of many strategies over settings, clients and seeds.

    python -m tests.benchmarks.study OUT --data FOLDER      # play what is not there yet; several processes may share OUT
    python -m tests.benchmarks.study_tables OUT             # the tables of docs/what_merging_adds.md and docs/strategies.md

Two run folders for each (setting, T, seed): of strategies that tune, and, where answers are labels, of heads in closed form
(``-heads``), which need no tuning. In a setting the population, the base model and who has how many examples are
the same for every T: T of the clients join at random, and of the others, who are never seen, 20 are served what anybody
gets. At T = 100 of the labelled embedded settings all strategies run, and 10 clients are deleted in one release; elsewhere
those of the question alone run, without deletions. FOLDER holds ``tofu``, ``sentiment140`` and ``mnist`` as the hub lays
them out; without it the settings on real data are left out.
"""

import argparse
import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEEDS = (1, 2, 3)
TASKS = (10, 50, 200)
TABLE = 100
UNSEEN = 20
ALPHA = [0.8, 1.0, 1.2, 1.4, 1.6, 2.0, 2.5, 3.0, 4.0, 6.0]
DELETED = 10

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


def runs() -> Iterator[tuple[str, int, int, bool]]:
    """Setting, T and seed of every run, and whether it is one of heads: of the first seed all, then of the next."""
    for seed in SEEDS:
        for name, setting in SETTINGS.items():
            for tasks in (*setting.joins, *([TABLE] if name in LABELLED else [])):
                for heads in (False, True) if setting.labelled else (False,):
                    yield name, tasks, seed, heads


def folder_of(name: str, tasks: int, seed: int, heads: bool) -> str:
    """The name of a run's folder."""
    return f"{name}-{tasks}-{seed}{'-heads' if heads else ''}"


def scenario_of(name: str, tasks: int, seed: int, heads: bool, data: Path | None) -> Any:
    """The scenario of one run."""
    from sim.scenario.file import load_scenario
    from sim.scenario.model import Scenario

    setting = SETTINGS[name]
    whole = tasks == TABLE
    folder = str((data or Path()) / setting.needs) if setting.needs else ""
    sets = [each.format(folder) for each in setting.sets] + [f"data.clients={setting.everybody}"]
    deleted = DELETED if whole else 0
    loaded = load_scenario(setting.scenario, sets).model_dump(mode="json")
    return Scenario.model_validate(
        loaded
        | {
            "name": folder_of(name, tasks, seed, heads),
            "seeds": [seed],
            "strategies": HEADS if heads else ALL if whole else QUESTION,
            "stream": {"join": tasks, "unseen": UNSEEN, "requests": deleted, "release": {"every": max(1, deleted)}},
            "workers": {"kind": "inline", "cohort": 4},
            "audit": [],
            "report": {"html": False},
        }
    )


@contextmanager
def taken(folder: Path) -> Iterator[bool]:
    """Whether a run is ours to play: not there yet, and no other process is at it. What a killed one left is removed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a process that is killed lets go of it
        except BlockingIOError:
            yield False
            return
        done = (folder / "summary.json").is_file()
        if not done:
            shutil.rmtree(folder, ignore_errors=True)
        yield not done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--only", nargs="*", help="settings")
    parser.add_argument("--tasks", nargs="*", type=int)
    parser.add_argument("--seeds", nargs="*", type=int)
    parser.add_argument("--heads", action="store_true", help="the heads in closed form alone")
    asked = parser.parse_args()

    from sim.run import run_scenario

    for name, tasks, seed, heads in runs():
        if asked.heads and not heads:
            continue
        if SETTINGS[name].needs and asked.data is None:
            continue
        if any(
            chosen and value not in chosen
            for chosen, value in ((asked.only, name), (asked.tasks, tasks), (asked.seeds, seed))
        ):
            continue
        folder = asked.out / folder_of(name, tasks, seed, heads)
        with taken(folder) as ours:
            if ours:
                run_scenario(scenario_of(name, tasks, seed, heads, asked.data), folder)
                print(folder.name, flush=True)


if __name__ == "__main__":
    main()
