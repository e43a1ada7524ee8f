"""Deletion when things go wrong: a vector that differs, a client that is gone, cohorts that fail."""

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from test_run import records_of, summary_of
from tiny_scenario import TINY, tiny

from clients.errors import WorkError
from clients.jobs import Job, Reply
from clients.settings import Settings
from clients.work.site import open_site
from sim.cli import main
from sim.life.summary import read_rows
from sim.run import Open, run_scenario
from sim.scenario.workers import Kind, WorkersSpec
from sim.workers import opening
from sim.workers.workers import InlineWorkers, Workers

Spoil = Callable[[Job, Reply], Reply]
SMALL: dict[str, Any] = {
    "strategies": ["local", "average", {"cluster_average": {"clusters": 2}}, "ties", "sift_masks"],
    "stream": {"requests": 2, "release": {"every": 2}},
}


class SpoiledWorkers(InlineWorkers):
    """Workers whose replies are spoiled on the way."""

    def __init__(self, settings: Settings, spoil: Spoil) -> None:
        super().__init__(open_site(settings))
        self.spoil = spoil

    def run(self, jobs: Iterable[Job], shared: Mapping[str, np.ndarray] = {}) -> Iterator[tuple[int, Reply]]:
        jobs = list(jobs)
        for index, reply in super().run(jobs, shared):
            yield index, self.spoil(jobs[index], reply)


def spoiling(spoil: Spoil) -> Open:
    """Opens workers whose replies are spoiled."""

    @contextmanager
    def opened(spec: WorkersSpec, kind: Kind, settings: Settings) -> Iterator[Workers]:
        yield SpoiledWorkers(settings, spoil)

    return opened


def run_spoiled(out: Path, spoil: Spoil, **sections: Any) -> Path:
    return run_scenario(tiny(**SMALL, **sections), out, spoiling(spoil))


@pytest.fixture(scope="module")
def honest(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_scenario(tiny(**SMALL), tmp_path_factory.mktemp("honest") / "run")


def leaving(honest: Path) -> list[str]:
    return [record["client"] for record in records_of(honest, "request")]


def is_deletion(job: Job, client: str, rule: str) -> bool:
    """A job that derives a leaving client again: alone, and for the sum only."""
    return job.kind == "tune" and job.clients == (client,) and job.facts == {"rule": rule, "wants": [["sum", None]]}


def digests(run: Path) -> dict[str, str]:
    return {label: strategy["state_digest"] for label, strategy in summary_of(run)["strategies"].items()}


@pytest.mark.parametrize("how", ["one bit", "gone"])
def test_a_vector_that_does_not_match_is_not_subtracted_but_all_is_rebuilt(honest: Path, tmp_path: Path, how: str) -> None:
    client = leaving(honest)[0]

    def spoil(job: Job, reply: Reply) -> Reply:
        if not is_deletion(job, client, "plain"):
            return reply
        if how == "gone":
            return Reply(job.clients, error="the client cannot be reached")
        total = reply.arrays["sum"].copy()
        total[0] ^= 1
        return replace(reply, arrays={"sum": total})

    run = run_spoiled(tmp_path / "run", spoil)
    assert digests(run) == digests(honest)
    assert all(strategy["bitwise_equal"] for strategy in summary_of(run)["strategies"].values())
    (rebuild,) = records_of(run, "rebuild")
    assert rebuild["rule"] == "plain"
    assert list(rebuild["because"]) == [client]
    assert ("cannot be reached" if how == "gone" else "different task vector") in rebuild["because"][client]
    assert {label: price["client_tunings"] for label, price in rebuild["strategies"].items()} == {
        "average": 6,
        "cluster_average": 6,
    }  # all who stay
    forgets = {(r["rule"], r["client"]): r for r in records_of(run, "forget")}
    assert forgets["plain", client]["matched"] is False
    assert forgets["sign_fixed", client]["matched"] is True
    told = {label: s["gradient_steps"]["forget"] for label, s in summary_of(run)["strategies"].items()}
    answered = 1 if how == "gone" else 2  # who never answered has cost nothing
    again = 3 * (answered + 6)
    assert told == {"local": 0, "average": again, "cluster_average": again, "ties": 3 * 6, "sift_masks": 3 * 2}


def test_where_examples_leave_and_all_is_rebuilt_own_files_cost_what_their_client_does(tmp_path: Path) -> None:
    """8 clients, 3 steps each. What is summed is derived, found different, and made again of all 8. A file of the client's
    own takes one derivation, as where nothing goes wrong: to the byte."""
    few: dict[str, Any] = {
        "strategies": ["local", "mask_only", "average"],
        "stream": {"requests": 1, "examples": 1, "rows": 1},
        "workers": {"kind": "inline", "cohort": 3},
    }
    honest = run_scenario(tiny(**few), tmp_path / "honest")
    client = leaving(honest)[0]

    def spoil(job: Job, reply: Reply) -> Reply:
        if not is_deletion(job, client, "plain"):
            return reply
        return replace(reply, arrays={"sum": reply.arrays["sum"] ^ 1})

    run = run_scenario(tiny(**few), tmp_path / "run", spoiling(spoil))
    assert digests(run) == digests(honest)
    assert [list(record["because"]) for record in records_of(run, "rebuild")] == [[client]]
    told, right = (
        {
            label: {key: value for key, value in price.items() if key != "seconds"}
            for label, price in records_of(each, "release")[-1]["strategies"].items()
        }
        for each in (run, honest)
    )
    assert {label: price["gradient_steps"] for label, price in told.items()} == {
        "local": 3,
        "mask_only": 3,
        "average": 3 + 8 * 3,
    }
    assert (told["average"]["client_tunings"], told["average"]["parallel_steps"]) == (9, 6)
    assert (told["local"], told["mask_only"]) == (right["local"], right["mask_only"])


def test_a_cohort_that_fails_is_asked_again_client_by_client(honest: Path, tmp_path: Path) -> None:
    def spoil(job: Job, reply: Reply) -> Reply:
        broken = job.kind == "tune" and "u4" in job.clients and len(job.clients) > 1
        return Reply(job.clients, error="worker died") if broken else reply

    run = run_spoiled(tmp_path / "run", spoil)
    assert digests(run) == digests(honest)
    assert not records_of(run, "failed")


def test_a_client_that_cannot_be_tuned_is_missing_and_counted_nowhere(honest: Path, tmp_path: Path) -> None:
    """Seven are there. Who is missing is named with its error, has no row, and is in no mean."""
    stays = next(f"u{i}" for i in range(8) if f"u{i}" not in leaving(honest))

    def spoil(job: Job, reply: Reply) -> Reply:
        return Reply(job.clients, error="its disk is full") if job.kind == "tune" and stays in job.clients else reply

    run = run_spoiled(tmp_path / "run", spoil)
    assert [(r["rule"], r["clients"], r["error"]) for r in records_of(run, "failed")] == [
        ("plain", [stays], "its disk is full"),
        ("sign_fixed", [stays], "its disk is full"),
    ]
    told = summary_of(run)
    assert all(strategy["bitwise_equal"] for strategy in told["strategies"].values())
    assert len(records_of(run, "join")) == 2 * 7
    errors = {"plain": "its disk is full", "sign_fixed": "its disk is full"}
    assert (told["clients"], told["missing"], told["allow_missing"]) == (7, {"7": {stays: errors}}, 0)
    rows = read_rows(run)
    assert {row["client"] for row in rows} == {f"u{i}" for i in range(8)} - {stays}
    assert {row["tasks"] for row in rows} == {7}
    values = [row["value"] for row in read_rows(run, strategy="average", deleted=0)]
    assert (len(values), told["strategies"]["average"]["accuracy"]["held_in_before"]) == (7, math.fsum(values) / 7)
    assert told["retrain"][-1] == {"deleted": 2, "gradient_steps": 3 * 5}
    assert told["strategies"]["average"]["gradient_steps"] == {"learn": 3 * 7, "forget": 3 * 2, "join": 0}


def test_who_is_missing_under_one_rule_is_a_member_under_the_other(honest: Path, tmp_path: Path) -> None:
    stays = next(f"u{i}" for i in range(8) if f"u{i}" not in leaving(honest))

    def spoil(job: Job, reply: Reply) -> Reply:
        broken = job.kind == "tune" and stays in job.clients and job.facts["rule"] == "plain"
        return Reply(job.clients, error="out of memory") if broken else reply

    run = run_spoiled(tmp_path / "run", spoil)
    told = summary_of(run)
    assert (told["clients"], told["missing"]) == (8, {"7": {stays: {"plain": "out of memory"}}})
    there = {label: {row["client"] for row in read_rows(run, strategy=label)} for label in told["strategies"]}
    everybody = {f"u{i}" for i in range(8)}
    assert there == dict.fromkeys(["local", "average", "cluster_average", "ties"], everybody - {stays}) | {
        "sift_masks": everybody
    }
    assert told["strategies"]["sift_masks"]["state_digest"] == digests(honest)["sift_masks"]


@pytest.mark.parametrize("allowed", [0, 1])
def test_a_run_with_somebody_missing_fails_unless_so_many_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], allowed: int
) -> None:
    """The results of the others are written all the same, and terminal and page name who is missing."""

    def spoil(job: Job, reply: Reply) -> Reply:
        return Reply(job.clients, error="its disk is full") if job.kind == "tune" and "u4" in job.clients else reply

    monkeypatch.setattr(opening, "open_workers", spoiling(spoil))
    _, _, through = run_scenario.__defaults__ or ()
    monkeypatch.setattr(run_scenario, "__defaults__", (None, opening.open_workers, through))
    workers = TINY["workers"] | {"allow_missing": allowed}
    small = {"strategies": ["average"], "workers": workers, "report": {"html": True}, "stream": {"requests": 0}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY | small))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["unmerge", "run", "tiny.yaml"])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert int(ended.value.code or 0) == 1 - allowed
    wrong = "Error: runs/tiny: 1 clients are missing, and workers.allow_missing is 0; what the others came to was written"
    assert (said.err.splitlines()[-1:] == [wrong]) == ("allow_missing" in said.err) == (allowed == 0)
    assert "Seed 7: 1 client is missing: they could not be tuned, and are in no mean." in said.out
    assert "  u4 (plain): its disk is full" in said.out
    assert "u4 (plain): its disk is full" in (tmp_path / "runs/tiny/report.html").read_text()
    assert summary_of(tmp_path / "runs/tiny")["clients"] == 7


def test_an_update_that_lies_is_refused(honest: Path, tmp_path: Path) -> None:
    """One client doubles its vector whenever it is asked alone; in a cohort nobody could tell."""

    def spoil(job: Job, reply: Reply) -> Reply:
        if job.kind == "tune" and job.clients == ("u4",) and "sum" in reply.arrays and job.facts["rule"] == "plain":
            return replace(reply, arrays=dict(reply.arrays) | {"sum": reply.arrays["sum"] * 2})
        return reply

    run = run_spoiled(tmp_path / "run", spoil, workers={"kind": "inline", "cohort": 1}, audit=[])
    (failed,) = records_of(run, "failed")
    assert (failed["rule"], failed["clients"]) == ("plain", ["u4"])
    assert "does not have the digest it claims" in failed["error"]


def test_nobody_left_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WorkError, match="no client could be tuned under the rule plain"):
        run_spoiled(tmp_path / "run", lambda job, reply: Reply(job.clients, error="no") if job.kind == "tune" else reply)


def test_mask_learning_is_tried_twice(tmp_path: Path) -> None:
    failures = iter([True])

    def spoil(job: Job, reply: Reply) -> Reply:
        return Reply(job.clients, error="lost") if job.kind == "learn_mask" and next(failures, False) else reply

    def always(job: Job, reply: Reply) -> Reply:
        return Reply(job.clients, error="lost") if job.kind == "learn_mask" else reply

    masks = {"strategies": [{"clamu": {"clusters": "clients", "steps": 1}}]}

    run = run_scenario(tiny(**masks), tmp_path / "run", spoiling(spoil))
    assert summary_of(run)["strategies"]["clamu"]["bitwise_equal"] is True
    with pytest.raises(WorkError, match="learn_mask for u0 failed: lost"):
        run_scenario(tiny(**masks), tmp_path / "again", spoiling(always))
