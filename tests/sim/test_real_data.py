"""The main job on real data and a real pretrained model, where the checkout has them beside it."""

from pathlib import Path

import pytest
from test_run import summary_of

from sim.proof.verify import verify
from sim.run import run_scenario
from sim.scenario.file import load_scenario


def test_tofu_with_a_pretrained_llama(tofu_folder: Path, stories_folder: Path, tmp_path: Path) -> None:
    overrides = [
        f"data.source={tofu_folder}",
        f"model.base={stories_folder}",
        "data.clients=4",
        "data.pairs=2",
        "tuning.steps=15",
        "stream={requests: 2, release: {every: 2}}",
        "strategies=[zero_shot, local, average, sift_masks, {clamu: {clusters: clients, steps: 3}}]",
        "workers={kind: inline}",
        "report.html=false",
        "audit=[]",  # verify does the same again
    ]
    run = run_scenario(load_scenario("tofu", overrides), tmp_path / "run")
    told = summary_of(run)["strategies"]
    accuracy = {label: strategy["accuracy"] for label, strategy in told.items()}
    assert accuracy["local"]["held_in_before"] > 5 * accuracy["zero_shot"]["held_in_before"]
    assert accuracy["sift_masks"]["held_in_before"] > accuracy["average"]["held_in_before"]
    assert accuracy["local"]["forgotten_after"] == accuracy["zero_shot"]["forgotten_after"]
    findings, traces = verify(run)
    assert [finding.equal for finding in findings] == [True] * 5
    assert traces == []


@pytest.mark.slow
def test_tofu_at_its_default_size(tofu_folder: Path, tmp_path: Path) -> None:
    run = run_scenario(load_scenario("tofu", [f"data.source={tofu_folder}"]), tmp_path / "run")
    told = summary_of(run)
    assert told["clients"] == 200
    assert all(strategy["bitwise_equal"] for strategy in told["strategies"].values())
