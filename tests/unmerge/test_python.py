"""The Python API: the same as the commands, as objects, frames and modules."""

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unmerge

TINY: dict[str, Any] = {
    "name": "tiny",
    "data": {"source": "fiction", "clients": 5, "pairs": 2, "public_authors": 8},
    "model": {"max_length": 128, "tiny": {"layers": 1, "width": 16, "heads": 2, "vocabulary": 300, "steps": 3, "batch": 4}},
    "tuning": {"steps": 3, "lr": 0.03},
    "strategies": ["average", "local", {"sift_masks": {"label": "half", "keep": 0.5}}],
    "stream": {"requests": 1},
    "workers": {"kind": "inline"},
    "report": {"html": False},
}


@pytest.fixture(scope="module")
def run(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> unmerge.Run:
    """A finished run of two seeds."""
    return unmerge.run(TINY, {"seeds": [1, 2]}, out=tmp_path_factory.mktemp("python") / "run")


def test_a_scenario_in_every_form_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(json.dumps(TINY))  # which is YAML
    read = unmerge.load(tmp_path / "tiny.yaml", {"tuning.lr": 1e-05, "data.clients": 6})
    given = unmerge.load(TINY, {"tuning.lr": 1e-05, "data.clients": 6})
    assert read == given == unmerge.load(given)
    assert (given.tuning.lr, given.data.clients) == (1e-05, 6)
    assert unmerge.load("quickstart").name == "quickstart"
    assert unmerge.load(TINY | {"seeds": (3, 4)}).seeds == (3, 4)
    assert TINY["data"]["clients"] == 5


@pytest.mark.parametrize(
    ("scenario", "overrides", "message"),
    [
        (TINY | {"tunning": {}}, None, "the scenario: tunning: unknown key; did you mean 'tuning'?"),
        (TINY, {"data.clients": "many"}, "--set data.clients=many: data.clients: Input should be a valid integer"),
        (TINY | {"tuning": {"lr": np.float32(1)}}, None, "the scenario: holds what YAML has no word for"),
        ("nowhere", None, "there is no scenario file nowhere"),
    ],
)
def test_what_is_wrong_is_told(scenario: Any, overrides: Any, message: str) -> None:
    with pytest.raises(unmerge.InputError) as told:
        unmerge.load(scenario, overrides)
    assert str(told.value).startswith(message)
    assert "/tmp" not in str(told.value)


def test_frames_hold_what_the_folder_does(run: unmerge.Run) -> None:
    summary = json.loads((run.folder / "summary.json").read_text())
    assert run.summary == summary
    assert run.scenario.seeds == (1, 2)
    assert list(run.strategies.index) == ["average", "local", "half"]
    for label, told in summary["strategies"].items():
        assert run.strategies.loc[label, "accuracy.held_in_after"] == told["accuracy"]["held_in_after"]
        assert run.strategies.loc[label, "storage_bytes"] == told["storage_bytes"]
    metrics = run.metrics
    assert len(metrics) == 2 * 3 * 2 * 5  # seeds, strategies, evaluations, clients
    mine = metrics[(metrics.strategy == "local") & (metrics.events == 1) & (metrics.split == "held_in")]
    means = mine.groupby("seed").value.mean()
    assert means.mean() == pytest.approx(summary["strategies"]["local"]["accuracy"]["held_in_after"], abs=1e-12)
    lines = [json.loads(line) for line in (run.folder / "ledger.jsonl").read_text().splitlines()]
    assert list(run.ledger.index) == [line["n"] for line in lines]
    assert list(run.ledger.event) == [line["event"] for line in lines]
    costs = run.costs
    assert len(costs) == 2 * 3 * 3
    learned = costs[(costs.strategy == "average") & (costs.phase == "learn")]
    assert list(learned.gradient_steps) == [15, 15]  # 5 clients of 3 steps
    assert list(costs[(costs.strategy == "average") & (costs.phase == "forget")].gradient_steps) == [3, 3]


def test_a_served_module_scores_as_the_run_did(run: unmerge.Run) -> None:
    """Answer probability, by the library's own forward: e to the mean log-probability of an answer's tokens."""
    from clients.work.site import open_site

    site = open_site(run.scenario.settings(2))
    metrics = run.metrics
    mine = metrics[(metrics.seed == 2) & (metrics.events == 1) & (metrics.strategy == "half") & (metrics.split == "held_in")]
    for row in list(mine.itertuples())[:2]:
        module = run.served("half", row.client, seed=2)
        assert type(module).__name__ == "GPT2LMHeadModel"
        scores = []
        for each in site.model.encode(site.shard(row.client).side(site.manifest.sides.reported)):
            with torch.no_grad():
                told = module(input_ids=torch.tensor([each.ids])).logits[0].log_softmax(-1)
            places = range(len(each.ids) - each.answer, len(each.ids))
            scores.append(np.exp(np.mean([float(told[place - 1, each.ids[place]]) for place in places])))
        assert np.mean(scores) == pytest.approx(row.value, rel=1e-4)


def test_a_request_a_rebuild_and_an_export(run: unmerge.Run, tmp_path: Path) -> None:
    import shutil

    own = unmerge.Run(shutil.copytree(run.folder, tmp_path / "run"))
    held = own.metrics[(own.metrics.events == 1) & (own.metrics.split == "held_in")]
    client = sorted(set(held[held.seed == 1].client) & set(held[held.seed == 2].client))[0]
    costs = unmerge.forget(own, client)
    assert dict(costs.gradient_steps) == {"average": 6, "local": 0, "half": 6}  # both seeds
    with pytest.raises(unmerge.InputError, match="has been forgotten already"):
        unmerge.forget(own.folder, client)
    assert dict(unmerge.join(own, client).gradient_steps) == {"average": 6, "local": 6, "half": 6}
    found = unmerge.verify(own)
    assert list(found.columns) == ["seed", "label", "exactness", "state", "rebuilt", "equal"]
    assert found.equal.all()
    assert len(found) == 6
    assert unmerge.resume(own).summary["requests"] == 2
    with pytest.raises(unmerge.InputError, match=r"--strategy none: the run has average, local, half"):
        own.served("none")
    assert (own.export(tmp_path / "out", "average") / "model.safetensors").is_file()
    (state,) = (own.folder / "state/1/kept-plain").glob("sum.safetensors")
    state.unlink()
    with pytest.raises(unmerge.InputError):
        unmerge.verify(own)


def test_a_plan_and_a_simulation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    planned = unmerge.plan(TINY)
    assert planned["clients"] == 5
    assert planned["strategies"]["average"]["gradient_steps"] == {"learn": 15, "forget": 3}
    swept = unmerge.plan(TINY | {"sweep": {"clients": [2, 4]}, "strategies": ["average"], "audit": []})
    tuned = {point["clients"]: point["client_tunings"] for point in swept["points"]}
    assert tuned == {4: {"charged": 4, "done": 4}, 2: {"charged": 2, "done": 0}}  # the two are among the four
    told = unmerge.simulate(TINY, {"workers.count": [1, 2]})
    assert len(told["points"]) == 2
    assert list(tmp_path.iterdir()) == []  # nothing is written


def test_what_is_no_run_or_has_not_finished(tmp_path: Path, run: unmerge.Run) -> None:
    import shutil

    with pytest.raises(unmerge.InputError, match="not a run folder"):
        unmerge.Run(tmp_path)
    own = unmerge.Run(shutil.copytree(run.folder, tmp_path / "run"))
    (own.folder / "summary.json").unlink()
    assert repr(own).endswith(", not finished)")
    with pytest.raises(unmerge.InputError, match="has not finished"):
        own.served("average")
    assert len(own.metrics) == 60
    assert unmerge.resume(own).finished


def test_it_works_where_a_loop_is_running(tmp_path: Path) -> None:
    """As in a notebook."""

    async def cell() -> unmerge.Run:
        return unmerge.run(TINY, out=tmp_path / "run")

    assert asyncio.run(cell()).summary["strategies"]["average"]["bitwise_equal"]


def test_a_study_is_a_frame_of_its_points(tmp_path: Path) -> None:
    study = unmerge.scale(TINY, [2, 4], seeds=[3], strategies=["average", "local"], out=tmp_path / "study")
    assert study.summary["points"] == {"done": 2, "asked": 2}
    results = study.results
    assert sorted(zip(results.clients, results.label, strict=True)) == [
        (2, "average"), (2, "local"), (4, "average"), (4, "local"),
    ]  # fmt: skip
    learned = results[results.label == "average"].set_index("clients")["gradient_steps.learn"]
    assert dict(learned) == {2: 6, 4: 12}  # 3 steps a client
    point = study.points["clients=4,seed=3"]
    assert (
        point.strategies.loc["average", "state_digest"] == results.set_index(["clients", "label"]).state_digest[4, "average"]
    )
    assert unmerge.resume(study) is study
    swept = unmerge.sweep(TINY | {"sweep": {"tuning.steps": [1, 2]}, "strategies": ["average"]}, out=tmp_path / "sweep")
    assert dict(swept.results.set_index("tuning.steps")["gradient_steps.learn"]) == {1: 5, 2: 10}
    with pytest.raises(unmerge.InputError, match=r"unmerge\.sweep plays it"):
        unmerge.run(TINY | {"sweep": {"tuning.steps": [1, 2]}}, out=tmp_path / "none")
    with pytest.raises(unmerge.InputError, match="has no axes"):
        unmerge.sweep(TINY, out=tmp_path / "none")
    with pytest.raises(unmerge.InputError, match="not a study's folder"):
        unmerge.Study(tmp_path)
