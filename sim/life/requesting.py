"""Whether a request can be meant, and what it comes to: looked at when it is its turn."""

from collections.abc import Sequence
from dataclasses import replace

from clients.data.shards import SIDES
from clients.errors import InputError
from sim.life.joining import welcome
from sim.life.life import Life, open_life
from sim.life.saved import REFUSED, Opened
from sim.stream.requests import JOIN, Request


def named(opened: Opened, request: Request, rows: Sequence[int]) -> Request:
    """A request by command, with the keys of the examples that it names, in every seed.

    Args:
        rows: positions among the client's rows in the source as it is now; none: it asks for all.

    Raises:
        InputError: in some seed it cannot be carried out; the ledger says so.
    """
    keys: set[str] = set()
    try:
        for seed in opened.scenario.seeds:
            life = open_life(opened.run, opened.scenario, seed, opened.ledger, [*opened.commands, request])
            if (reason := refusal(life, request)) is not None:
                raise InputError(f"--client {request.client}: {reason}")
            keys |= _keys(life, request.client, rows)
    except InputError as error:
        reason = str(error).removeprefix(f"--client {request.client}: ")
        opened.ledger.append(REFUSED, client=request.client, kind=request.kind, reason=reason)
        opened.ledger.commit()
        raise
    return replace(request, examples=tuple(sorted(keys)))


def _keys(life: Life, client: str, rows: Sequence[int]) -> set[str]:
    """The keys of a client's rows; InputError if there are no such rows, or the client's shard has none of them."""
    if not rows:
        return set()
    there = life.system.data().rows_of(client)
    mine = life.system.population.examples[client]
    for row in rows:
        if not 0 <= row < len(there):
            raise InputError(f"--rows {row}: client {client} has {len(there)} rows in the source, numbered from 0")
        if there[row] not in mine.all:
            raise InputError(
                f"--rows {row}: nothing was learned of this row of client {client}; it was forgotten already, or never used"
            )
    return {there[row] for row in rows}


def refusal(life: Life, request: Request) -> str | None:
    """Why a request cannot be carried out; None if it can. Whose examples a newcomer has is written down on the way."""
    client, record = request.client, life.record
    if client not in life.system.population.clients:
        some = ", ".join(life.system.population.clients[:5])
        return f"there is no such client; there are {some}, ..."
    if any(waiting["request"]["client"] == client for waiting in record["waiting"]):
        return "an earlier request of it still waits until it can be reached"
    if request.kind == JOIN:
        return _refuse_join(life, client)
    if client in record["forgotten"]:
        return "has been forgotten already"
    if client not in life.present:
        return "could not be tuned, and is no member" if client in record["missing"] else "never joined"
    mine = life.system.population.examples[client]
    if request.examples and not {*request.examples} & {*mine.all}:
        return "does not have these examples any more"
    return None


def _refuse_join(life: Life, client: str) -> str | None:
    if client in life.present:
        return "is there already"
    if client in life.system.population.unseen:
        return "is one of the unseen, on whose data what anybody is served is evaluated"
    try:
        welcome(life.system, client)
    except InputError as error:
        return str(error)
    return None


def whole(life: Life, request: Request) -> Request:
    """The request with the examples that it names; of a client who would be left with too few, one for all of it."""
    if not request.partial:
        return request
    mine = life.system.population.examples[request.client]
    keys = set(request.keys(life.system.population, life.system.seed)) & {*mine.all}
    left = {side: [key for key in getattr(mine, side) if key not in keys] for side in SIDES}
    least = getattr(life.system.scenario.data, "minimum", 1)
    enough = sum(map(len, left.values())) >= least and all(left[side] or not getattr(mine, side) for side in SIDES)
    return replace(request, rows=0, examples=tuple(sorted(keys)) if enough else ())
