"""Results in words, against sentences written by hand."""

from typing import Any

import pytest

from sim.report.claims_in_words import along, held, sentences
from sim.report.outcome import Outcome
from strategies.registry import CEILING, FLOOR, PRIOR


def outcome(label: str, accuracy: float | None, storage: float = 100, learn: float = 50, **more: Any) -> Outcome:
    base: dict[str, Any] = {"strategy": label, "exact": True, "per_deletion": None}
    return Outcome(label=label, accuracy=accuracy, storage=storage, learn=learn, **base | more)


def ends(base: float = 0.5, alone: float = 0.9) -> list[Outcome]:
    return [
        outcome("base", base, 0, 0, strategy=FLOOR, per_deletion=0.0),
        outcome("alone", alone, 1000, 50, strategy=CEILING, per_deletion=0.0),
    ]


def test_what_is_recovered_at_which_storage() -> None:
    half = outcome("half", 0.892, 130, per_deletion=20.0, retraining=0.034)  # (0.892 - 0.5) / 0.4 = 0.98
    small = outcome("small", 0.86, 4, per_deletion=1234.4, retraining=0.4)  # 0.9 of the way, more than 0.9 of 0.98
    poor = outcome("poor", 0.85, 1, per_deletion=1.0)  # 0.875 of the way, less than 0.9 of 0.98
    assert sentences([*ends(), half, small, poor]) == [
        "half recovers 98 % of alone at 13 % of its storage.",
        "small recovers 90 % of alone at less than 1 % of its storage.",
        "A deletion from half takes 20 gradient steps, 3 % of training again.",
        "A deletion from small takes 1,234 gradient steps, 40 % of training again.",
        "alone needs no gradient step to forget.",
    ]
    assert sentences([*ends(), outcome("huge", 0.9, 2500)])[0] == "huge recovers 100 % of alone at 2.5 times its storage."


def test_who_needs_no_gradient_step() -> None:
    heads = [outcome(name, 0.7, learn=0, per_deletion=0.0) for name in ("one", "two")]
    assert sentences([*ends(), *heads])[1:] == [
        "one and two need no gradient step.",
        "alone needs no gradient step to forget.",
    ]
    many = [outcome(f"s{i}", 0.7, per_deletion=0.0) for i in range(7)]
    assert sentences(many)[1] == "s0, s1, s2, s3, s4 and 2 more need no gradient step to forget."
    assert sentences(many[:6])[1] == "s0, s1, s2, s3, s4 and s5 need no gradient step to forget."
    assert sentences([outcome("kept", 0.7)]) == ["kept is the most accurate of the exact strategies, at 0.700."]


def test_where_there_is_nothing_to_recover() -> None:
    one, two = outcome("one", 0.61), outcome("two", 0.6)
    told = "alone (0.400) is no better than base (0.500): there is nothing to recover. "
    assert sentences([*ends(alone=0.4), one, two])[0] == f"{told}The most accurate of the exact strategies is one, at 0.610."
    worse = [*ends(), outcome("one", 0.5), outcome("two", 0.4)]
    assert sentences(worse)[0] == "No exact strategy is better than base (0.500); the best is one, at 0.500."
    assert sentences(ends()) == ["alone needs no gradient step to forget."]
    assert sentences([outcome("nobody", None)]) == []


def test_who_is_not_above_the_prior() -> None:
    prior = outcome("posts", 0.6, strategy=PRIOR, learn=0, above=0.0)
    near, far = outcome("near", 0.61, above=-0.01), outcome("far", 0.8, above=0.1)
    floor = outcome("base", 0.5, strategy=FLOOR, learn=0, above=-0.2)
    assert "near is not clearly above posts." in sentences([floor, prior, near, far])
    assert not [line for line in sentences([floor, prior, far]) if "clearly" in line]
    assert not [line for line in sentences([floor, near, far]) if "clearly" in line]  # nobody to be above
    other = outcome("other", 0.62, above=0.0)
    assert "near and other are not clearly above posts." in sentences([prior, near, other, far])


def test_what_was_rebuilt_and_what_is_approximate() -> None:
    good = [outcome(name, 0.7, equal=True) for name in ("one", "two")]
    loose = outcome("loose", 0.9, exact=False, equal=False)
    assert sentences([*good, loose])[1:] == [
        "All 2 exact states that were rebuilt without the forgotten are equal, bit for bit.",
        "loose is approximate: no deletion is exact there.",
    ]
    assert sentences(good[:1])[1:] == ["The exact state that was rebuilt without the forgotten is equal, bit for bit."]
    wrong = outcome("wrong", 0.6, equal=False)
    assert sentences([*good, wrong])[1:] == ["wrong is DIFFERENT from a rebuild without the forgotten."]
    assert sentences([loose]) == ["loose is approximate: no deletion is exact there."]  # the best of exact ones is nobody


def test_along_an_axis() -> None:
    def at(*values: tuple[float, float, float]) -> list[Outcome]:
        return [
            outcome(name, accuracy, storage, per_deletion=steps)
            for name, (accuracy, storage, steps) in zip(("one", "two"), values, strict=True)
        ]

    points = [
        (2.0, at((0.9, 100, 20), (0.8, 10, 20))),
        (50.0, at((0.8, 100, 20), (0.85, 100, 20))),
        (1000.0, at((0.65, 100, 20), (0.82, 1250, 60))),
    ]
    assert along("clients", points) == [
        "The most accurate exact strategy along clients: one at 2, two at 50 to 1,000.",
        "From clients 2 to 1,000, accuracy changes by −0.250 (one) to +0.020 (two).",
        "From clients 2 to 1,000, storage grows most for two, to 125 times, and least for one, not at all.",
        "From clients 2 to 1,000, the price of a deletion grows most for two, to 3 times, and least for one, not at all.",
    ]
    assert along("keep", points[1:2] + points[1:2])[0] == "two is the most accurate exact strategy at every value of keep."
    assert along("keep", points[1:2] * 2)[-1] == "From keep 50 to 50, the price of a deletion grows for none."
    assert along("lr", [(0.001, [outcome("nobody", None)]), (0.01, [outcome("nobody", None)])])[0] == (
        "From lr 0.001 to 0.01, storage grows for none."
    )


@pytest.mark.parametrize(
    ("verdicts", "told"),
    [
        ([], []),
        ([True], ["1 of 1 claim holds."]),
        ([True, False, None], ["1 of 3 claims hold; 1 could not be decided."]),
        ([False, False], ["0 of 2 claims hold."]),
    ],
)
def test_how_many_claims_hold(verdicts: list[bool | None], told: list[str]) -> None:
    assert held(verdicts) == told
