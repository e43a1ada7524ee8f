"""An adaptive asker: who sees the published models, and lets those ask next who score highest or lowest under them."""

from collections.abc import Sequence
from dataclasses import replace

from sim.life.life import Life
from sim.stream.requests import Request


def chosen(life: Life, requests: Sequence[Request]) -> list[Request]:
    """The requests of a release, each with its client; the scores are those of the last evaluation."""
    places = sum(not request.client for request in requests)
    if not places:
        return list(requests)
    taken = {request.client for request in requests} | {w["request"]["client"] for w in life.record["waiting"]}
    order = iter(client for client in ranked(life) if client not in taken)
    return [request if request.client else replace(request, client=next(order, "")) for request in requests]


def ranked(life: Life) -> list[str]:
    """The members by the score of what the strategy that is seen serves them, those who ask next first; of equals by name.

    Who has no score there comes last.
    """
    spec = life.system.scenario.stream.order
    label = spec.strategy or next(iter(life.system.strategies))
    last = max((row["events"] for row in life.rows), default=0)
    scores = {
        row["client"]: row["value"]
        for row in life.rows
        if (row["strategy"], row["events"]) == (label, last) and row["value"] is not None
    }
    sign = -1.0 if spec.score == "highest" else 1.0
    return sorted(life.present, key=lambda client: (client not in scores, sign * scores.get(client, 0.0), client))
