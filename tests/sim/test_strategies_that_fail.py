"""A strategy whose numbers are not finite fails alone: it is named, and the others come to what they would without it."""

import json
from pathlib import Path
from typing import Any

import pytest
from test_run import records_of, summary_of
from test_unlearning import POOL, SECTIONS
from tiny_scenario import tiny
from typer.testing import CliRunner

from sim.cli import app
from sim.life import asking
from sim.life.summary import read_rows
from sim.proof.verify import verify
from sim.report.summary import read_summary
from sim.run import forget, resume, run_scenario
from sim.scenario.model import Scenario

SOUND: list[Any] = ["zero_shot", {"task_arithmetic": {"scale": [0.5, 1e36]}}, {"central": {"label": "retrained", **POOL}}]
SERVED = {"task_arithmetic": {"label": "overflowing", "scale": 3e38}}
EDITED = {"gradient_ascent": {"label": "climbing", **POOL, "edit_steps": 2, "edit_rate": 1e38}}
BROKEN = ["overflowing", "climbing"]


def scenario(strategies: list[Any], audit: list[str]) -> Scenario:
    return tiny(**SECTIONS | {"strategies": strategies, "audit": audit})


@pytest.fixture(scope="module")
def runs(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One with strategies that fail, one without them."""
    folder = tmp_path_factory.mktemp("not_finite")
    return (
        run_scenario(scenario([*SOUND, SERVED, EDITED], ["gap", "bitwise"]), folder / "both"),
        run_scenario(scenario(SOUND, ["gap", "bitwise"]), folder / "sound"),
    )


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_the_others_come_to_what_they_would_without_it(runs: tuple[Path, Path]) -> None:
    both, sound = map(summary_of, runs)
    for label, expected in sound["strategies"].items():
        found = both["strategies"][label]
        for key in ("accuracy", "state_digest", "bitwise_equal", "chosen", "gradient_steps", "storage_bytes", "failed"):
            assert found[key] == expected[key]
        assert found["failed"] is None
        assert found["bitwise_equal"]
        assert both["unlearning"][label] == sound["unlearning"][label]
        assert read_rows(runs[0], strategy=label) == read_rows(runs[1], strategy=label)
    assert both["strategies"]["task_arithmetic"]["chosen"] == [{"lambda": 0.5}]  # 1e36 is not finite, so it loses


def test_who_failed_has_no_figures_and_is_named(runs: tuple[Path, Path]) -> None:
    summary, rows = summary_of(runs[0]), read_rows(runs[0])
    results = summary["strategies"]
    assert "the score of what it serves is not finite, for digits-2, " in results["overflowing"]["failed"]
    assert set(results["overflowing"]["accuracy"].values()) == {None}
    assert results["overflowing"]["bitwise_equal"]
    assert "train for " in results["climbing"]["failed"]
    assert "pooled training did not stay finite" in results["climbing"]["failed"]
    accuracy = results["climbing"]["accuracy"]  # only the edit went wrong
    assert accuracy["held_in_before"] is not None
    assert {accuracy[key] for key in ("held_in_after", "held_out_after", "forgotten_after")} == {None}
    for label in BROKEN:
        values = {(row["events"], row["value"] is None) for row in rows if row["strategy"] == label}
        assert values == {(0, label == "overflowing"), (2, True)}
        assert set(summary["unlearning"][label].values()) == {None}
    told = [(record["strategy"], record["reason"]) for record in records_of(runs[0], "not_finite")]
    assert [label for label, _ in told] == ["overflowing", "climbing", "overflowing", "overflowing"]  # scores twice, the gap
    told_of = [line.partition(" failed: ")[0] for line in read_summary(runs[0]).notes if " failed: " in line]
    assert told_of == BROKEN


def test_nothing_of_a_failed_strategy_stays(runs: tuple[Path, Path]) -> None:
    """Its model was half made, and may hold something of the forgotten."""
    folder = runs[0] / "state" / "7" / "strategies" / "climbing"
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["chosen.json"]
    assert json.loads((folder / "chosen.json").read_text()) == {"failed": True}
    findings, traces = verify(runs[0])
    assert traces == []
    assert [f.label for f in findings if f.exactness == "exact" and not f.equal] == []


def test_it_is_tried_again_at_the_next_release(runs: tuple[Path, Path]) -> None:
    """The edited model is trained again of those who are left, so it serves them; what it failed at is still told."""
    client = next(iter(json.loads((runs[0] / "state" / "7" / "kept-nothing" / "members.json").read_text())))
    forget(runs[0], client)
    climbing = summary_of(runs[0])["strategies"]["climbing"]
    assert climbing["accuracy"]["held_in_after"] is not None
    assert "pooled training did not stay finite" in climbing["failed"]
    result = CliRunner().invoke(app, ["run", "--resume", str(runs[0])])
    assert result.exit_code != 0
    assert str(result.exception) == f"{runs[0]}: overflowing, climbing failed; what the others came to was written"


def test_it_stays_failed_when_a_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the release that failed and its evaluation."""
    from sim.life import evaluation

    run, evaluate = tmp_path / "run", evaluation.evaluate

    def killed(system: Any, record: Any, *rest: Any) -> Any:
        if record["events"]:
            raise KeyboardInterrupt
        return evaluate(system, record, *rest)

    monkeypatch.setattr(evaluation, "evaluate", killed)
    with pytest.raises(KeyboardInterrupt):
        run_scenario(scenario(["zero_shot", EDITED], []), run)
    monkeypatch.setattr(evaluation, "evaluate", evaluate)
    resume(run)
    climbing = summary_of(run)["strategies"]["climbing"]
    assert climbing["accuracy"]["held_in_after"] is None
    assert "pooled training did not stay finite" in climbing["failed"]


def test_other_errors_still_end_a_run() -> None:
    from clients.errors import NotFiniteError, WorkError
    from clients.jobs import assign_job

    job = assign_job([f"u{i}" for i in range(7)], 2)
    found = asking._failure(job, "NotFiniteError: client u1: the loss")
    assert type(found) is NotFiniteError
    assert str(found) == "assign for u0, u1, u2, u3, u4 and 2 more failed: client u1: the loss"
    found = asking._failure(job, "InputError: no data: NotFiniteError")
    assert type(found) is WorkError
