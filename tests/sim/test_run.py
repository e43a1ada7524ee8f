"""The main job on a tiny model: what a run folder says, and that deletion is exact."""

import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tiny_scenario import TINY, tiny

from clients.errors import InputError
from clients.exact import bits
from clients.exact.exact_sum import ExactSum
from clients.work.rules import rule_of
from clients.work.site import Site, open_site
from clients.work.tuning import tune
from sim.life import ledger
from sim.life.summary import read_rows
from sim.run import forget as forget_in
from sim.run import run_scenario
from sim.scenario.file import load_scenario
from strategies.state.kept import chooses
from strategies.state.store import called

LABELS = ["zero_shot", "local", "average", "sift_masks", "counts", "half", "mask_only", "clamu", "clamu_vectors",
          "clamu_random", "clamu_signs"]  # fmt: skip
STEPS, MASK_STEPS = 3, 2
WHO = ("aaa", "ann", "bob", "cid", "dee")
"""The first, of as many rows as the others, is public."""


def summary_of(run: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return told


def records_of(run: Path, event: str) -> list[dict[str, Any]]:
    return [record for record in ledger.read(run / "ledger.jsonl") if record["event"] == event]


def test_every_strategy_is_exact_and_bitwise_equal_to_a_rebuild(finished: Path) -> None:
    told = summary_of(finished)
    assert list(told["strategies"]) == LABELS
    for strategy in told["strategies"].values():
        assert (strategy["exactness"], strategy["bitwise_equal"]) == ("exact", True)
        assert strategy["state_digest"] == strategy["rebuilt_digest"]
    assert len({strategy["state_digest"] for strategy in told["strategies"].values()}) == len(LABELS)


def test_the_saved_sum_is_the_sum_of_the_retained_clients_tuned_here(finished: Path) -> None:
    """An independent rebuild: every retained client is tuned in this test and added in plain integers."""
    site: Site = open_site(load_scenario(str(finished / "scenario.yaml")).settings(7))
    forgotten = {record["client"] for record in records_of(finished, "request")}
    bits_ = math.ceil(14 - math.log2(site.settings.tuning.lr))
    for kind in ("plain", "sign_fixed"):
        expected = np.zeros(site.model.layout.size, dtype=np.int64)
        signs = bits.sign_vector(7, expected.size) if kind == "sign_fixed" else None
        for shard in site.shards():
            if shard.client not in forgotten:
                tau = tune(site.model, shard, kind, site.settings.tuning, 7, signs).vector
                expected += np.rint(tau.astype(np.float64) * 2.0**bits_).astype(np.int64)
        saved = ExactSum.load(finished / "state" / "7" / f"kept-{kind}" / "sum.safetensors", rule_of(kind).grid(site))
        assert saved.total.dtype == np.int32
        assert saved.count == 4
        np.testing.assert_array_equal(saved.total, expected)


def test_masks_are_one_bit_per_parameter_of_current_clients_only(finished: Path) -> None:
    folder = finished / "state" / "7" / "kept-sign_fixed"
    size = summary_of(finished)["parameters"]["tunable"]
    members = json.loads((folder / "members.json").read_text())
    for keep in ("0.5", "1"):
        files = {path.stem: path.stat().st_size for path in (folder / "clients" / f"masks-{keep}").iterdir()}
        assert files == dict.fromkeys(map(called, members), (size + 7) // 8)
    site = open_site(tiny().settings(7))
    client = sorted(members)[0]
    tau = tune(site.model, site.shard(client), "sign_fixed", site.settings.tuning, 7, bits.sign_vector(7, size)).vector
    saved = np.frombuffer((folder / "clients" / "masks-1" / f"{called(client)}.bits").read_bytes(), dtype=np.uint8)
    np.testing.assert_array_equal(bits.unpack(saved, size), tau != 0)


def test_nothing_of_the_forgotten_is_left_in_the_state(finished: Path) -> None:
    forgotten = {record["client"] for record in records_of(finished, "request")}
    assert len(forgotten) == 4
    state = finished / "state" / "7"
    assert not [path for path in state.rglob("*") if path.stem in {*forgotten, *map(called, forgotten)}]
    for path in state.rglob("*.json"):
        if path.name not in ("progress.json", "population.json"):
            assert not [client for client in forgotten if f'"{client}"' in path.read_text()], path
    public = json.loads((state / "population.json").read_text())  # all names, but no examples of the forgotten
    assert set(public["clients"]) == {f"u{i}" for i in range(8)}
    assert set(public["examples"]) == set(public["clients"]) - forgotten


def test_costs_follow_from_the_deletion_rule(finished: Path) -> None:
    """8 clients, 4 deletions in 2 releases of 2, 3 steps a tuning; masks: 2 steps over 8, then 6, then 4 clients."""
    strategies = summary_of(finished)["strategies"]
    relearned = MASK_STEPS * (6 + 4)
    expected = {
        "zero_shot": (0, 0, 0),
        "local": (8 * STEPS, 0, 8),
        "average": (8 * STEPS, 4 * STEPS, 12),
        "sift_masks": (8 * STEPS, 4 * STEPS, 12),
        "mask_only": (8 * STEPS, 0, 8),
        "clamu": (8 * STEPS + 8 * MASK_STEPS, 4 * STEPS + relearned, 12),
        "clamu_signs": (8 * STEPS + 8 * MASK_STEPS, 4 * STEPS + relearned, 12),
    }
    for label, (learn, forget, tunings) in expected.items():
        found = strategies[label]
        steps = {"learn": learn, "forget": forget, "join": 0}
        assert (found["gradient_steps"], found["client_tunings"]) == (steps, tunings), label
    assert strategies["average"]["parallel_steps"] == {"learn": STEPS, "forget": 2 * STEPS, "join": 0}
    assert strategies["clamu"]["parallel_steps"]["forget"] == 2 * (STEPS + MASK_STEPS)
    gone = [record["client"] for record in records_of(finished, "request")]
    asked = [sum(chooses(f"u{n}", 7) for n in range(8) if f"u{n}" not in gone[:left]) for left in (0, 2, 4)]
    assert strategies["sift_masks"]["evaluations"] == {"learn": asked[0] * 5, "forget": (asked[1] + asked[2]) * 5, "join": 0}


def test_bytes_are_of_what_each_strategy_wants(finished: Path) -> None:
    """8 clients in cohorts of 3, 3 and 2; facts as JSON are under 1 kB a client."""
    size = summary_of(finished)["parameters"]["tunable"]
    (learned,) = records_of(finished, "learned")
    up = {label: facts["bytes_up"] for label, facts in learned["strategies"].items()}
    mask = (size + 7) // 8
    expected = {"local": 8 * 4 * size, "average": 3 * 4 * size, "sift_masks": 3 * 4 * size + 8 * mask, "mask_only": 8 * mask}
    for label, exact in expected.items():
        assert exact <= up[label] < exact + 8 * 1000, label
    assert up["zero_shot"] == 0


def test_the_retrain_line_retrains_all_retained_at_each_release(finished: Path) -> None:
    assert summary_of(finished)["retrain"] == [
        {"deleted": 0, "gradient_steps": 0},
        {"deleted": 2, "gradient_steps": 6 * STEPS},
        {"deleted": 4, "gradient_steps": (6 + 4) * STEPS},
    ]


def test_accuracies_are_means_of_the_rows_in_metrics_parquet(finished: Path) -> None:
    told = summary_of(finished)
    values: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    forgotten = {record["client"] for record in records_of(finished, "request")}
    for row in pq.read_table(finished / "metrics.parquet").to_pylist():
        assert (row["seed"], row["tasks"], row["metric"]) == (7, 8, "answer_probability")
        assert row["events"] == row["deleted"]  # nobody joins later
        values[row["strategy"], row["deleted"], row["split"]].append(row["value"])
        if row["deleted"] == 0:
            values[row["strategy"], 0, "leaving" if row["client"] in forgotten else "staying"].append(row["value"])
    for label in LABELS:
        before, after = values[label, 0, "held_in"], values[label, 4, "held_in"]
        gone = values[label, 4, "forgotten"]
        assert (len(before), len(after), len(gone)) == (8, 4, 4)
        expected = {
            "held_in_before": before, "held_out_before": before, "held_in_after": after, "held_out_after": after + gone,
            "forgotten_before": values[label, 0, "leaving"], "forgotten_after": gone,
            "stayed_before": values[label, 0, "staying"],
        }  # fmt: skip
        for key, numbers in expected.items():
            assert told["strategies"][label]["accuracy"][key] == pytest.approx(math.fsum(numbers) / len(numbers), abs=1e-15)


def test_the_forgotten_get_the_maskless_merge(finished: Path) -> None:
    rows = pq.read_table(finished / "metrics.parquet").to_pylist()
    last = {
        (row["strategy"], row["client"]): row["value"] for row in rows if row["deleted"] == 4 and row["split"] == "forgotten"
    }
    clients = {client for _, client in last}
    for client in clients:
        assert last["local", client] == last["mask_only", client] == last["zero_shot", client]
        assert last["sift_masks", client] == last["half", client] == last["counts", client] == last["clamu_signs", client]
        assert last["clamu", client] == last["clamu_vectors", client]


def test_the_ledger_tells_joins_requests_and_deletions_with_their_costs(finished: Path) -> None:
    joins, requests, forgets = (records_of(finished, event) for event in ("join", "request", "forget"))
    assert len(joins) == 2 * 8
    assert len(forgets) == 2 * len(requests) == 8
    digests = {(record["rule"], record["client"]): record["digest"] for record in joins}
    size = summary_of(finished)["parameters"]["tunable"]
    for record in forgets:
        assert record["matched"] is True
        assert record["derived_digest"] == record["expected_digest"] == digests[record["rule"], record["client"]]
        assert (record["gradient_steps"], record["client_tunings"]) == (STEPS, 1)
        assert 4 * size < record["bytes_up"] < 4 * size + 1000
        assert 0 < record["bytes_down"] < 1000
    releases = records_of(finished, "release")
    assert [len(record["clients"]) for record in releases] == [2, 2]
    final = releases[-1]["strategies"]
    for label, strategy in summary_of(finished)["strategies"].items():
        assert final[label]["state_digest"] == strategy["state_digest"]
        assert final[label]["bytes_kept"] == strategy["storage_bytes"]
    assert summary_of(finished)["ledger"]["head"] == list(ledger.read(finished / "ledger.jsonl"))[-1]["hash"]


def test_the_summary_tells_the_numbers_that_were_chosen(finished: Path) -> None:
    told = summary_of(finished)["strategies"]
    for label in ("average", "half"):
        kept = json.loads((finished / "state" / "7" / "strategies" / label / "chosen.json").read_text())
        assert told[label]["chosen"] == [kept] == [{"alpha": kept["alpha"]}]
    assert told["clamu"]["chosen"] == told["local"]["chosen"] == [{}]  # clusters are no number


def test_the_same_scenario_gives_the_same_digests_whatever_the_cohort(finished: Path, tmp_path: Path) -> None:
    again = run_scenario(tiny(workers={"kind": "inline", "cohort": 8}, audit=[]), tmp_path / "again")
    one, two = summary_of(finished)["strategies"], summary_of(again)["strategies"]
    assert {k: v["state_digest"] for k, v in one.items()} == {k: v["state_digest"] for k, v in two.items()}
    assert {k: v["accuracy"] for k, v in one.items()} == {k: v["accuracy"] for k, v in two.items()}
    assert all(strategy["bitwise_equal"] is None for strategy in two.values())


def test_several_seeds_are_averaged(tmp_path: Path) -> None:
    parts = {}
    small = {"strategies": ["local", "average"], "stream": {"requests": 2}}
    for name, seeds in (("a", [1]), ("b", [2]), ("ab", [1, 2])):
        parts[name] = summary_of(run_scenario(tiny(**small, seeds=seeds), tmp_path / name))
    both = parts["ab"]["strategies"]["average"]
    one, two = (parts[name]["strategies"]["average"] for name in "ab")
    for key, value in both["accuracy"].items():
        if value is None:  # everybody has joined, or in one seed nobody is of the other half
            assert None in (one["accuracy"][key], two["accuracy"][key])
            continue
        assert value == pytest.approx((one["accuracy"][key] + two["accuracy"][key]) / 2, abs=1e-15)
        spread = abs(one["accuracy"][key] - two["accuracy"][key]) / math.sqrt(2)
        assert parts["ab"]["spread"]["average"][key] == pytest.approx(spread, abs=1e-12)
    assert both["bitwise_equal"] is True
    assert both["state_digest"] not in (one["state_digest"], two["state_digest"])


def test_the_other_half_is_told_where_settings_are_chosen_on_what_is_reported(finished: Path) -> None:
    """Memorised pairs are scored on what was trained."""
    told, rows = summary_of(finished), read_rows(finished)
    assert told["sides"] == {"reported": "train", "chosen_on": "train", "halved": True}
    last = max(row["events"] for row in rows)
    for label, strategy in told["strategies"].items():
        for name, events in (("before", 0), ("after", last)):
            mine = [
                row["value"]
                for row in rows
                if (row["strategy"], row["events"], row["split"]) == (label, events, "held_in")
                and not chooses(row["client"], 7)
            ]
            assert 0 < len(mine) < 8
            assert strategy["accuracy"][f"other_half_{name}"] == pytest.approx(sum(mine) / len(mine), abs=1e-15)


def test_who_has_no_example_to_report_is_in_no_mean(tmp_path: Path) -> None:
    """Nine different rows of ann, bob and dee each, and nine times the same of cid, which is trained on."""
    rows = [{"who": who, "text": f"{who} {0 if who == 'cid' else i}", "mood": "ab"[i % 2]} for who in WHO for i in range(9)]
    rows = [row | {"mood": "a"} if row["who"] == "cid" else row for row in rows]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"family": "table", "source": str(tmp_path / "t.jsonl"), "prompt": "{text}:{mood}", "client_column": "who"}
    data |= {"clients": 4, "public_clients": 1}
    run = run_scenario(tiny(data=data, strategies=["local", "average"], stream={"requests": 0}), tmp_path / "run")
    told = summary_of(run)
    assert "1 of 4 clients have no test examples and are in no mean of scores: cid." in told["data"]
    assert (told["clients"], told["gone"], told["sides"]["halved"]) == (4, 0, False)
    for label, strategy in told["strategies"].items():
        values = {row["client"]: row["value"] for row in read_rows(run) if row["strategy"] == label}
        assert values.pop("cid") is None
        assert strategy["accuracy"]["held_in_before"] == pytest.approx(sum(values.values()) / 3, abs=1e-15)
        assert strategy["accuracy"]["other_half_before"] is None


def test_everybody_may_be_forgotten(tmp_path: Path) -> None:
    stream = {"requests": 8, "release": {"every": 8}}
    told = summary_of(run_scenario(tiny(stream=stream), tmp_path / "run"))
    zero = told["strategies"]["zero_shot"]["accuracy"]["forgotten_after"]
    for strategy in told["strategies"].values():
        assert strategy["bitwise_equal"] is True
        assert strategy["accuracy"]["held_in_after"] is None
        assert strategy["accuracy"]["forgotten_after"] == zero


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(InputError, match="exists already; nothing there was touched"):
        run_scenario(tiny(), tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--out .*file/run: cannot be made \(Not a directory\)"):
        run_scenario(tiny(), tmp_path / "file" / "run")


def test_bad_data_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file or folder"):
        run_scenario(tiny(data={"family": "tofu", "source": "./nowhere"}), tmp_path / "run")
    with pytest.raises(InputError, match="there is no folder"):
        run_scenario(tiny(model=TINY["model"] | {"base": "./nowhere"}), tmp_path / "run")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="PyTorch finds no GPU here"):
            run_scenario(tiny(workers={"kind": "inline", "gpus": 1}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_clients_who_never_join(tmp_path: Path) -> None:
    """They leave no trace, nobody tunes them, and they are served what anybody gets: what the forgotten are served too."""
    strategies = ["zero_shot", "local", {"average": {"alpha": 0.7}}, "sift_masks"]
    run = run_scenario(
        tiny(strategies=strategies, stream={"join": 5, "unseen": 2, "requests": 1, "release": {"every": 1}}),
        tmp_path / "run",
    )
    rows = read_rows(run)
    summary = summary_of(run)
    joined = {r["client"] for r in ledger.read(run / "ledger.jsonl") if r["event"] == "join"}
    unseen = {row["client"] for row in rows if row["split"] == "unseen"}
    assert (len(joined), len(unseen), len({row["client"] for row in rows})) == (5, 2, 7)
    assert not joined & unseen
    assert (summary["clients"], summary["unseen"]) == (5, 2)
    assert {row["tasks"] for row in rows} == {5}
    files = " ".join(str(path) for path in run.rglob("*")) + " ".join(p.read_text() for p in run.rglob("members.json"))
    assert not [client for client in unseen if called(client) in files or f'"{client}"' in files]
    values = {(row["strategy"], row["client"]): row["value"] for row in rows if row["deleted"] == 0}
    for client in unseen:
        assert values["zero_shot", client] == values["local", client]
        assert values["zero_shot", client] != values["average", client]
    told = summary["strategies"]["average"]["accuracy"]
    assert told["unseen_before"] == pytest.approx(sum(values["average", client] for client in unseen) / 2, abs=1e-15)
    alone = run_scenario(
        tiny(strategies=strategies, stream={"join": 5, "requests": 1, "release": {"every": 1}}), tmp_path / "alone"
    )
    for label, strategy in summary_of(alone)["strategies"].items():
        assert strategy["state_digest"] == summary["strategies"][label]["state_digest"]
        assert strategy["accuracy"]["held_out_after"] == summary["strategies"][label]["accuracy"]["held_out_after"]


def test_the_retrain_line_counts_releases_after_the_last_evaluation(tmp_path: Path) -> None:
    """8 clients, 3 steps: after 2 of 4 requests it was evaluated last, and 6 + 4 were left; one more leaves 3."""
    stream = {"requests": 4, "evaluate_after": [2], "release": {"every": 2}}
    run = run_scenario(tiny(strategies=["zero_shot"], stream=stream), tmp_path / "run")
    assert summary_of(run)["retrain"][-1] == {"deleted": 2, "gradient_steps": 3 * 6}
    gone = {record["client"] for record in records_of(run, "request")}
    forget_in(run, next(f"u{i}" for i in range(8) if f"u{i}" not in gone))
    assert summary_of(run)["retrain"][-1] == {"deleted": 5, "gradient_steps": 3 * (6 + 4 + 3)}


def test_what_was_assumed_of_the_base_model_is_in_the_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clients.models.flat.BaseModel.notes", ("Its classes are in the data's order.",))
    run = run_scenario(tiny(strategies=["zero_shot"], stream={"requests": 0}, audit=[]), tmp_path / "run")
    assert summary_of(run)["data"][-1] == "Its classes are in the data's order."
