"""Who is dominated by whom, and what of a summary makes an outcome."""

from hypothesis import given, settings
from hypothesis import strategies as st

from sim.report.outcome import Outcome, front, outcomes_of
from sim.report.summary import Summary
from tests.test_report import STRATEGIES, summary_of


def outcome(label: str, accuracy: float | None, storage: float, per_deletion: float | None, exact: bool = True) -> Outcome:
    return Outcome(label, label, exact, accuracy, storage, 100.0, per_deletion)


def test_the_front_by_hand() -> None:
    found = [
        outcome("best", 0.9, 1000, 50),
        outcome("small", 0.5, 10, 5),
        outcome("worse", 0.5, 20, 5),  # than small
        outcome("free", 0.4, 30, 0),  # less accurate and larger than small, but its deletions are free
        outcome("same", 0.9, 1000, 50),  # as best: neither dominates
        outcome("nobody", None, 0, 0),
    ]
    assert front(found) == {"best", "small", "free", "same"}


def test_an_approximate_strategy_dominates_no_exact_one() -> None:
    exact, loose = outcome("exact", 0.5, 20, 5), outcome("loose", 0.9, 10, 0, exact=False)
    assert front([exact, loose]) == {"exact", "loose"}
    assert front([outcome("better", 0.95, 5, 0), loose]) == {"better"}


values = st.integers(0, 3)


@settings(deadline=None)
@given(st.lists(st.tuples(values, values, values, st.booleans()), min_size=1, max_size=6))
def test_the_front_against_the_definition(rows: list[tuple[int, int, int, bool]]) -> None:
    """Whoever is out has someone to blame; whoever is in has nobody. The order does not matter."""
    found = [outcome(str(i), a / 4, s, d, e) for i, (a, s, d, e) in enumerate(rows)]

    def blamed(mine: tuple[int, int, int, bool]) -> bool:
        return any(
            a >= mine[0] and s <= mine[1] and d <= mine[2] and (a, s, d) != mine[:3] and (e or not mine[3])
            for a, s, d, e in rows
        )

    expected = {str(i) for i, row in enumerate(rows) if not blamed(row)}
    assert expected == front(found)
    assert expected == front(found[::-1])


def test_outcomes_of_a_summary_by_hand() -> None:
    summary = summary_of(several_seeds=True)
    summary["strategies"]["average"]["above_prior"] = {"difference": 0.1, "low": -0.02, "high": 0.2}
    found = {each.label: each for each in outcomes_of(Summary.model_validate(summary), "quick/")}
    assert list(found) == [f"quick/{label}" for label in STRATEGIES]
    average = found["quick/average"]
    assert (average.strategy, average.exact, average.accuracy, average.storage) == ("average", True, 0.262, 6_300_000)
    assert (average.learn, average.per_deletion, average.above, average.equal) == (800, 400 / 20, -0.02, True)
    assert average.bounds == (0.262 - 0.0123, 0.262 + 0.0123)
    assert average.retraining == 400 / (20 * sum(40 - k for k in range(1, 21)))
    assert found["quick/clamu_clusters"].exact is False
    none = outcomes_of(Summary.model_validate(summary_of() | {"requests": 0, "retrain": []}))[0]
    assert (none.per_deletion, none.retraining, none.bounds, none.above) == (None, None, None, None)
