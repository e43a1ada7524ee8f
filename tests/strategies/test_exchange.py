"""Examples that leave: the old part is taken out, and the part of what is left takes its place, or nothing changes."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from updates import BOUNDS, SEED, anchor, reply, shards, vector

from clients.errors import InputError
from clients.exact import bits
from clients.exact.grid import FINE, to_grid
from clients.jobs import Reply
from strategies.state.affinity import Gram
from strategies.state.cluster_sums import ClusterSums
from strategies.state.kept import Kept, left_of
from strategies.state.masks import Counts, Masks, masked
from strategies.state.part import Part
from strategies.state.sum import Sum
from strategies.state.vectors import EveryVector, Vectors

Make = Callable[..., Kept]
NAMES = ("a", "b", "c", "d")
BY_ANCHOR = ClusterSums("vectors", 3, by="anchor")
PARTS: tuple[Part, ...] = (Sum(), *masked(0.5), Counts(0.5), Vectors(), Gram(), BY_ANCHOR)
LESS = {"b": 1}


def everything(kept: Kept) -> tuple[object, ...]:
    """All that may change."""
    files = {name: kept.store.read(name) for name in kept.store.sizes()}
    return kept.digest(kept.declared), json.dumps(kept.members, sort_keys=True), files, dict(kept.changed)


def test_the_old_part_is_taken_out_and_the_new_one_is_in(make_kept: Make) -> None:
    kept = make_kept(PARTS)
    kept.absorb(reply(NAMES, PARTS))
    kept.direction("mean")  # it is not remembered
    kept.exchange("b", reply(("b",), (Sum(),)), reply(("b",), PARTS, data=LESS))
    left = {client: vector(client, data=LESS.get(client, 0)) for client in NAMES}
    np.testing.assert_array_equal(kept[Sum()].total.total, sum(to_grid(tau, FINE) for tau in left.values()))
    mean = np.sum([to_grid(tau, FINE) for tau in left.values()], axis=0) / 2**32 / 4
    np.testing.assert_array_equal(kept.direction("mean"), mean.astype(np.float32))
    masks = {client: bits.largest_share(tau, 0.5) for client, tau in left.items()}
    np.testing.assert_array_equal(kept[Counts(0.5)].counts, np.sum(list(masks.values()), axis=0))
    np.testing.assert_array_equal(kept[Masks(0.5)].read("b"), bits.pack(masks["b"]))
    assert kept.changed == {"b": "b\N{NULL}left"} == {"b": left_of("b")}
    assert sorted(kept.members) == list(NAMES)


def test_sums_by_anchor_lose_the_old_place_and_gain_the_new_one(make_kept: Make) -> None:
    kept = make_kept((BY_ANCHOR,))
    kept.absorb(reply(NAMES, (BY_ANCHOR,)))
    old, new = anchor("b", 3), anchor("b", 3, 1)
    assert (old, new, [anchor(client, 3) for client in NAMES]) == (1, 2, [0, 1, 1, 2])
    kept.exchange("b", reply(("b",), (Sum(),)), reply(("b",), (BY_ANCHOR,), data=LESS))
    sums = kept[BY_ANCHOR]
    assert (sums.cluster("b"), sums.counts) == (2, {0: 1, 1: 1, 2: 2})
    np.testing.assert_array_equal(sums.totals[1], to_grid(vector("c"), FINE))
    np.testing.assert_array_equal(sums.totals[2], to_grid(vector("d"), FINE) + to_grid(vector("b", data=1), FINE))


def other_sum(good: Reply) -> Reply:
    return replace(good, arrays=good.arrays | {"sum": good.arrays["sum"] + 1})


def without_a_mask(good: Reply) -> Reply:
    return replace(good, arrays={name: array for name, array in good.arrays.items() if not name.startswith("mask")})


OLD, NEW = reply(("b",), PARTS), reply(("b",), PARTS, data=LESS)


@pytest.mark.parametrize(
    ("client", "old", "new", "message"),
    [
        ("b", None, NEW, "client b: the task vector derived again differs"),
        ("b", other_sum(OLD), NEW, "client b: the task vector derived again differs"),
        ("b", reply(("a",), PARTS), NEW, "client b: the task vector derived again differs"),
        ("b", Reply(("b",), error="it failed"), NEW, "client b: the task vector derived again differs"),
        ("b", OLD, None, "client b: examples are exchanged by its own update"),
        ("b", OLD, reply(("a",), PARTS), "client b: examples are exchanged by its own update"),
        ("b", OLD, reply(("b", "x"), PARTS), "client b: examples are exchanged by its own update"),
        ("b", OLD, Reply(("b",), error="it failed"), "an update for b speaks of other clients"),
        ("b", OLD, other_sum(NEW), "client b: its task vector does not have the digest it claims"),
        ("b", OLD, without_a_mask(NEW), "an update for b has nothing as mask-0.5/b"),
        ("b", OLD, reply(("b",), PARTS, "plain", LESS), "client b: its task vector goes against the shared signs"),
        ("x", OLD, NEW, "client x: is no member"),
    ],
)
def test_a_refused_exchange_changes_nothing(
    client: str, old: Reply | None, new: Reply | None, message: str, make_kept: Make
) -> None:
    kept = make_kept(PARTS)
    kept.absorb(reply(NAMES, PARTS))
    kept.save()
    before = everything(kept)
    with pytest.raises(InputError, match=message):
        kept.exchange(client, old, new)
    assert everything(kept) == before
    kept.exchange("b", OLD, NEW)  # and the right one is still taken
    right = make_kept(PARTS)
    right.absorb(reply(NAMES, PARTS, data=LESS))
    assert kept.digest(PARTS) == right.digest(PARTS)


def test_where_nothing_is_summed_the_old_vector_is_not_needed(make_kept: Make) -> None:
    parts = (*masked(0.5), EveryVector())
    kept, right = make_kept(parts), make_kept(parts)
    kept.absorb(reply(NAMES, parts))
    kept.exchange("b", None, reply(("b",), parts, data=LESS))
    right.absorb(reply(NAMES, parts, data=LESS))
    assert kept.digest(parts) == right.digest(parts)
    np.testing.assert_array_equal(kept[EveryVector()].row("b")(slice(None)), vector("b", data=1))


def test_without_a_rule_the_digest_of_the_shard_is_all_there_is(make_kept: Make) -> None:
    kept, right = make_kept((), None), make_kept((), None)
    kept.register(shards(NAMES))
    right.register(shards(NAMES, LESS))
    before = kept.digest(())
    kept.exchange("b", None, None)
    assert (kept.digest(()), kept.changed) == (before, {})
    kept.reregister("b", shards("b", LESS)["b"])
    assert kept.digest(()) == right.digest(()) != before
    assert kept.changed == {"b": left_of("b")}
    with pytest.raises(InputError, match="client x: is no member"):
        kept.reregister("x", "some digest")
    assert "x" not in kept.members


def test_who_leaves_after_losing_examples_is_still_noted_and_who_comes_back_is_not(make_kept: Make) -> None:
    kept = make_kept((), None)
    kept.register(shards(NAMES))
    kept.reregister("b", "less of b")
    kept.erase("b")
    assert kept.changed == {"b": left_of("b")}
    kept.register(shards("b", LESS))
    assert kept.changed == {}
    tuned = make_kept((Sum(),))
    tuned.absorb(reply(NAMES, (Sum(),)))
    tuned.exchange("b", OLD, reply(("b",), (Sum(),), data=LESS))
    tuned.subtract("b", reply(("b",), (Sum(),), data=LESS))
    tuned.erase("b")
    assert tuned.changed == {"b": left_of("b")}
    tuned.absorb(reply(("b",), (Sum(),)))
    assert tuned.changed == {}


def test_digests_tell_who_has_other_data(make_kept: Make) -> None:
    kept = make_kept((), None)
    kept.register(shards(NAMES, LESS))
    assert kept.digests() == {client: f"shard {LESS.get(client, 0)} of {client}" for client in NAMES}
    assert kept.digests(["d", "b"]) == {"b": "shard 1 of b", "d": "shard 0 of d"}


@pytest.mark.parametrize(
    ("parts", "rejoins", "late"),
    [
        ((Sum(), Gram()), True, [False, True]),
        ((Gram(), EveryVector()), False, [True, False]),
        ((Sum(), Counts(0.5), BY_ANCHOR, Vectors()), False, [False] * 4),
        ((), False, []),
    ],
)
def test_who_joins_late_needs_everybody_where_vectors_are_gone(
    parts: tuple[Part, ...], rejoins: bool, late: list[bool], make_kept: Make
) -> None:
    assert (make_kept(parts).rejoins, [part.joins_late for part in parts]) == (rejoins, late)


def test_nobody_is_taken_in_alone_once_vectors_are_gone(make_kept: Make, tmp_path: Path) -> None:
    parts = (Sum(), Gram())
    kept = make_kept(parts)
    kept.absorb(reply(("a",), parts))
    kept.absorb(reply(("b", "c"), parts))  # while they are there anybody joins
    kept.seal()
    kept.save()
    loaded = Kept(kept.folder, "sign_fixed", BOUNDS, parts, SEED).load()
    before = everything(kept)
    for each in (kept, loaded):
        with pytest.raises(InputError, match="client d: cannot be taken in alone, as vectors of a and others went"):
            each.absorb(reply(("d",), parts))
        with pytest.raises(InputError, match="client b: cannot be taken in alone, as vectors of a and others went"):
            each.exchange("b", reply(("b",), parts), reply(("b",), parts, data=LESS))
        assert everything(each) == before
    for client in "abc":  # beside nobody there is nothing that is missing
        kept.subtract(client, reply((client,), parts))
        kept.erase(client)
    kept.absorb(reply(("d",), parts))
    kept.absorb(reply(("a",), parts))
    kept.seal()
    right = make_kept(parts)
    right.absorb(reply(("a", "d"), parts))
    assert kept.digest(parts) == right.digest(parts)
