"""Merging methods in the simulator: exact after deletions, and rebuilding is paid for though nobody is tuned twice."""

import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny_scenario
from contract import life_of
from noting import noted_run
from test_run import records_of, summary_of
from tiny_scenario import MERGING, labels, tiny

from clients.errors import InputError
from clients.exact import digest
from clients.exact.grid import to_grid
from clients.work.site import open_site
from clients.work.tuning import tune
from sim.life.deletion import price_of_tuning_again
from sim.proof.verify import verify
from sim.run import forget, run_scenario
from sim.scenario.file import load_scenario
from strategies.rebuild import ties
from strategies.state.kept import chooses
from strategies.state.store import called
from strategies.strategy import MERGED

STEPS = 3
REBUILT, SUBTRACTED = labels(tiny_scenario.REBUILT), labels(tiny_scenario.SUBTRACTED)


@pytest.fixture(scope="module")
def merged(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A finished run, not to be changed, and who was tuned in it."""
    run, noted = noted_run(tiny(strategies=MERGING), tmp_path_factory.mktemp("merged") / "run")
    return run, [client for job, _ in noted if job.kind == "tune" for client in job.clients]


def stayed(run: Path) -> list[str]:
    gone = {record["client"] for record in records_of(run, "request")}
    return [f"u{i}" for i in range(8) if f"u{i}" not in gone]


def test_every_method_is_bitwise_equal_to_a_rebuild_and_forgets_all_files(merged: tuple[Path, list[str]]) -> None:
    run, _ = merged
    told = summary_of(run)["strategies"]
    assert list(told) == [*SUBTRACTED, *REBUILT]
    assert {label: s["deletion"] for label, s in told.items()} == dict.fromkeys(SUBTRACTED, "subtract") | dict.fromkeys(
        REBUILT, "rebuild"
    )
    assert all(strategy["bitwise_equal"] is True for strategy in told.values())
    findings, traces = verify(run)
    assert [finding.equal for finding in findings] == [True] * len(MERGING)
    assert traces == []
    vectors = run / "state" / "7" / "kept-plain" / "clients" / "vectors"
    assert sorted(path.stem for path in vectors.iterdir()) == sorted(map(called, stayed(run)))


def test_rebuilding_costs_the_tuning_of_all_who_stay(merged: tuple[Path, list[str]]) -> None:
    """8 clients, 4 deletions in 2 releases of 2: six are left after one, four after the other."""
    run, _ = merged
    told, size = summary_of(run)["strategies"], summary_of(run)["parameters"]["tunable"]
    for label in REBUILT:
        assert told[label]["gradient_steps"] == {"learn": 8 * STEPS, "forget": (6 + 4) * STEPS, "join": 0}
        assert told[label]["parallel_steps"] == {"learn": STEPS, "forget": 2 * STEPS, "join": 0}
        assert told[label]["client_tunings_forget"] == 6 + 4
    for label in SUBTRACTED:
        assert told[label]["gradient_steps"] == {"learn": 8 * STEPS, "forget": 4 * STEPS, "join": 0}
    out = [record["client"] for record in records_of(run, "request")]
    asked = [sum(chooses(f"u{n}", 7) for n in range(8) if f"u{n}" not in out[:left]) for left in (0, 2, 4)]
    assert told["tall"]["evaluations"] == {"learn": asked[0] * 4, "forget": (asked[1] + asked[2]) * 4, "join": 0}
    for label in ("ties", "emr"):  # they ask for no evaluations
        vectors = (8 + 6 + 4) * 4 * size
        assert vectors < told[label]["bytes_up"] < vectors + 18 * 1000
        gone: set[str] = set()
        seconds = {r["client"]: r["seconds"] for r in records_of(run, "join") if r["rule"] == "plain"}
        again = 0.0
        for release in records_of(run, "release"):
            gone |= set(release["clients"])
            again += math.fsum(spent for client, spent in seconds.items() if client not in gone)
        assert told[label]["seconds"]["forget"] == pytest.approx(again, abs=0.0015)


def test_nobody_is_tuned_again_but_the_forgotten(merged: tuple[Path, list[str]]) -> None:
    """Learning, deriving the forgotten, and the audit: the cache spares the rest."""
    run, tuned = merged
    rules, everybody = 2, [f"u{i}" for i in range(8)]
    gone = [client for client in everybody if client not in stayed(run)]
    assert sorted(tuned) == sorted(rules * (everybody + gone + stayed(run)))


def test_the_saved_merge_is_that_of_the_retained_clients_tuned_here(merged: tuple[Path, list[str]]) -> None:
    run, _ = merged
    site = open_site(load_scenario(str(run / "scenario.yaml")).settings(7))
    vectors = [tune(site.model, site.shard(client), "plain", site.settings.tuning, 7).vector for client in stayed(run)]
    system = life_of(run).system
    right = ties.merge([vector.__getitem__ for vector in vectors], vectors[0].size, 0.2)
    np.testing.assert_array_equal(system.strategies["ties"].vector(MERGED), right)
    kept = system.kept_of("ties")
    grid = kept.layout.grid
    assert [digest.of_integers(to_grid(v, grid)) for v in vectors] == [kept.members[c]["digest"] for c in stayed(run)]
    price = price_of_tuning_again(system, "ties")
    assert (price.gradient_steps, price.parallel_steps, price.client_tunings) == (4 * STEPS, STEPS, 4)
    assert price.seconds == pytest.approx(math.fsum(member["seconds"] for member in kept.members.values()))


def test_storage_is_charged_for_the_merge_and_masks_not_for_the_cache(merged: tuple[Path, list[str]]) -> None:
    run, _ = merged
    told, size = summary_of(run)["strategies"], summary_of(run)["parameters"]["tunable"]
    header, masks = 200, 4 * ((size + 7) // 8)
    for label in ("ties", "magmax", "breadcrumbs", "consensus"):
        assert 4 * size < told[label]["storage_bytes"] < 4 * size + header
    for label in ("tall", "emr"):
        assert 4 * size + masks < told[label]["storage_bytes"] < 4 * size + masks + header
    assert 4 * size < told["dare"]["storage_bytes"] < 4 * size + header


def test_the_forgotten_are_served_as_anybody(merged: tuple[Path, list[str]]) -> None:
    run, _ = merged
    rows = pq.read_table(run / "metrics.parquet").to_pylist()
    last = {(r["strategy"], r["client"]): r["value"] for r in rows if (r["deleted"], r["split"]) == (4, "forgotten")}
    system = life_of(run).system
    for client in {client for _, client in last}:
        assert last["average", client] == pytest.approx(last["tall", client], rel=1e-4)  # one mean, rounded differently
        for label, strategy in system.strategies.items():
            assert strategy.serve(system.kept_of(label), client) == strategy.serve(system.kept_of(label), "nobody")
            assert strategy.serve(system.kept_of(label), client).mask is None


def test_one_more_is_forgotten_later(merged: tuple[Path, list[str]], tmp_path: Path) -> None:
    other = run_scenario(tiny(strategies=MERGING, audit=[], stream={"requests": 0}), tmp_path / "other")
    for gone in ("u6", "u1"):
        costs = forget(other, gone)
    assert {costs[label].gradient_steps for label in REBUILT} == {6 * STEPS}
    assert {costs[label].client_tunings for label in SUBTRACTED} == {1}
    assert verify(other)[1] == []
    path = next((other / "state/7/kept-plain/clients/vectors").iterdir())
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{path.name}: damaged: not the vector that was merged"):
        verify(other)
    assert json.loads((other / "summary.json").read_text())["requests"] == 2


def test_everybody_may_leave_every_method(tmp_path: Path) -> None:
    stream = {"requests": 8, "release": {"every": 8}}
    told = summary_of(run_scenario(tiny(strategies=["zero_shot", *MERGING], stream=stream), tmp_path / "run"))
    zero = told["strategies"]["zero_shot"]["accuracy"]["forgotten_after"]
    for label, strategy in told["strategies"].items():
        assert strategy["bitwise_equal"] is True, label
        assert strategy["accuracy"]["forgotten_after"] == zero, label
    assert told["strategies"]["ties"]["gradient_steps"]["forget"] == 0  # nobody is left to tune
