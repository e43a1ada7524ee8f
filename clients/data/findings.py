"""What is left at a source of the examples that a population has written down.

An example is looked for by its key, so that it is found wherever its row stands now. How many copies of a row there are does
not matter: one is enough.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from clients.data.population import Population
from clients.data.shards import SIDES, Example, Shard


@dataclass(frozen=True)
class Findings:
    """See the module.

    Attributes:
        population: what was looked for.
        source: where, for messages.
        shards: of the clients of whom every recorded example is here, in the population's order.
        public: the public examples that are here.
        missing: by client how many of its recorded examples are not here; only of those who lack some.
        ordered: client to its usable rows as examples, in the source's order as it is now.
        elsewhere: whether others' data lie elsewhere, so that nothing follows from their not being here.
    """

    population: Population
    source: str
    shards: tuple[Shard, ...]
    public: tuple[Example, ...]
    missing: dict[str, int]
    ordered: Callable[[str], Iterable[Example]] = field(compare=False, repr=False)
    elsewhere: bool = False

    @property
    def gone(self) -> tuple[str, ...]:
        """Clients of whom nothing is here any more, in the population's order."""
        return () if self.elsewhere else tuple(client for client in self.population.clients if self._nothing_of(client))

    def absence(self, client: str) -> str | None:
        """Why nothing of a client is to be had; None where something is here, or where it is unknown."""
        if client not in self.population.clients or not self._nothing_of(client):
            return None
        if client not in self.population.examples:
            return f"client {client} was forgotten: which examples were its own is not written down any more"
        if self.elsewhere:
            return f"the data of client {client} are not at this node"
        return f"the data of client {client} are not in {self.source} any more"

    def gap(self, client: str) -> str | None:
        """Why a client's shard is not to be had; None where it is whole, or where it is unknown."""
        if (missing := self.missing.get(client)) is None:
            return self.absence(client)
        asked = _count(self.population, client)
        return (
            self.absence(client) or f"{missing} of the {asked} examples of client {client} are not in {self.source} any more"
        )

    def _nothing_of(self, client: str) -> bool:
        if client not in self.population.examples:
            return True
        return self.missing.get(client, 0) == _count(self.population, client)


def by_client(
    known: Population,
    source: str,
    ordered: Callable[[str], Iterable[Example]],
    public: Sequence[Example] = (),
) -> Findings:
    """Look for each client's examples among its own rows, and for the public ones among those of the public clients.

    Args:
        ordered: name to the usable rows of that name, as examples in the source's order; empty where it has none.
        public: the public part of a family that makes its own.
    """
    found = {client: _picked(set(keys.all), ordered(client)) for client, keys in known.examples.items()}
    return _findings(
        known, source, found, _public(known, chain.from_iterable(map(ordered, known.public_clients)), public), ordered
    )


def by_key(known: Population, source: str, rows: Iterable[Example], public: Sequence[Example] = ()) -> Findings:
    """Look for everybody's examples among all rows, given as examples in the source's order.

    Args:
        public: the public part of a family that makes its own.
    """
    wanted = {key for keys in known.examples.values() for key in keys.all}
    pool = _picked(wanted | set(known.public or ()), rows)
    place = {key: number for number, key in enumerate(pool)}

    def ordered(client: str) -> list[Example]:
        recorded = known.examples.get(client)
        mine = recorded.all if recorded else ()
        return [pool[key] for key in sorted((key for key in mine if key in pool), key=place.__getitem__)]

    return _findings(known, source, dict.fromkeys(known.examples, pool), _public(known, pool.values(), public), ordered)


def in_blocks(count: int, examples: Callable[[int, int], Iterable[Example]], block: int = 1024) -> Iterator[Example]:
    """Examples of ``count`` rows, made a block at a time as they are asked for: ``examples(start, stop)``."""
    for start in range(0, count, block):
        yield from examples(start, min(count, start + block))


def _picked(wanted: set[str], rows: Iterable[Example]) -> dict[str, Example]:
    """Key to example for the rows that are wanted, in their order; no row is looked at once all are found."""
    found: dict[str, Example] = {}
    for example in rows if wanted else ():
        if (key := example.key) in wanted and key not in found:
            found[key] = example
            if len(found) == len(wanted):
                break
    return found


def _public(known: Population, rows: Iterable[Example], own: Sequence[Example]) -> tuple[Example, ...]:
    """The public examples that are here, in the recorded order; a family's own part where none are written down."""
    if known.public is None:
        return tuple(own)
    found = _picked(set(known.public), rows)
    return tuple(found[key] for key in known.public if key in found)


def _findings(
    known: Population,
    source: str,
    found: dict[str, dict[str, Example]],
    public: tuple[Example, ...],
    ordered: Callable[[str], Iterable[Example]],
) -> Findings:
    shards, missing = [], {}
    for client in known.clients:
        if (keys := known.examples.get(client)) is None:
            continue
        here = found[client]
        lacking = sum(key not in here for key in keys.all)
        if lacking:
            missing[client] = lacking
        else:
            shards.append(Shard(client, *(tuple(here[key] for key in getattr(keys, side)) for side in SIDES)))
    return Findings(known, source, tuple(shards), public, missing, ordered)


def _count(known: Population, client: str) -> int:
    return len(known.examples[client].all)
