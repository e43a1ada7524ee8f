"""Comparing strategies: shared tunings, full prices, and a ranking with the recovered share."""

import io
import json
from pathlib import Path

import pytest
from noting import noted_run
from rich.console import Console
from test_run import summary_of
from tiny_scenario import tiny

from clients.errors import InputError
from sim.report.outcome import recovered
from sim.report.summary import Summary
from sim.run import run_scenario
from sim.study.compare import ranked, shares, table, with_strategies

NAMES = ["average", "ties", "emr", "sift_masks", "mask_only", "clamu"]
RULES = {"plain": 8 + 4, "sign_fixed": 8 + 4}  # everybody when learning, and four to derive


def labels_of(names: list[str]) -> list[str]:
    return [spec.label for spec in with_strategies(tiny(), names).strategies]


def test_names_are_labels_of_the_scenario_or_strategies_of_the_registry() -> None:
    """The scenario's own entries keep their parameters; a strategy that it does not have comes with its defaults."""
    made = with_strategies(tiny(), ["ties", "half", "clamu", "average", "zero_shot", "local"])
    parameters = {spec.label: spec.parameters.model_dump() for spec in made.strategies}
    assert list(parameters) == ["ties", "half", "clamu", "average", "zero_shot", "local"]
    assert [spec.strategy for spec in made.strategies][:2] == ["ties", "sift_masks"]
    assert parameters["half"]["keep"] == 0.5
    assert (parameters["clamu"]["clusters"], parameters["clamu"]["steps"]) == (3, 2)
    assert parameters["average"]["alpha"] == (0.5, 1.0)
    assert parameters["ties"]["keep"] == 0.2
    assert made.model_dump(exclude={"strategies", "name"}) == tiny().model_dump(exclude={"strategies", "name"})
    assert made.name == "tiny-compare"


def test_both_ends_are_put_in_where_they_lack() -> None:
    assert labels_of(["tall"]) == ["zero_shot", "local", "tall"]
    assert labels_of(["local", "tall"]) == ["zero_shot", "local", "tall"]
    lower = {"zero_shot": {"label": "lower"}}
    upper = {"local": {"label": "upper", "tuning": "sign_fixed"}}
    own = with_strategies(tiny(strategies=[lower, upper, "average"]), ["upper", "tall", "lower"])
    assert [spec.label for spec in own.strategies] == ["upper", "tall", "lower"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["averaeg"], "--strategies averaeg: neither a label of the scenario nor a strategy; did you mean 'average'?"),
        (["ties", "ties"], "--strategies ties,ties: strategies: ties is there twice; give each its own label"),
        ([""], "--strategies : neither a label of the scenario nor a strategy; there are zero_shot, local, average,"),
    ],
)
def test_bad_names_are_told(names: list[str], message: str) -> None:
    with pytest.raises(InputError) as told:
        with_strategies(tiny(), names)
    assert str(told.value).startswith(message)


@pytest.mark.parametrize(
    ("value", "zero", "local", "share"),
    [(0.6, 0.2, 0.7, 0.8), (0.2, 0.2, 0.7, 0.0), (0.1, 0.2, 0.7, -0.2), (0.8, 0.2, 0.7, 1.2), (None, 0.2, 0.7, None),
     (0.5, 0.3, 0.3, None), (0.5, None, 0.3, None), (0.5, 0.3, None, None)],
)  # fmt: skip
def test_the_recovered_share(value: float | None, zero: float | None, local: float | None, share: float | None) -> None:
    assert recovered(value, zero, local) == (None if share is None else pytest.approx(share))


@pytest.fixture(scope="module")
def compared(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A finished comparison, not to be changed, and the rules of all tunings in it."""
    run, noted = noted_run(with_strategies(tiny(audit=[]), NAMES), tmp_path_factory.mktemp("compared") / "run")
    return run, [job.facts["rule"] for job, _ in noted if job.kind == "tune" for _ in job.clients]


def test_each_client_is_tuned_once_per_rule_however_many_are_compared(compared: tuple[Path, list[str]]) -> None:
    run, tuned = compared
    assert list(summary_of(run)["strategies"]) == ["zero_shot", "local", *NAMES]
    assert {rule: tuned.count(rule) for rule in set(tuned)} == RULES


def test_prices_and_accuracies_are_those_of_single_runs(compared: tuple[Path, list[str]], tmp_path: Path) -> None:
    together = summary_of(compared[0])["strategies"]
    exact = (
        "accuracy",
        "gradient_steps",
        "parallel_steps",
        "evaluations",
        "client_tunings",
        "storage_bytes",
        "state_digest",
    )
    for name in ("average", "emr", "sift_masks", "clamu"):
        specs = [spec.model_dump() for spec in with_strategies(tiny(), NAMES).strategies if spec.label == name]
        alone = summary_of(run_scenario(tiny(strategies=specs, audit=[]), tmp_path / name))["strategies"][name]
        assert {key: alone[key] for key in exact} == {key: together[name][key] for key in exact}
        # bytes hold JSON facts with seconds and losses, whose digits differ
        assert alone["bytes_up"] == pytest.approx(together[name]["bytes_up"], abs=500)


def test_the_table_is_sorted_and_tells_shares_and_prices(compared: tuple[Path, list[str]]) -> None:
    content = json.loads((compared[0] / "summary.json").read_text())
    values = dict(zip(["zero_shot", "local", *NAMES], [0.2, 0.7, 0.3, None, 0.45, 0.8, 0.7, 0.1], strict=True))
    for label, value in values.items():
        content["strategies"][label]["accuracy"]["held_in_after"] = value
    summary = Summary.model_validate(content)
    order = ["sift_masks", "mask_only", "local", "emr", "average", "zero_shot", "clamu", "ties"]
    assert ranked(summary) == order  # local and mask_only are equal and free to forget; mask_only is smaller
    assert shares(summary)["emr"] == pytest.approx(0.5)
    for width in (80, 100):
        console = Console(width=width, file=io.StringIO(), color_system=None)
        console.print(table(content, width))
        assert isinstance(console.file, io.StringIO)
        lines = console.file.getvalue().splitlines()
        assert max(map(len, lines)) <= width
        cells = [line.split() for line in lines]
        assert [row[0] for row in cells if row and row[0] in values] == order
        (row,) = (row for row in cells if row and row[0] == "emr")
        shown = ["emr", "yes", "rebuild", "0.450", "50", "%"] + (["24", "/", "30"] if width == 80 else row[6:7])
        assert row[: len(shown)] == shown
        assert ("held-out" in console.file.getvalue()) == (width == 100)
