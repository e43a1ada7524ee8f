"""The papers' scenarios: each is read at both sizes, found by name, and claims what its own rows can decide."""

import sys
from pathlib import Path

import pytest
import yaml
from tiny_scenario import TINY, tiny

from clients.errors import InputError
from sim import cli
from sim.attacks.gap import NOTHING
from sim.life.system import read_json
from sim.scenario.claims import METRICS
from sim.scenario.file import load, load_scenario
from sim.study.claims import points
from sim.study.results import of_point
from sim.study.study import open_study
from sim.study.sweep import Point, points_of
from tests.benchmarks import papers
from tests.benchmarks.pages import with_tables
from tests.benchmarks.papers import flipped, numbers

PAPERS = Path(__file__).parents[2] / "scenarios" / "papers"
NAMES = sorted(path.stem for path in PAPERS.glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_a_papers_scenario_is_found_by_name_and_read_at_both_sizes(name: str) -> None:
    here = load(f"papers/{name}")
    scenario = here.scenario()
    assert scenario.name == name
    assert scenario.sweep
    assert scenario.claims
    assert all(claim.source and claim.published for claim in scenario.claims)
    assert all(points(claim, scenario.sweep) for claim in scenario.claims)
    assert 7 not in scenario.seeds  # settings are chosen on it
    assert len({point.name for point in points_of(here)}) == len(points_of(here))
    paper = load_scenario(f"papers/{name}", size="paper")
    assert paper.claims == scenario.claims
    assert paper.digest() != scenario.digest()


def test_every_table_and_figure_has_a_scenario() -> None:
    figures = {f"clamu_figure{number}" for number in (2, 3, 4, 5)} | {f"clamu_table{number}" for number in range(1, 7)}
    sift = {f"sift_{what}" for what in ("tasks", "cost", "deletions", "relearning", "storage", "steps", "ties")}
    negmerge = {f"negmerge_{what}" for what in ("datasets", "stability", "sparsity", "time", "classifier")}
    assert figures | sift | negmerge <= set(NAMES)


def test_a_size_that_there_is_not_is_refused() -> None:
    with pytest.raises(InputError, match=r"--size big: .*none of that name; its sizes are paper"):
        load_scenario("papers/sift_ties", size="big")
    with pytest.raises(InputError, match="it has no sizes"):
        load_scenario("quickstart", size="paper")


def test_a_size_names_itself_where_its_keys_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text("sizes: {paper: {data.clents: 3}}\n")
    assert load_scenario(str(path)).data.clients == 40
    with pytest.raises(InputError, match=r"--size paper: data.clents: data.clents: unknown key; did you mean 'clients'"):
        load_scenario(str(path), size="paper")
    path.write_text("sizes: {paper: {data.clients: 3, tuning.steps: 9}}\n")
    found = load_scenario(str(path), ["data.clients=5"], "paper")
    assert (found.data.clients, found.tuning.steps) == (5, 9)  # --set wins


def test_claims_are_checked_when_a_scenario_is_read_and_decide_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    claims = "claims: [{says: so, order: {above: local, below: LABEL}}]\n"
    path.write_text("strategies: [local, average]\nsweep: {tuning.steps: [1, 2]}\n" + claims.replace("LABEL", "averge"))
    with pytest.raises(InputError, match=r"claims.0 \(so\): strategy 'averge' is not there; there are local, average"):
        load_scenario(str(path))
    path.write_text("strategies: [local, average]\nsweep: {tuning.steps: [1, 2]}\n" + claims.replace("LABEL", "average"))
    claiming = load_scenario(str(path))
    assert claiming.digest() == load_scenario(str(path), ["claims=[]"]).digest()
    assert all(not point.scenario.claims and not point.scenario.sizes for point in points_of(load(str(path))))


def test_the_metrics_of_claims_are_columns_of_results(finished: Path) -> None:
    """Those of the gap too; accuracy and costs are told by every run."""
    summary = read_json(finished / "summary.json")
    gap = dict.fromkeys((*NOTHING, "gap"), 0.5)
    rows = of_point(Point("one", {}, 7, tiny()), summary | {"unlearning": {"average": gap}})
    (row,) = (row for row in rows if row["label"] == "average")
    assert set(METRICS) <= set(row)
    costs = ("accuracy.", "unlearning.", "gradient_steps.", "parallel_steps.", "evaluations.", "seconds.")
    unclaimed = {key for key in row if key.startswith(costs)} - set(METRICS)
    assert not unclaimed
    assert "chosen.alpha" in row


def test_a_flipped_verdict_is_told() -> None:
    before = {"one": [{"claim": "so", "holds": True, "why": "1"}, {"claim": "else", "holds": False, "why": "2"}]}
    assert list(flipped(before, before)) == []
    now = {"one": [{"claim": "so", "holds": None, "why": "3"}, {"claim": "new", "holds": True, "why": "4"}]}
    assert list(flipped(before, now)) == [
        "one: so holds → not measured: 3",
        "one: else is gone",
        "one: new is new",
    ]


def test_a_verdict_that_seconds_decide_is_told_apart() -> None:
    before = {
        "one": [{"claim": "fast", "holds": True, "why": "1", "timed": True}, {"claim": "so", "holds": True, "why": "2"}]
    }
    now = {
        "one": [{"claim": "fast", "holds": False, "why": "3", "timed": True}, {"claim": "so", "holds": False, "why": "4"}]
    }
    assert list(flipped(before, now)) == ["one: so holds → does not hold: 4"]
    assert list(flipped(before, now, timed=True)) == ["one: fast holds → does not hold: 3"]
    timed = {name: [claim.timed for claim in papers.claims_of(name)] for name in NAMES}
    assert {name for name in NAMES if any(timed[name])} == {"negmerge_time"}
    assert all(timed["negmerge_time"])


def test_tables_take_their_places_on_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("words\n<!-- one -->\nold\n<!-- end -->\nmore\n<!-- two -->\n<!-- end -->\n")
    made = with_tables(page, {"one": "| a |", "two": "| b |"})
    assert made == "words\n<!-- one -->\n| a |\n<!-- end -->\nmore\n<!-- two -->\n| b |\n<!-- end -->\n"
    page.write_text(made)
    assert with_tables(page, {"one": "| a |"}) == made
    with pytest.raises(SystemExit, match="no place <!-- three -->"):
        with_tables(page, {"three": ""})


def test_numbers_are_means_over_seeds_with_their_spread() -> None:
    study = {"axes": {"clients": [2, 50], "steps": [20]}, "strategies": ["a", "b"]}
    rows = [
        {"label": label, "seed": seed, "clients": clients, "steps": 20, "accuracy.held_in_after": value}
        for label, clients, seed, value in [("a", 2, 1, 0.5), ("a", 2, 2, 0.7), ("a", 50, 1, 0.25), ("b", 2, 1, None)]
    ]
    assert numbers(study, rows, {}).splitlines() == [
        "| clients | 2 | 50 |",
        "|---|---|---|",
        "| `a` | 0.600 ± 0.141 | 0.250 |",
        "| `b` | – | – |",
    ]
    one = {"axes": {"steps": [20]}, "strategies": ["a"]}
    assert numbers(one, [rows[0] | {"told.merge_seconds": 2.0}], {"told.merge_seconds": "seconds"}).splitlines() == [
        "| strategy | members | seconds |",
        "|---|---|---|",
        "| `a` | 0.500 | 2.000 |",
    ]


def test_a_study_tells_what_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = TINY | {"strategies": ["zero_shot", "local"], "stream": {"requests": 0}, "sweep": {"tuning.steps": [1, 2]}}
    claims = [
        {"says": "A tuned model stores more.", "metric": "storage_bytes", "order": {"above": "local", "below": "zero_shot"}},
        {"says": "Nothing is stored.", "metric": "storage_bytes", "ratio": {"of": "local", "within": [0, 0]}},
    ]
    sizes = {"sizes": {"small": {"sweep": {"tuning.steps": [1]}, "data.clients": 4}}}
    path = tmp_path / "few.yaml"
    path.write_text(yaml.safe_dump(few | sizes | {"claims": claims}))
    out = tmp_path / "study"
    monkeypatch.setattr(sys, "argv", ["unmerge", "run", str(path), "--size", "small", "--out", str(out)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert "holds: A tuned model stores more. local " in told
    assert "does not hold: Nothing is stored. local " in told
    study = read_json(out / "study.json")
    assert study["axes"] == {"tuning.steps": [1]}
    assert [(each["claim"], each["holds"]) for each in study["verdicts"]] == [
        ("A tuned model stores more.", True),
        ("Nothing is stored.", False),
    ]
    assert study["verdicts"][0]["why"].endswith(" against zero_shot 0")
    monkeypatch.setattr(papers, "names", lambda: ["study", "not played"])
    monkeypatch.setattr(papers, "claims_of", lambda name: open_study(tmp_path / name).scenario.claims)
    assert papers.found(tmp_path) == {"study": study["verdicts"]}
    (out / "results.parquet").unlink()
    assert papers.found(tmp_path) == {}
