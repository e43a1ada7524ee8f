"""Verdicts on hand-made rows: each rule, the points that it is asked at, the seeds' spread, and what was not measured."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sim.scenario.claims import METRICS, Claim, check
from sim.study.claims import points, short, verdict, verdicts

M = "accuracy.held_in_after"
AXES = {"clients": (2, 10, 50)}


def rows(values: dict[str, list[Any]], axis: str = "clients", keys: Any = AXES["clients"], metric: str = M) -> list[dict]:
    """One row per label, value of the axis and seed; a cell is a number, or a list of numbers by seed."""
    made = []
    for label, cells in values.items():
        for key, cell in zip(keys, cells, strict=True):
            for seed, value in enumerate(cell if isinstance(cell, list) else [cell], start=1):
                told = json.dumps(key, sort_keys=True) if isinstance(key, dict | list) else key
                made.append({"seed": seed, "label": label, axis: told, metric: value})
    return made


def claim(**facts: Any) -> Claim:
    return Claim.model_validate({"says": "so it is"} | facts)


def holds(asked: Claim, values: dict[str, list[Any]], **more: Any) -> Any:
    return verdict(asked, AXES, rows(values, **more))["holds"]


def test_order_holds_at_every_point_or_not_at_all() -> None:
    asked = claim(order={"above": "a", "below": ["b", "c"]})
    assert holds(asked, {"a": [0.6, 0.7, 0.8], "b": [0.5, 0.6, 0.7], "c": [0.1, 0.1, 0.1]}) is True
    assert holds(asked, {"a": [0.6, 0.7, 0.8], "b": [0.5, 0.7, 0.7], "c": [0.1, 0.1, 0.1]}) is False  # equal is not above
    assert holds(asked, {"a": [0.6, 0.7, 0.8], "b": [0.5, 0.6, 0.7], "c": [0.1, 0.1, 0.9]}) is False


def test_order_by_a_margin() -> None:
    values = {"a": [0.6, 0.7, 0.8], "b": [0.5, 0.5, 0.5]}
    assert holds(claim(order={"above": "a", "below": "b", "by": 0.05}), values) is True
    assert holds(claim(order={"above": "a", "below": "b", "by": 0.15}), values) is False
    assert holds(claim(order={"above": "b", "below": "a", "by": -0.31}), values) is True  # not worse by .31


def test_order_at_the_points_that_are_named() -> None:
    values = {"a": [0.4, 0.7, 0.8], "b": [0.5, 0.6, 0.9]}
    order = {"above": "a", "below": "b"}
    assert holds(claim(order=order, where={"clients": 10}), values) is True
    assert holds(claim(order=order, where={"clients": "first"}), values) is False
    assert holds(claim(order=order, where={"clients": "last"}), values) is False
    assert points(claim(order=order, where={"clients": "last"}), AXES) == [(50,)]


def test_trends_go_from_the_first_value_to_the_last() -> None:
    values = {"a": [0.6, 0.9, 0.8], "b": [0.5, 0.4, 0.5]}
    assert holds(claim(trend={"of": "a", "along": "clients", "goes": "rises"}), values) is True
    assert holds(claim(trend={"of": "a", "along": "clients", "goes": "rises", "by": 0.3}), values) is False
    assert holds(claim(trend={"of": "a", "along": "clients", "goes": "falls"}), values) is False
    assert holds(claim(trend={"of": "a", "along": "clients", "goes": "stays", "by": 0.25}), values) is False  # .6 to .9
    assert holds(claim(trend={"of": "b", "along": "clients", "goes": "stays", "by": 0.1}), values) is True
    assert holds(claim(trend={"of": "b", "along": "clients", "goes": "falls"}), values) is False


def test_a_crossing_is_told_with_where_it_lies() -> None:
    asked = claim(cross={"of": "a", "over": "b", "along": "clients"})
    found = verdict(asked, AXES, rows({"a": [0.1, 0.4, 0.8], "b": [0.5, 0.4, 0.3]}))
    assert found["holds"] is True
    assert found["why"].endswith("above from clients 50 on")
    assert verdict(asked, AXES, rows({"a": [0.1, 0.6, 0.8], "b": [0.5] * 3}))["why"].endswith("above from clients 10 on")
    assert holds(asked, {"a": [0.6, 0.4, 0.8], "b": [0.5, 0.4, 0.3]}) is False  # above from the start
    assert holds(asked, {"a": [0.1, 0.6, 0.4], "b": [0.5, 0.5, 0.5]}) is False  # and back again


def test_ratios_and_bounds() -> None:
    values = {"a": [20.0, 30.0, 40.0], "b": [10.0, 15.0, 20.0]}
    assert holds(claim(ratio={"of": "a", "to": "b", "within": [2, 2]}), values) is True
    assert holds(claim(ratio={"of": "a", "to": "b", "within": [None, 1.9]}), values) is False
    assert holds(claim(ratio={"of": "b", "within": [10, 20]}), values) is True
    assert holds(claim(ratio={"of": "b", "within": [11, None]}), values) is False
    two = rows({"a": [4, 6, 8]}, metric="parallel_steps.forget")
    for row in two:
        row["gradient_steps.forget"] = row["parallel_steps.forget"] / 2
    asked = claim(
        metric="parallel_steps.forget", ratio={"of": "a", "to": "a", "metric_to": "gradient_steps.forget", "within": [2, 2]}
    )
    found = verdict(asked, AXES, two)
    assert found["holds"] is True
    assert found["why"].startswith("clients 2: a 4 against a's forget 2, 2 times; clients 10: a 6")
    assert holds(claim(ratio={"of": "a", "to": "b", "within": [1, None]}), {"a": [1, 1, 1], "b": [0, 1, 1]}) is None


def test_means_over_seeds_decide_and_the_spread_is_told() -> None:
    asked = claim(order={"above": "a", "below": "b"}, where={"clients": "first"})
    wide = verdict(asked, AXES, rows({"a": [[0.9, 0.5], 0, 0], "b": [[0.5, 0.7], 0, 0]}))  # differences .4 and -.2
    assert wide["holds"] is True
    assert "a 0.700 against b 0.600 (within the seeds' spread)" in wide["why"]
    near = verdict(asked, AXES, rows({"a": [[0.9, 0.5], 0, 0], "b": [[0.8, 0.41], 0, 0]}))  # .1 and .09
    assert near["holds"] is True
    assert "spread" not in near["why"]


def test_what_was_not_measured_is_not_decided_but_a_counterexample_is_enough() -> None:
    asked = claim(order={"above": "a", "below": "b"})
    assert holds(asked, {"a": [0.6, None, 0.8], "b": [0.5, 0.5, 0.5]}) is None
    assert holds(asked, {"a": [0.6, None, 0.4], "b": [0.5, 0.5, 0.5]}) is False
    assert holds(asked, {"a": [0.6, 0.6, 0.6]}) is None
    assert holds(claim(trend={"of": "a", "along": "clients", "goes": "rises"}), {"a": [0.6, None, 0.8]}) is None
    assert holds(claim(cross={"of": "a", "over": "b", "along": "clients"}), {"a": [0.1, None, 0.8], "b": [0.5] * 3}) is None
    assert holds(claim(ratio={"of": "a", "within": [0, 1]}), {"a": [float("nan")] * 3}) is None


def test_a_claim_along_one_axis_holds_at_every_value_of_the_others() -> None:
    axes = {"clients": (2, 50), "tuning.steps": (5, 20)}
    made = [
        {"seed": 1, "label": "a", "clients": clients, "tuning.steps": steps, M: value}
        for (clients, steps), value in {(2, 5): 0.5, (50, 5): 0.6, (2, 20): 0.5, (50, 20): 0.4}.items()
    ]
    rising = {"trend": {"of": "a", "along": "clients", "goes": "rises"}}
    assert verdict(claim(**rising), axes, made)["holds"] is False
    found = verdict(claim(**rising, where={"tuning.steps": 5}), axes, made)
    assert found["holds"] is True
    assert found["why"] == "steps 5: a 0.500 → 0.600 (at clients 2, 50)"


def test_a_mean_over_an_axis() -> None:
    asked = claim(order={"above": "a", "below": "b"}, where={"clients": "mean"})
    found = verdict(asked, AXES, rows({"a": [0.9, 0.3, 0.3], "b": [0.4, 0.4, 0.4]}))  # .5 against .4, at one point above
    assert (found["holds"], found["why"]) == (True, "mean over clients: a 0.500 against b 0.400")
    assert holds(asked, {"a": [0.9, None, 0.9], "b": [0.4, 0.4, 0.4]}) is None


def test_values_that_are_no_scalars_are_told_apart_by_their_json() -> None:
    kinds = ({"name": "iid"}, {"name": "label_subsets", "classes": 2})
    axes = {"data.partitioner": kinds}
    made = rows({"a": [0.7, 0.5], "b": [0.6, 0.6]}, "data.partitioner", kinds)
    asked = {"order": {"above": "a", "below": "b"}}
    assert (
        verdict(claim(**asked, where={"data.partitioner": {"classes": 2, "name": "label_subsets"}}), axes, made)["holds"]
        is False
    )
    assert verdict(claim(**asked, where={"data.partitioner": {"name": "iid"}}), axes, made)["holds"] is True


def test_a_verdict_has_what_study_json_says_of_it() -> None:
    asked = claim(source="ClAMU, Figure 2", published=".70 to .84", order={"above": "a", "below": "b"}, where={"clients": 2})
    assert verdicts([asked], AXES, rows({"a": [0.5, 0, 0], "b": [0.25, 0, 0]})) == [
        {
            "claim": "so it is",
            "source": "ClAMU, Figure 2",
            "holds": True,
            "why": "clients 2: a 0.500 against b 0.250",
            "timed": False,
            "published": ".70 to .84",
        }
    ]
    assert json.loads(json.dumps(verdicts([asked], AXES, []))) == [
        {
            "claim": "so it is",
            "source": "ClAMU, Figure 2",
            "holds": None,
            "why": "clients 2: a has no accuracy.held_in_after",
            "timed": False,
            "published": ".70 to .84",
        }
    ]


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), min_size=2, max_size=5))
def test_an_order_and_its_reverse_never_both_hold(cells: list[tuple[int, int]]) -> None:
    axes = {"clients": tuple(range(len(cells)))}
    made = rows({"a": [a for a, _ in cells], "b": [b for _, b in cells]}, keys=axes["clients"])
    one, two = (
        verdict(claim(order={"above": above, "below": below}), axes, made)["holds"]
        for above, below in (("a", "b"), ("b", "a"))
    )
    assert not (one and two)
    assert one is all(a > b for a, b in cells)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"order": {"above": "a", "below": "x"}}, "strategy 'x' is not there; there are a, b"),
        ({"order": {"above": "a", "below": "b"}, "metric": "accuracy"}, "metric 'accuracy' is not there"),
        ({"order": {"above": "a", "below": "b"}, "metric": "unlearning.gap"}, "measured where audit has gap"),
        ({"trend": {"of": "a", "along": "steps", "goes": "rises"}}, "axis 'steps' is not there; there are clients"),
        (
            {"order": {"above": "a", "below": "b"}, "where": {"clients": 3}},
            "has no value 3; there are 2, 10, 50, first, last and mean",
        ),
        ({"trend": {"of": "a", "along": "clients", "goes": "rises"}, "where": {"clients": 2}}, "the claim goes along"),
        ({"trend": {"of": "a", "along": "seed", "goes": "rises"}}, "needs two values"),
    ],
)
def test_claims_that_a_study_cannot_decide_are_refused(facts: dict[str, Any], message: str) -> None:
    axes = AXES if "needs two" not in message else AXES | {"seed": (1,)}
    with pytest.raises(ValueError, match=re.escape("claims.0 (so it is)") + ".*" + re.escape(message)):
        check([claim(**facts)], axes, ["a", "b"], ["bitwise"])


def test_claims_need_a_sweep_and_one_rule_each() -> None:
    with pytest.raises(ValueError, match="add sweep"):
        check([claim(order={"above": "a", "below": "b"})], {}, ["a", "b"], [])
    with pytest.raises(ValidationError, match="a claim has one rule"):
        claim()
    with pytest.raises(ValidationError, match="order and ratio"):
        claim(order={"above": "a", "below": "b"}, ratio={"of": "a", "within": [0, 1]})
    with pytest.raises(ValidationError, match="lower bound comes first"):
        claim(ratio={"of": "a", "within": [2, 1]})
    with pytest.raises(ValidationError, match="at least one bound"):
        claim(ratio={"of": "a", "within": [None, None]})
    check([claim(metric="chosen.lambda", order={"above": "a", "below": "b"})], AXES, ["a", "b"], [])
    assert M in METRICS


def test_values_of_an_axis_in_few_words() -> None:
    assert short([2, 1000]) == ["2", "1,000"]
    assert short([{"name": "iid"}, {"name": "subsets", "classes": 2}]) == ["iid", "subsets"]
    assert short([{"base": "x", "tiny": {"steps": 4, "width": 32}}, {"base": "x", "tiny": {"steps": 4, "width": 64}}]) == [
        "32",
        "64",
    ]
    assert short([{"name": "listed", "clients": ["a", "b", "c"]}, {"name": "listed", "clients": ["d"]}]) == [
        "a … c",
        "d",
    ]
    assert short([True]) == ["True"]
