"""Evaluating what every strategy serves to every client, current, forgotten or not."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from clients.jobs import Job, Reply, score_job
from clients.work.served import Served
from sim.life.asking import Asker
from sim.life.system import System
from sim.workers.workers import Workers, cohorts
from strategies.scale import chunks

CLIENTS_PER_WAVE = 128

Make = Callable[[Sequence[tuple[str, Served]]], Job]


def evaluate(
    system: System, forgotten: list[str], workers: Workers, done: Callable[[], None] = lambda: None
) -> list[dict[str, Any]]:
    """Long-form rows (strategy, seed, tasks, deleted, client, split, metric, value) for the models published now.

    The split is ``forgotten`` for clients whose request was carried out, ``unseen`` for those who never joined, else
    ``held_in``; held-out is ``held_in`` and ``forgotten`` together, all who ever joined.
    """
    rows = []
    split = (
        dict.fromkeys(system.joining, "held_in")
        | dict.fromkeys(forgotten, "forgotten")
        | dict.fromkeys(system.unseen, "unseen")
    )
    clients = list(split)
    for label in system.strategies:
        scores: dict[str, float] = {}
        for reply in replies_of(system, label, clients, score_job, workers, done):
            scores |= {c: row[0] for c, row in zip(reply.clients, reply.facts["scores"], strict=True)}
        rows += [
            {
                "strategy": label,
                "seed": system.seed,
                "tasks": len(system.joining),
                "deleted": len(forgotten),
                "client": client,
                "split": split[client],
                "metric": system.manifest.metric,
                "value": scores[client],
            }
            for client in clients
        ]
    return rows


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
    """Mean value of rows, None of none; the same in any order."""
    return math.fsum(row["value"] for row in rows) / len(rows) if rows else None
