"""Evaluating what every strategy serves to every client, current, forgotten or not."""

import math
from collections.abc import Callable
from typing import Any

from clients.jobs import score_job
from sim.asking import Asker
from sim.system import System
from sim.workers import Workers

CLIENTS_PER_JOB = 8


def evaluate(
    system: System, forgotten: list[str], workers: Workers, done: Callable[[], None] = lambda: None
) -> list[dict[str, Any]]:
    """Long-form rows (strategy, seed, tasks, deleted, client, split, metric, value) for the models published now.

    The split is ``forgotten`` for clients whose request was carried out, else ``held_in``; held-out is both together.
    """
    rows = []
    clients = list(system.dataset.clients)
    for label, strategy in system.strategies.items():
        kept = system.kept_of(label)
        chunks = [clients[start : start + CLIENTS_PER_JOB] for start in range(0, len(clients), CLIENTS_PER_JOB)]
        jobs = [score_job([(client, strategy.serve(kept, client)) for client in chunk]) for chunk in chunks]
        scores: dict[str, float] = {}
        for index, reply in Asker(workers, strategy, done)(kept, jobs):
            scores |= {c: row[0] for c, row in zip(chunks[index], reply.facts["scores"], strict=True)}
        rows += [
            {
                "strategy": label,
                "seed": system.seed,
                "tasks": len(clients),
                "deleted": len(forgotten),
                "client": client,
                "split": "forgotten" if client in forgotten else "held_in",
                "metric": system.dataset.metric,
                "value": scores[client],
            }
            for client in clients
        ]
    return rows


def mean(rows: list[dict[str, Any]]) -> float | None:
    """Mean value of rows, None of none; the same in any order."""
    return math.fsum(row["value"] for row in rows) / len(rows) if rows else None
