"""The papers' tables and figures: play every scenario of scenarios/papers, and say which of their claims hold.

    python -m tests.benchmarks.papers OUT [--only NAME ...]     # plays what is not there yet; goes on with what was stopped
    python -m tests.benchmarks.papers OUT --check               # plays nothing: who differs from docs/reproductions.json
    python -m tests.benchmarks.papers OUT --write               # plays nothing: writes docs/reproductions.json and tables

OUT/verdicts.json has the verdicts of all that is done. The page is docs/reproductions.md: a table stands between
``<!-- NAME -->`` and ``<!-- end -->``; the words around it are written by hand.
"""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sim.scenario.claims import Claim
from sim.study.claims import WORDS, in_words, short, verdicts
from tests.benchmarks.pages import cell, table, with_tables

PAPERS = Path(__file__).parents[2] / "scenarios" / "papers"
DOCS = Path(__file__).parents[2] / "docs"
PAGE, VERDICTS = DOCS / "reproductions.md", DOCS / "reproductions.json"
ACCURACY = "accuracy.held_in_after"
MEASURED = {
    "accuracy.forgotten_after": "forgotten",
    "accuracy.held_out_after": "held-out",
    "unlearning.forgotten": "forgotten",
    "unlearning.gap": "average gap",
    "chosen.kept_share": "share kept",
    "told.merge_seconds": "seconds",
}
"""What is told beside accuracy where a claim is of it, and what stands above its column."""
Row = Mapping[str, Any]
Found = dict[str, list[dict[str, Any]]]


def names() -> list[str]:
    """Of all scenarios, ClAMU's first."""
    return sorted(path.stem for path in PAPERS.glob("*.yaml"))


def claims_of(name: str) -> tuple[Claim, ...]:
    from sim.scenario.file import load_scenario

    return load_scenario(f"papers/{name}").claims


def found(out: Path) -> Found:
    """The verdicts of every study that is done, by name: its numbers, and today's claims."""
    from sim.report.study_results import RESULTS
    from sim.study.results import read_rows
    from sim.study.study import is_study, open_study

    told = {}
    for name in names():
        if is_study(out / name):
            study = open_study(out / name)
            rows = read_rows(out / name) if (out / name / RESULTS).is_file() else []
            if {row["point"] for row in rows} == {point.name for point in study.points}:
                told[name] = verdicts(claims_of(name), study.scenario.sweep, rows)
    return told


def flipped(before: Found, now: Found, timed: bool = False) -> Iterator[str]:
    """A line for each claim whose verdict is another, or which is in one of the two alone.

    Args:
        timed: of the claims that seconds decide, or of all others.
    """
    for name in sorted({*before, *now}):
        old, new = ({each["claim"]: each for each in one.get(name, [])} for one in (before, now))
        for claim in [*old, *(claim for claim in new if claim not in old)]:
            one, two = old.get(claim), new.get(claim)
            if (two or one or {}).get("timed", False) != timed:
                continue
            if one is None or two is None:
                yield f"{name}: {claim} is {'new' if one is None else 'gone'}"
            elif one["holds"] != two["holds"]:
                yield f"{name}: {claim} {WORDS[one['holds']]} → {WORDS[two['holds']]}: {two['why']}"


def tables(
    claims: Sequence[Claim], found: Sequence[Mapping[str, Any]], study: Mapping[str, Any], rows: Sequence[Row]
) -> str:
    """Markdown: what is claimed beside what was published and what came out, then the accuracies."""
    decided = [(each["claim"], each["published"], each["why"], marked(each["holds"])) for each in found]
    of = {metric for claim in claims for metric in claim.metrics}
    measured = numbers(study, rows, {key: what for key, what in MEASURED.items() if key in of})
    return "\n\n".join([table(("claim", "published", "here", ""), decided), measured])


def marked(holds: bool | None) -> str:
    return WORDS[holds] if holds else f"**{WORDS[holds]}**"


def numbers(study: Mapping[str, Any], rows: Sequence[Row], more: Mapping[str, str]) -> str:
    """Markdown: a row per strategy, a column per point; means over seeds, ± standard deviation.

    Args:
        more: metrics beside accuracy, and what stands above their columns.
    """
    axes = {key: values for key, values in study["axes"].items() if len(values) > 1}
    there = {tuple(str(row[key]) for key in axes) for row in rows}
    told = [point for point in itertools.product(*(map(str, values) for values in axes.values())) if point in there]
    metrics = {ACCURACY: "members", **more}
    heads_of = {key: heads(values) for key, values in axes.items()}
    points = [(point, metric) for point in told for metric in metrics]
    shown = [[heads_of[key][value] for key, value in zip(axes, point, strict=True)] for point, _ in points]
    titles = [
        ", ".join([*words, *([metrics[of]] if more or not words else [])])
        for words, (_, of) in zip(shown, points, strict=True)
    ]
    keys = " × ".join(key.rpartition(".")[2] for key in axes)
    lines = []
    for label in study["strategies"]:
        cells = []
        for point, metric in points:
            values = [
                row[metric]
                for row in rows
                if row["label"] == label and tuple(str(row[key]) for key in axes) == point and row.get(metric) is not None
            ]
            cells.append(cell(values))
        lines.append((f"`{label}`", *cells))
    return table((keys or "strategy", *titles), lines)


def heads(values: Sequence[Any]) -> dict[str, str]:
    """By the text of an axis' value in a row, what stands above its column."""
    whole = [json.loads(value) if isinstance(value, str) and value[:1] in "[{" else value for value in values]
    return dict(zip(map(str, values), short(whole), strict=True))


def read(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """study.json and the rows of results.parquet."""
    from sim.study.results import read_rows

    return json.loads((folder / "study.json").read_text()), read_rows(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="*", help="names of scenarios")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    if not (asked.check or asked.write):
        play_all(asked.out, asked.only or names())
    now = found(asked.out)
    if asked.write:
        VERDICTS.write_text(json.dumps(now, indent=1, ensure_ascii=False) + "\n")
        PAGE.write_text(
            with_tables(PAGE, {name: tables(claims_of(name), now[name], *read(asked.out / name)) for name in now})
        )
    if asked.check:
        before = json.loads(VERDICTS.read_text())
        for line in flipped(before, now, timed=True):
            print(f"{line} (seconds, which are the machine's: no failure)")
        if differences := list(flipped(before, now)):
            print("\n".join(differences))
            sys.exit(1)


def play_all(out: Path, wanted: Sequence[str]) -> None:
    """Play each that is not done, and tell its time and verdicts."""
    from sim.scenario.file import load
    from tests.benchmarks.studies import play

    out.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        start = time.perf_counter()
        play(out / name, partial(load, f"papers/{name}"))
        print(f"{name}  {time.perf_counter() - start:.0f} s", flush=True)
        for each in found(out).get(name, []):
            print(f"  {in_words(each)}", flush=True)
        (out / "verdicts.json").write_text(json.dumps(found(out), indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
