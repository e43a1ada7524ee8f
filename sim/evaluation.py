"""Evaluating what every strategy serves to every client, current, forgotten or not."""

import math
from collections.abc import Callable
from typing import Any

from clients.jobs import score_job
from sim.asking import Asker
from sim.system import System
from sim.workers import Workers

CLIENTS_PER_JOB = 8
CLIENTS_PER_WAVE = 128


def evaluate(
    system: System, forgotten: list[str], workers: Workers, done: Callable[[], None] = lambda: None
) -> list[dict[str, Any]]:
    """Long-form rows (strategy, seed, tasks, deleted, client, split, metric, value) for the models published now.

    The split is ``forgotten`` for clients whose request was carried out, ``unseen`` for those who never joined, else
    ``held_in``; held-out is the first and the last together. Jobs are made in waves, so that the masks of a wave's clients
    are in memory and not those of all.
    """
    rows = []
    split = (
        dict.fromkeys(system.joining, "held_in")
        | dict.fromkeys(forgotten, "forgotten")
        | dict.fromkeys(system.unseen, "unseen")
    )
    clients = list(split)
    for label, strategy in system.strategies.items():
        kept = system.kept_of(label)
        ask, scores = Asker(workers, strategy, done), dict[str, float]()
        for wave in in_parts(clients, CLIENTS_PER_WAVE):
            chunks = in_parts(wave, CLIENTS_PER_JOB)
            jobs = [score_job([(client, strategy.serve(kept, client)) for client in chunk]) for chunk in chunks]
            for index, reply in ask(kept, jobs):
                scores |= {c: row[0] for c, row in zip(chunks[index], reply.facts["scores"], strict=True)}
        rows += [
            {
                "strategy": label,
                "seed": system.seed,
                "tasks": len(system.joining),
                "deleted": len(forgotten),
                "client": client,
                "split": split[client],
                "metric": system.dataset.metric,
                "value": scores[client],
            }
            for client in clients
        ]
    return rows


def in_parts(clients: list[str], size: int) -> list[list[str]]:
    """Clients in groups of at most ``size``."""
    return [clients[start : start + size] for start in range(0, len(clients), size)]


def mean(rows: list[dict[str, Any]]) -> float | None:
    """Mean value of rows, None of none; the same in any order."""
    return math.fsum(row["value"] for row in rows) / len(rows) if rows else None
