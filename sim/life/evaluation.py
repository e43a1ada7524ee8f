"""Evaluating what every strategy serves to every client, current, forgotten or not.

A strategy of which one score is not finite has none at that point: a mean over the others would be of whom it did not fail.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from clients.errors import some
from clients.jobs import Job, Reply, score_job
from clients.work.served import Served
from sim.life.asking import Asker
from sim.life.cost import Cost
from sim.life.record import Record
from sim.life.system import System
from sim.workers.workers import Workers, cohorts
from strategies.scale import chunks

CLIENTS_PER_WAVE = 128

Make = Callable[[Sequence[tuple[str, Served]]], Job]


def evaluate(
    system: System, record: Record, workers: Workers, done: Callable[[], None] = lambda: None
) -> tuple[list[dict[str, Any]], list[str], dict[str, str]]:
    """Long-form rows (strategy, seed, tasks, events, deleted, client, split, metric, value) for the models published now.

    The split is ``held_in`` for members, ``forgotten`` for those who are no longer, ``unseen`` for those who never join; who
    is missing has no row. The value is None where the client's data are gone, where it has no example on the side that is
    reported, and everywhere for a strategy that has failed. Held-out is ``held_in`` and ``forgotten`` together, all who ever
    joined.

    Returns:
        the rows, the clients whose data are gone, and why strategies failed now, by label.
    """
    rows, failures = [], dict[str, str]()
    gone = {client for client in (*record["joined"], *system.population.unseen) if client in set(system.manifest.gone)}
    for label in system.strategies:
        split = splits(system, record, label)
        scores: dict[str, float | None] = dict.fromkeys(split)
        there = [client for client in split if client not in gone]
        failed = system.strategies[label].failed
        for reply in () if failed else replies_of(system, label, there, score_job, workers, done):
            scores |= {c: row[0] for c, row in zip(reply.clients, reply.facts["scores"], strict=True)}
        if wrong := [client for client in there if not failed and not math.isfinite(scores[client] or 0.0)]:
            failures[label] = not_finite("score", wrong)
            scores = dict.fromkeys(split)
        rows += [
            {
                "strategy": label,
                "seed": system.seed,
                "tasks": record["clients"],
                "events": record["events"],
                "deleted": record["deleted"],
                "client": client,
                "split": split[client],
                "metric": system.manifest.metric,
                "value": scores[client],
            }
            for client in split
        ]
    return rows, sorted(gone), failures


def not_finite(what: str, clients: Sequence[str]) -> str:
    """Why a strategy has failed, with the clients for whom it has."""
    return f"the {what} of what it serves is not finite, for {some(clients)}"


def splits(system: System, record: Record, label: str) -> dict[str, str]:
    """Who is shown what a strategy serves, and as whom."""
    members, missing = system.kept_of(label).members, record["missing"]
    joined = [client for client in record["joined"] if client in members or client not in missing]
    found = {client: "held_in" if client in members else "forgotten" for client in joined}
    return found | dict.fromkeys(system.population.unseen, "unseen")


def point(rows: list[dict[str, Any]], record: Record) -> dict[str, Any]:
    """One point of the curves: accuracies, cumulated steps and storage after some events; JSON."""
    strategies = {}
    for label, storage in record["storage_bytes"].items():
        mine = [row for row in rows if row["strategy"] == label]
        later = (Cost(**record[phase][label]).gradient_steps for phase in ("forget", "join"))
        strategies[label] = {
            "held_in": mean([row for row in mine if row["split"] == "held_in"]),
            "held_out": mean([row for row in mine if row["split"] != "unseen"]),
            "forgotten": mean([row for row in mine if row["split"] == "forgotten"]),
            "unseen": mean([row for row in mine if row["split"] == "unseen"]),
            "gradient_steps": sum(later),
            "storage_bytes": storage,
        }
    about = {key: record[key] for key in ("day", "events", "deleted", "retrain_steps")}
    return about | {"gone": len(record["gone"]), "strategies": strategies}


def replies_of(
    system: System, label: str, clients: Sequence[str], make: Make, workers: Workers, done: Callable[[], None]
) -> Iterator[Reply]:
    """Replies to jobs on what a strategy serves to these clients, in any order.

    Jobs are made in waves, so that the masks of a wave's clients are in memory and not those of all.
    """
    strategy, kept = system.strategies[label], system.kept_of(label)
    ask = Asker(workers, strategy, done)
    for wave in cohorts(clients, CLIENTS_PER_WAVE):
        jobs = [make([(client, strategy.serve(kept, client)) for client in part]) for part in chunks(wave)]
        for _, reply in ask(kept, jobs):
            yield reply


def mean(rows: list[dict[str, Any]]) -> float | None:
    """Mean value of rows, without those that have none; None of none; the same in any order."""
    values = [row["value"] for row in rows if row["value"] is not None]
    return math.fsum(values) / len(values) if values else None
