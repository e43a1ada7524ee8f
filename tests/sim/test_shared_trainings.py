"""The central model that several strategies begin with: trained once a release, paid for by each, forgotten after it."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from noting import noted_run
from test_families import PICTURES, RESNET
from test_run import records_of, summary_of
from tiny_scenario import POOLED, tiny

from clients.errors import InputError
from clients.jobs import Job, train_job
from clients.work.pooled import Term, Training
from clients.work.site import open_site
from sim.life.asking import MOST_TRAININGS, Asker, Trainings
from sim.life.life import first_population
from sim.life.system import build
from sim.plan import work
from sim.plan.rehearsal import Rehearsal
from sim.plan.sizes import sizes_of
from sim.run import run_scenario
from sim.workers.workers import InlineWorkers
from strategies.state.store import Folder

COUNTED = (
    "gradient_steps", "parallel_steps", "client_tunings", "evaluations", "bytes_down", "bytes_up", "state_digest",
)  # fmt: skip
STRATEGIES: list[Any] = [
    *(entry for entry in POOLED if entry.keys() & {"central", "gradient_ascent", "salun"}),
    {"central": {"label": "longer", "steps": 5, "batch": 8}},
    {"salun": {"label": "other", "steps": 5, "batch": 8, "edit_steps": 2}},
    {"sisa": {"label": "undivided", "shards": 1, "slices": 1, "steps": 5, "batch": 8}},
]


def test_each_distinct_central_training_is_done_once_and_paid_for_by_all(tmp_path: Path) -> None:
    """Learning, two releases at which central, longer and the undivided train again, and an audit."""
    scenario = tiny(strategies=STRATEGIES)
    run, noted = noted_run(scenario, tmp_path / "run")
    site = open_site(scenario.settings(7))
    everybody = site.manifest.clients
    pools = [everybody, *(release.staying for release in work.releases_of(scenario, everybody, 7))]
    asked = Counter(
        (job.clients, job.facts["training"]["steps"])
        for job, _ in noted
        if job.kind == "train" and job.facts["start"] is None and job.clients in map(tuple, map(sorted, pools))
    )
    times = {len(clients): {} for clients, _ in asked}
    for (clients, steps), count in asked.items():
        times[len(clients)][steps] = count
    assert times == {8: {4: 1, 5: 1}, 6: {4: 1, 5: 1}, 4: {4: 2, 5: 2}}  # the audit trains those who are left again
    found, _ = work.of_run(Rehearsal(scenario, sizes_of(site, scenario), 7), everybody)
    assert found.gradient_steps(scenario.tuning.steps) == sum(facts["gradient_steps"] for _, facts in noted)

    together = [record["strategies"] for kind in ("learned", "release") for record in records_of(run, kind)]
    for entry in STRATEGIES:
        ((name, parameters),) = entry.items()
        label = parameters.get("label", name)
        alone = run_scenario(tiny(strategies=[entry], audit=[]), tmp_path / label)
        priced = [record["strategies"][label] for kind in ("learned", "release") for record in records_of(alone, kind)]
        for one, other in zip(priced, together, strict=True):
            told = other[label]
            assert {key: told[key] for key in COUNTED} == {key: one[key] for key in COUNTED}, label
            assert (told["seconds"] > 0) == (told["gradient_steps"] > 0)


def test_only_trainings_of_all_members_from_the_base_model_are_held_and_few(tmp_path: Path) -> None:
    scenario = tiny(strategies=["central"])
    system = build(scenario, 7, Folder(tmp_path), first_population(scenario, 7))
    kept, strategy, site = system.kept_of("central"), system.strategies["central"], open_site(system.settings)
    everybody = ("u1", "u2", "u3")
    kept.register(dict.fromkeys(everybody, "shard"))
    ran: list[Job] = []

    class Workers(InlineWorkers):
        def run(self, jobs: Any, shared: Any) -> Any:
            ran.extend(jobs)
            return super().run(jobs, shared)

    workers, trainings = Workers(site), Trainings()

    def done(clients: tuple[str, ...], steps: int, start: str | None = None, held: Trainings | None = trainings) -> int:
        """How many jobs are really done for a training; its price is that of its steps."""
        before, ask = len(ran), Asker(workers, strategy, trainings=held)
        job = train_job(Training(terms=(Term(clients=clients),), steps=steps, batch=4), start)
        ((index, reply),) = ask(kept, [job])
        assert (index, reply.clients, reply.arrays["vector"].size) == (0, clients, site.model.layout.size)
        assert (ask.cost.gradient_steps, ask.cost.client_tunings) == (steps, len(clients))
        return len(ran) - before

    assert [done(everybody, 1) for _ in range(2)] == [1, 0]
    assert [done(everybody[:2], 1) for _ in range(2)] == [1, 1]
    strategy.keep_merged(next(iter(trainings.values())).arrays["vector"])
    assert [done(everybody, 1, start="merged") for _ in range(2)] == [1, 1]
    assert [done(everybody, steps) for steps in range(2, 8)] == [1] * 6
    assert len(trainings) == MOST_TRAININGS == 4
    assert [done(everybody, steps) for steps in range(1, 8)] == [0] * 4 + [1] * 3
    assert done(everybody, 1, held=None) == 1


def test_a_model_without_a_tangent_space_is_refused_before_any_work(tmp_path: Path) -> None:
    """Convolutions in bfloat16 on a CPU; in float32 all is well."""
    data, model = {**PICTURES, "sets": [{"source": "digits"}]}, {"base": "resnet-18", "resnet": RESNET}
    edits = {"steps": 6, "batch": 8, "edit_steps": 2}
    strategies = [{"linear_negation": edits}, {"negmerge": edits | {"tunings": 2}}]
    with pytest.raises(InputError, match=r"strategies: linear_negation does not go with the model; model.base: resnet-18"):
        run_scenario(tiny(data=data, model=model | {"dtype": "bfloat16"}, strategies=strategies), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    run = run_scenario(tiny(data=data, model=model, strategies=strategies, stream={"requests": 2}), tmp_path / "run")
    told = summary_of(run)["strategies"]
    assert {label: strategy["gradient_steps"]["forget"] for label, strategy in told.items()} == {
        "linear_negation": 2 * 2,
        "negmerge": 2 * 2 * 2,
    }
