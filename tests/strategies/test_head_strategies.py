"""Strategies of closed-form heads end to end, on small real data: what they serve, who they ask, and what they refuse."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from updates import BOUNDS, SEED, departures, reply

from clients.data.manifest import Manifest
from clients.data.shards import Sides
from clients.errors import InputError
from clients.jobs import Job, Reply
from strategies.ridge_head import condition, settings_of
from strategies.state.grids import Grids, OwnSum
from strategies.state.kept import Kept
from strategies.state.store import Memory, write_arrays
from strategies.state.sum import Sum
from strategies.subtract.ridge import Ridge, RidgeParameters

CLIENTS = ("a", "b", "c", "d")
TEXT = Manifest(CLIENTS, {}, (), False, Sides())


def kept_of(clients: Iterable[str], *parts: Any, cohort: int = 2) -> Kept:
    kept = Kept(Path("nowhere"), "plain", BOUNDS, parts, SEED, Memory())
    names = tuple(clients)
    for start in range(0, len(names), cohort):
        kept.absorb(reply(names[start : start + cohort], kept.declared, "plain"))
    return kept


@settings(max_examples=40, deadline=None)
@given(st.permutations(CLIENTS), st.integers(1, 4), departures(CLIENTS))
def test_the_sum_is_of_who_is_left_whatever_the_order(order: list[str], cohort: int, batches: list[list[str]]) -> None:
    kept = kept_of(order, Grids(), OwnSum(), cohort=cohort)
    for client in (client for batch in batches for client in batch):
        kept.erase(client)  # and nobody is asked
    left = [client for client in CLIENTS if client in kept.members]
    fresh = kept_of(left, Grids(), OwnSum())
    assert kept.digest(kept.declared) == fresh.digest(fresh.declared)
    np.testing.assert_array_equal(kept.direction("mean/total"), fresh.direction("mean/total"))
    plain = kept_of(left, Sum())
    np.testing.assert_array_equal(kept.direction("mean/total"), plain.direction("mean/total"))
    if left:
        own = np.sum([kept[Grids()].values(client) for client in left], axis=0)
        np.testing.assert_allclose(kept.direction("mean/total"), own, rtol=0, atol=1e-12)


@pytest.mark.parametrize("wrong", [np.zeros(3, dtype=np.int64), np.zeros(BOUNDS[-1], dtype=np.float32)])
def test_own_statistics_of_another_model_are_damage(wrong: np.ndarray, tmp_path: Path) -> None:
    kept = Kept(tmp_path, "plain", BOUNDS, (Grids(), OwnSum()), SEED)
    kept.absorb(reply(CLIENTS, kept.declared, "plain"))
    write_arrays(kept.store, kept[Grids()].file("a"), {"value": wrong})
    with pytest.raises(InputError, match=r"damaged: .*, expected int64 \(37,\)"):
        kept.erase("a")


def test_free_text_is_refused_with_the_reason() -> None:
    strategy = Ridge(RidgeParameters(), SEED, Path())
    with pytest.raises(InputError, match="a head needs answers that are labels, and these are free text"):
        strategy.check(TEXT)


def test_settings_are_all_choices_solved_once_each() -> None:
    assert settings_of((1.0, 0.1), 0.0, (0.3, 0.0)) == ((0.1, 0.0, 0.0), (0.1, 0.0, 0.3), (1.0, 0.0, 0.0), (1.0, 0.0, 0.3))
    found = settings_of(1.0, (3.0, 0.0), (0.1, 0.2))
    assert [each[:2] for each in found] == [(1.0, 0.0), (1.0, 0.0), (1.0, 3.0), (1.0, 3.0)]


def test_the_condition_is_that_of_numpy() -> None:
    x = np.random.default_rng(0).normal(size=(20, 4))
    gram = x.T @ x
    expected = np.linalg.cond(gram + 0.5 * np.eye(4))
    assert condition(gram[np.triu_indices(4)], 0.5) == pytest.approx(expected, rel=0.05)


def asking(best: float) -> Any:
    """Clients who like one scale best, counted from 0."""

    def ask(kept: Kept, jobs: Iterable[Job]) -> Iterator[tuple[int, Reply]]:
        for index, job in enumerate(jobs):
            assert job.kind == "score"  # nothing is derived, and no gradient step is taken
            scores = [[1.0 if scale == best else 0.0 for scale in item["scales"]] for item in job.facts["items"]]
            yield index, Reply(job.clients, {"scores": scores})

    return ask


@pytest.mark.parametrize(("personal", "best"), [(True, 5), (False, 1), (True, 0)])
def test_what_was_chosen_is_served(personal: bool, best: int) -> None:
    """Members get their own statistics where they are kept; the forgotten what anybody gets."""
    p = RidgeParameters(personal=personal, ridge=(0.1, 1.0), kappa=(0.0, 3.0), mix=(0.0, 0.1))
    strategy = Ridge(p, SEED, Path())
    kept = kept_of(CLIENTS, *strategy.parts)
    strategy.localize(kept, asking(best))
    setting = settings_of(p.ridge, p.kappa if personal else 0.0, p.mix)[best]
    assert strategy.chosen == dict(zip(("ridge", "kappa", "mix"), setting, strict=True))
    assert set(strategy.told) == {"condition"}
    before = strategy.digest(kept)
    strategy.told = {}
    assert strategy.digest(kept) == before  # the condition is no part of the state
    mine: Mapping[str, Any] = strategy.serve(kept, "a").facts
    assert mine["settings"] == (setting,)
    assert ("own" in strategy.serve(kept, "a").arrays) is personal
    if personal:
        kept.erase("a")
        assert strategy.serve(kept, "a").arrays == {}
        assert strategy.serve(kept, "a").facts == strategy.serve(kept, "nobody").facts
    assert strategy.derives is not personal
