"""Which of a client's examples are used, and on which side each stands: training, validation (choosing) or test (reporting).

Both follow from the example's content, the client's name and the seed alone, by digests that are read as numbers in [0, 1):

    drawn       the data.maximum examples with the lowest numbers; this is also the order within a side
    test        those whose number, another one, is below data.test
    validation  of the others those whose third number is below data.validation / (1 − data.test)

So equal rows stand on one side, it does not matter how a table is sorted, and removing a row moves no other. But a side that
a client would have no example on takes one of another side; and with a *number* of examples instead of a share, or where
data.maximum leaves examples out, the next one in order takes the place of one that is removed.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from clients.data.shards import SIDES, Example, Shard, Side
from clients.data.specs import Dealt

IMPORTANCE: tuple[Side, ...] = ("train", "test", "validation")
"""Which side a client with few examples has first."""


def shard(client: str, examples: Iterable[Example], spec: Dealt, seed: int) -> Shard:
    """A client's shard, of all its usable examples in any order."""
    drawn = draw(client, examples, spec.maximum, seed)
    side_of = _sides(client, Counter(example.key for example in drawn), spec, seed)
    return Shard(client, *(tuple(e for e in drawn if side_of[e.key] == side) for side in SIDES))


def draw(client: str, examples: Iterable[Example], maximum: int | None, seed: int) -> list[Example]:
    """At most so many of a client's examples, in the order of their numbers."""
    return sorted(examples, key=lambda example: _number("draw", client, example.key, seed))[:maximum]


def _number(purpose: str, client: str, key: str, seed: int) -> int:
    """64 bits of a digest: a number in [0, 1) as a multiple of 2⁻⁶⁴."""
    return int.from_bytes(hashlib.sha256(f"{purpose}/{seed}/{client}/{key}".encode()).digest()[:8])


def _sides(client: str, copies: Mapping[str, int], spec: Dealt, seed: int) -> dict[str, Side]:
    """Side of each key.

    Args:
        copies: by key how many examples have it, in the order of drawing.
    """
    numbers = {side: {key: _number(side, client, key, seed) for key in copies} for side in IMPORTANCE[1:]}
    share = spec.validation if spec.validation >= 1 or spec.test >= 1 else spec.validation / (1 - spec.test)
    test = _below(list(copies), numbers["test"], copies, spec.test)
    rest = [key for key in copies if key not in test]
    validation = _below(rest, numbers["validation"], copies, share)
    found: dict[Side, list[str]] = {
        "train": [key for key in rest if key not in validation],
        "test": sorted(test),
        "validation": [key for key in rest if key in validation],
    }
    wanted = [side for side in IMPORTANCE if side == "train" or getattr(spec, side)]
    for side in wanted:
        if not found[side] and (donor := _donor(found, side)):
            order = numbers.get(side, {})
            taken = min(found[donor], key=lambda key: (order.get(key, 0), key))
            found[donor].remove(taken)
            found[side].append(taken)
    return {key: side for side, keys in found.items() for key in keys}


def _below(keys: Sequence[str], numbers: Mapping[str, int], copies: Mapping[str, int], asked: float) -> set[str]:
    """Keys whose number is below a share; or where a number of examples is asked for, the first ones that have so many."""
    if asked < 1:
        return {key for key in keys if numbers[key] < asked * 2**64}
    found, examples = set[str](), 0
    for key in sorted(keys, key=numbers.__getitem__):
        if examples >= asked:
            break
        found.add(key)
        examples += copies[key]
    return found


def _donor(found: Mapping[Side, Sequence[str]], side: Side) -> Side | None:
    """Which side can give one to a side that has none: one that keeps another, or one that is less important."""
    rich = next((other for other in IMPORTANCE if len(found[other]) > 1), None)
    later = IMPORTANCE[IMPORTANCE.index(side) + 1 :]
    return rich or next((other for other in reversed(later) if found[other]), None)
