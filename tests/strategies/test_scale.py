"""The race of ways to serve and scales, against hand-computed differences and a plain search over everything."""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel
from updates import SEED, reply

from clients.errors import InputError, NotFiniteError
from clients.exact import digest
from clients.jobs import Job, Reply
from clients.work.served import Masked
from strategies.registry import REGISTRY
from strategies.scale import not_behind, race
from strategies.state.kept import Kept
from strategies.state.sum import Sum
from strategies.strategy import parameters_of

Make = Callable[..., Kept]
Table = dict[str, dict[tuple[str, float], float]]
WAYS = ("mean", "merged")


class Judge:
    """An ``Ask`` that reads scores from a table, by client, direction and scale, and notes who was asked for what."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.asked: list[tuple[str, str, float]] = []

    def __call__(self, kept: Kept, jobs: Sequence[Job]) -> Iterator[tuple[int, Reply]]:
        for index, job in reversed(list(enumerate(jobs))):
            scores = []
            for client, item in zip(job.clients, job.facts["items"], strict=True):
                self.asked += [(client, item["direction"], scale) for scale in item["scales"]]
                scores.append([self.table[client][item["direction"], scale] for scale in item["scales"]])
            yield index, Reply(job.clients, {"scores": scores})


class Members:
    """What the race reads of a kept state."""

    def __init__(self, names: Sequence[str]) -> None:
        self.members = dict.fromkeys(names)

    def choosers(self) -> list[str]:
        return list(self.members)


def run(table: Table, scales: Sequence[float]) -> tuple[tuple[int, float], Judge]:
    judge = Judge(table)
    ways = [lambda clients, way=way: [(client, Masked(way)) for client in clients] for way in WAYS]
    return race(Members(list(table)), judge, ways, scales), judge  # type: ignore[arg-type]


def by_digest(names: Sequence[str]) -> list[str]:
    return sorted(names, key=digest.of_json)


@st.composite
def tables(draw: st.DrawFn, most: int) -> tuple[Table, list[float]]:
    scales = draw(st.lists(st.sampled_from([0.5, 1.0, 2.0, 3.0]), min_size=1, max_size=4, unique=True))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    names = [f"c{index}" for index in range(draw(st.integers(1, most)))]
    # eighths, as accuracies on eight examples, so that ties come up; some candidates are much worse than others
    level = {(way, scale): rng.integers(0, 6) for way in WAYS for scale in scales}
    return {n: {c: float(level[c] + rng.integers(0, 4)) / 8 for c in level} for n in names}, scales


@given(tables(most=8))
def test_of_few_members_the_best_mean_of_all_wins(drawn: tuple[Table, list[float]]) -> None:
    table, scales = drawn
    found, judge = run(table, scales)
    every = [(way, scale) for way in range(len(WAYS)) for scale in sorted(scales)]
    assert found == min(every, key=lambda c: (-sum(scores[WAYS[c[0]], c[1]] for scores in table.values()), c))
    assert sorted(judge.asked) == sorted((client, *candidate) for client in table for candidate in table[client])


def plainly(table: Table, scales: list[float]) -> tuple[tuple[int, float], set[tuple[str, str, float]]]:
    """The race written out with scipy's t-test: after 8, 16, 32 and 50 members whoever is behind the best falls out."""
    running = [(way, scale) for way in range(len(WAYS)) for scale in sorted(scales)]
    asked = set()
    before = 0
    clients = by_digest(list(table))[:50]
    for count in (8, 16, 32, 64):
        if before >= len(clients) or len(running) == 1:
            break
        asked |= {(c, WAYS[way], scale) for c in clients[before:count] for way, scale in running}
        before = min(count, len(clients))
        seen = clients[:before]
        values = {c: [table[client][WAYS[c[0]], c[1]] for client in seen] for c in running}
        best = max(running, key=lambda c: (sum(values[c]), [-c[0], -c[1]]))
        staying = []
        for c in running:
            apart = {b - v for b, v in zip(values[best], values[c], strict=True)}
            if before == 1:
                behind = False
            elif len(apart) == 1:  # no spread, so no test
                behind = apart != {0.0}
            else:
                behind = ttest_rel(values[best], values[c], alternative="greater").pvalue < 0.005
            if not behind:
                staying.append(c)
        running = sorted(staying, key=lambda c: c != best)
    return running[0], asked


@given(tables(most=60))
def test_the_race_is_the_one_written_out_plainly(drawn: tuple[Table, list[float]]) -> None:
    table, scales = drawn
    found, judge = run(table, scales)
    assert (found, set(judge.asked)) == plainly(table, scales)
    assert len(judge.asked) == len(set(judge.asked))  # nobody is asked twice


@given(tables(most=8), st.randoms())
def test_a_candidate_that_is_not_finite_loses_whatever_else_it_scores(
    drawn: tuple[Table, list[float]], random: Random
) -> None:
    table, scales = drawn
    every = [(way, scale) for way in range(len(WAYS)) for scale in sorted(scales)]
    broken = random.sample(every, random.randrange(len(every)))
    for way, scale in broken:
        table[random.choice(sorted(table))][WAYS[way], scale] = random.choice([math.nan, math.inf, -math.inf])
    found, _ = run(table, scales)
    sound = [(way, scale) for way, scale in every if all(math.isfinite(table[c][WAYS[way], scale]) for c in table)]
    assert found == min(sound, key=lambda c: (-sum(scores[WAYS[c[0]], c[1]] for scores in table.values()), c))


def test_where_nothing_is_finite_a_client_is_named() -> None:
    table: Table = {f"c{i}": {(way, 1.0): 0.5 for way in WAYS} for i in range(4)}
    for way in WAYS:
        table["c2"][way, 1.0] = math.nan
    with pytest.raises(NotFiniteError, match=r"gives finite scores; the first does not on c2"):
        run(table, [1.0])


def test_who_is_behind_by_hand() -> None:
    best = [0.5, 0.7, 0.6, 0.6]
    near = [0.4, 0.8, 0.6, 0.5]  # differences .1, -.1, 0, .1: mean .025, standard error .0479
    far = [0.3, 0.5, 0.45, 0.4]  # differences .2, .2, .15, .2: mean .1875, standard error .0125: 15 of them, 5.8 are enough
    same = [0.4, 0.6, 0.5, 0.5]  # .1 less for everyone, but for rounding
    assert not_behind({(0, 2.0): far, (0, 1.0): near, (1, 1.0): best, (1, 2.0): same}) == [(1, 1.0), (0, 1.0)]
    assert not_behind({(1, 1.0): best, (0, 3.0): best}) == [(0, 3.0), (1, 1.0)]  # of equals the lowest is first
    assert not_behind({(0, 1.0): [0.1], (0, 2.0): [0.9]}) == [(0, 2.0), (0, 1.0)]  # one client says nothing of a spread


def test_a_clear_winner_is_known_after_eight_members() -> None:
    table = {
        f"c{i}": {(way, s): 0.9 if (way, s) == ("merged", 1.0) else 0.1 for way in WAYS for s in (1.0, 2.0)}
        for i in range(60)
    }
    found, judge = run(table, [2.0, 1.0])
    assert found == (1, 1.0)
    assert {client for client, _, _ in judge.asked} == set(by_digest(list(table))[:8])


def test_equals_are_asked_of_fifty_members_at_most_and_the_smallest_wins() -> None:
    table = {f"c{i}": {(way, s): i / 60 for way in WAYS for s in (1.0, 2.0)} for i in range(60)}
    found, judge = run(table, [2.0, 1.0])
    assert found == (0, 1.0)
    assert {client for client, _, _ in judge.asked} == set(by_digest(list(table))[:50])
    assert len(judge.asked) == 50 * 4


def test_a_value_that_a_grid_names_twice_counts_once() -> None:
    table = {f"c{i}": {(way, s): i / 60 for way in WAYS for s in (1.0, 2.0)} for i in range(12)}
    twice, judge = run(table, [2.0, 1.0, 2.0])
    once, other = run(table, [1.0, 2.0])
    assert (twice, sorted(judge.asked)) == (once, sorted(other.asked))


def test_without_a_choice_nobody_is_asked_and_an_empty_grid_is_refused() -> None:
    one = lambda clients: [(client, Masked("mean")) for client in clients]  # noqa: E731
    judge = Judge({})
    assert race(Members(["a"]), judge, [one], [1.5]) == (0, 1.5)  # type: ignore[arg-type]
    assert race(Members([]), judge, [one], [2.0, 1.0]) == (0, 1.0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"alpha: the grid is empty"):
        race(Members(["a"]), judge, [one], [])  # type: ignore[arg-type]


def test_alpha_is_the_best_of_the_grid_whatever_order_members_joined_in(make_kept: Make, tmp_path: Path) -> None:
    names = tuple(f"c{i}" for i in range(20))
    rng = np.random.default_rng(3)
    table = {name: {("mean", scale): float(rng.random()) for scale in (1.0, 2.0, 3.0)} for name in names}
    cls = REGISTRY["average"]
    parameters = parameters_of(cls)
    chosen = []
    for order in (names, names[::-1]):
        strategy = cls(parameters.model_validate({"alpha": [3.0, 1.0, 2.0]}), SEED, tmp_path)
        kept = make_kept((Sum(),), "plain")
        for client in order:
            kept.absorb(reply((client,), strategy.parts, "plain"))
        strategy.localize(kept, judge := Judge(table))
        chosen.append((strategy.chosen, judge.asked))
    assert chosen[0] == chosen[1]
    sums = {scale: sum(table[name]["mean", scale] for name in names) for scale in (1.0, 2.0, 3.0)}
    assert chosen[0][0] == {"alpha": max(sums, key=lambda scale: sums[scale])}


def test_settings_are_chosen_on_half_of_the_members_where_the_same_data_are_reported() -> None:
    """Each client's half follows from its name and the seed; nobody else is asked, and nobody at all is the first choice."""
    names = [f"u{number}" for number in range(40)]
    kept, halved = (Kept(Path("nowhere"), "plain", (0, 37), (Sum(),), SEED, halved=half) for half in (False, True))
    for each in (kept, halved):
        each.imagine(names)
    digests = {name: hashlib.sha256(f'["half",{SEED},"{name}"]'.encode()).digest() for name in names}
    mine = [name for name in names if digests[name][3] % 2 == 0]  # the last bit of the first four bytes
    assert kept.choosers() == names
    assert halved.choosers() == mine
    assert 10 < len(mine) < 30
    table: Table = {name: {("merged", 0.5): 0.25, ("merged", 1.0): 0.5 if name in mine else 0.0} for name in names}
    judge = Judge(table)
    ways = [lambda clients: [(client, Masked("merged")) for client in clients]]
    assert race(halved, judge, ways, [0.5, 1.0]) == (0, 1.0)
    assert {client for client, _, _ in judge.asked} <= set(mine)
    halved.imagine([name for name in names if name not in mine])
    assert race(halved, judge, ways, [1.0, 0.5]) == (0, 0.5)
