"""The tables of docs/what_merging_adds.md and docs/strategies.md, from the studies of ``tests.benchmarks.study``.

    python -m tests.benchmarks.study_tables OUT             # prints them
    python -m tests.benchmarks.study_tables OUT --write     # puts them into the pages

Accuracies are means over clients, then over seeds; ± is the standard deviation over seeds. A difference of two strategies is
paired by client: its 95 % interval is that of 2,000 resamples of each seed's clients, so it speaks of these seeds.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from sim.terminal import human_bytes
from tests.benchmarks.pages import cell, table, with_tables
from tests.benchmarks.study import ALL, DELETED, HEADS, LABELLED, QUESTION, SEEDS, SETTINGS, TABLE, run_of

RESAMPLES = 2000
CLAIMS = {
    "the sum adds to the masks: sift_half − mask_only_half": ("sift_half", "mask_only_half", "held_in"),
    "... at rho 1: sift_masks − mask_only_all": ("sift_masks", "mask_only_all", "held_in"),
    "... at rho .2: sift_fifth − mask_only_fifth": ("sift_fifth", "mask_only_fifth", "held_in"),
    "half masks − whole masks: sift_half − sift_masks": ("sift_half", "sift_masks", "held_in"),
    "a fifth − half: sift_fifth − sift_half": ("sift_fifth", "sift_half", "held_in"),
    "masks add to merging: sift_masks − average": ("sift_masks", "average", "held_in"),
    "masked merging − local models: sift_half − local": ("sift_half", "local", "held_in"),
    "masked merging − central: sift_half − central": ("sift_half", "central", "held_in"),
    "optimised masks, 8 clusters, on the sign-fixed sum: sift_clamu − clamu": ("sift_clamu", "clamu", "held_in"),
    "..., one per client: sift_clamu_each − clamu_each": ("sift_clamu_each", "clamu_each", "held_in"),
    "optimised on the client's own: sift_clamu_each − sift_masks": ("sift_clamu_each", "sift_masks", "held_in"),
    "optimised − TALL: clamu_each − tall": ("clamu_each", "tall", "held_in"),
    "optimised − EMR: clamu_each − emr": ("clamu_each", "emr", "held_in"),
    "knowing who posts what − base model: label_prior − zero_shot": ("label_prior", "zero_shot", "held_in"),
    "local models − who posts what: local − label_prior": ("local", "label_prior", "held_in"),
    "masked merging − who posts what: sift_half − label_prior": ("sift_half", "label_prior", "held_in"),
    "ridge − who posts what: ridge − label_prior": ("ridge", "label_prior", "held_in"),
    "ridge − masked merging: ridge − sift_half": ("ridge", "sift_half", "held_in"),
    "ridge − local models: ridge − local": ("ridge", "local", "held_in"),
    "ridge − one's own ridge: ridge − ridge_own": ("ridge", "ridge_own", "held_in"),
    "never seen, ridge − base model: ridge_global − zero_shot": ("ridge_global", "zero_shot", "unseen"),
    "never seen, ridge − central: ridge_global − central": ("ridge_global", "central", "unseen"),
    "never seen, merged − base model: average − zero_shot": ("average", "zero_shot", "unseen"),
    "never seen, sign-fixed mean − base model: sift_masks − zero_shot": ("sift_masks", "zero_shot", "unseen"),
    "never seen, merged − central: average − central": ("average", "central", "unseen"),
}

Values = dict[str, float]
Columns = Sequence[tuple[str, int]]
"""Settings, each at a T."""
DOCS = Path(__file__).parents[2] / "docs"
SEEN = "T50"
"""The T whose accuracies of never seen clients stand on the page."""


def label_of(spec: Any) -> str:
    """The label of a strategy as a scenario writes it."""
    if isinstance(spec, str):
        return spec
    ((name, parameters),) = spec.items()
    return str(parameters.get("label", name))


class Study:
    """Scores by client of all runs that are there, read once."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.found: dict[tuple[str, int, int], dict[tuple[str, str, int], Values]] = {}
        self.summaries: dict[tuple[str, int, int], dict[str, Any]] = {}
        for name, setting in SETTINGS.items():
            for tasks in (*setting.joins, TABLE):
                for seed in SEEDS:
                    self._read(name, tasks, seed)

    def _read(self, name: str, tasks: int, seed: int) -> None:
        """The scores of both runs; those of strategies that are in both are the same."""
        scores: dict[tuple[str, str, int], Values] = {}
        strategies: dict[str, Any] = {}
        for heads in (True, False):
            run = self.out / run_of(name, tasks, seed, heads)
            if not (run / "summary.json").is_file():
                continue
            for row in pq.read_table(run / "metrics.parquet").to_pylist():
                if row["value"] is not None:
                    scores.setdefault((row["strategy"], row["split"], row["deleted"]), {})[row["client"]] = row["value"]
            strategies |= json.loads((run / "summary.json").read_text())["strategies"]
        if scores:
            self.found[name, tasks, seed], self.summaries[name, tasks, seed] = scores, {"strategies": strategies}

    def seeds(self, name: str, tasks: int) -> list[int]:
        return [seed for seed in SEEDS if (name, tasks, seed) in self.found]

    def values(self, name: str, tasks: int, strategy: str, split: str, deleted: int = 0) -> list[Values]:
        """Scores by client, of each seed that has them."""
        every = [self.found[name, tasks, seed].get((strategy, split, deleted)) for seed in self.seeds(name, tasks)]
        return [values for values in every if values]


def mean_and_spread(seeds: Sequence[Values]) -> str:
    """Means over clients, of each seed, as a cell."""
    return cell([float(np.mean(list(values.values()))) for values in seeds])


def difference(first: Sequence[Values], second: Sequence[Values]) -> tuple[float, float, float] | None:
    """Mean difference over clients and seeds, and the ends of its 95 % interval."""
    if not first or len(first) != len(second):
        return None
    paired = [np.array([a[c] - b[c] for c in sorted(a)]) for a, b in zip(first, second, strict=True)]
    rng = np.random.default_rng(0)
    drawn = np.mean([rng.choice(each, (RESAMPLES, each.size)).mean(1) for each in paired], axis=0)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(np.mean([each.mean() for each in paired])), float(low), float(high)


def accuracy_table(study: Study, columns: Columns, split: str) -> str:
    """A row for each strategy of the question, a column for each setting; behind it stands the number of seeds."""
    heads = [f"{name} ({len(study.seeds(name, tasks))})" for name, tasks in columns]
    labels = dict.fromkeys(map(label_of, [*QUESTION, *HEADS]))
    return table(
        ("", *heads),
        [(f"`{label}`", *(mean_and_spread(study.values(*column, label, split)) for column in columns)) for label in labels],
    )


def claims_table(study: Study, columns: Columns) -> str:
    """One row for a claim, one column for a setting at a T; bold where 0 is outside of the interval."""
    heads = [f"{name}, T = {tasks} ({len(study.seeds(name, tasks))})" for name, tasks in columns]
    lines = []
    for claim, (first, second, split) in CLAIMS.items():
        pairs = [[study.values(*column, label, split) for label in (first, second)] for column in columns]
        found = [difference(*pair) for pair in pairs]
        if any(found):
            lines.append((claim, *("–" if each is None else _told(*each) for each in found)))
    return table(("", *heads), lines)


def _told(value: float, low: float, high: float) -> str:
    """``**+.012** [+.003, +.020]``."""
    sure = "**" if low > 0 or high < 0 else ""
    return f"{sure}{value:+.3f}{sure} [{low:+.3f}, {high:+.3f}]"


def strategies_table(study: Study) -> str:
    """Every strategy on the labelled embedded settings: members before deletions, members and the forgotten after."""
    heads = [f"{name}: members → after; the forgotten" for name in LABELLED]
    lines = []
    for label in dict.fromkeys(map(label_of, [*ALL, *HEADS])):
        cells = []
        for name in LABELLED:
            before, after, gone = (
                mean_and_spread(study.values(name, TABLE, label, split, deleted))
                for split, deleted in (("held_in", 0), ("held_in", DELETED), ("forgotten", DELETED))
            )
            cells.append(f"{before} → {after}; {gone}")
        lines.append((f"`{label}`", *cells, *_price(study, label)))
    return table(("", *heads, "gradient steps learn / forget", "storage"), lines)


def _price(study: Study, label: str) -> tuple[str, str]:
    """Steps and bytes on the first setting, whose models and steps are those of the second."""
    there = [told["strategies"] for key, told in study.summaries.items() if key[:2] == (LABELLED[0], TABLE)]
    told = [strategies[label] for strategies in there if label in strategies]
    if not told:
        return "–", "–"
    steps = told[0]["gradient_steps"]
    return f"{steps['learn']:,} / {steps['forget']:,}", human_bytes(told[0]["storage_before"])


def tables(study: Study) -> dict[Path, dict[str, str]]:
    """By page and by name, all tables."""
    found: dict[str, str] = {}
    sizes = {f"T{joins[0]}": joins for joins in zip(*(setting.joins for setting in SETTINGS.values()), strict=True)}
    for size, joins in sizes.items():
        columns = [each for each in zip(SETTINGS, joins, strict=True) if study.seeds(*each)]
        found[f"differences {size}"] = claims_table(study, columns)
        found[f"members {size}"] = accuracy_table(study, columns, "held_in")
        if size == SEEN:
            found[f"unseen {size}"] = accuracy_table(study, columns, "unseen")
    found[f"differences T{TABLE}"] = claims_table(study, [(name, TABLE) for name in LABELLED if study.seeds(name, TABLE)])
    return {DOCS / "what_merging_adds.md": found, DOCS / "strategies.md": {"all strategies": strategies_table(study)}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    for page, found in tables(Study(asked.out)).items():
        if asked.write:
            page.write_text(with_tables(page, found))
        else:
            print("\n\n".join(f"{name}:\n\n{text}" for name, text in found.items()))


if __name__ == "__main__":
    main()
