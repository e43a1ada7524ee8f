"""What the server keeps: a function of who is in it, and nothing of who has left."""

import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from updates import BOUNDS, SEED, reply, vector

from clients.errors import InputError
from clients.exact import bits
from clients.jobs import Reply
from strategies.state.affinity import Features, Gram
from strategies.state.anchors import Anchors
from strategies.state.cluster_sums import ClusterSums
from strategies.state.kept import Kept
from strategies.state.masks import Counts, Masks, Sizes, masked
from strategies.state.part import Part
from strategies.state.store import called
from strategies.state.sum import Sum
from strategies.state.vectors import EveryVector, Vectors

SUMS = (
    ClusterSums("vectors", 2),
    ClusterSums("dropped", share=0.5),
    ClusterSums("votes", 3, 0.5),
    ClusterSums("votes", 3, 0.5, "anchor"),
    ClusterSums("vectors", 2, by="anchor"),
)
EVERYTHING: tuple[Part, ...] = (
    Sum(), *masked(0.5), *masked(1.0), Counts(1.0), Vectors(), Features(), Gram(), *SUMS, EveryVector()
)  # fmt: skip
NAMES = ("a", "b", "c", "d", "e")
Make = Callable[..., Kept]


def forget(kept: Kept, client: str) -> None:
    kept.subtract(client, reply((client,), kept.declared))
    kept.erase(client)


def digest_after(joins: list[str], leaves: list[str], save: bool) -> str:
    with tempfile.TemporaryDirectory() as folder:
        kept = Kept(Path(folder), "sign_fixed", BOUNDS, EVERYTHING, SEED)
        for client in joins:
            kept.absorb(reply((client,), EVERYTHING))
        for client in leaves:
            forget(kept, client)
        if save:
            kept.save()
            kept = Kept(Path(folder), "sign_fixed", BOUNDS, EVERYTHING, SEED).load()
        return kept.digest(EVERYTHING)


@settings(max_examples=25, deadline=None)
@given(st.permutations(NAMES), st.sets(st.sampled_from(NAMES), max_size=4), st.booleans())
def test_join_then_forget_is_never_joined(order: list[str], leaving: set[str], save: bool) -> None:
    never = digest_after([client for client in NAMES if client not in leaving], [], save=False)
    assert digest_after(list(order), sorted(leaving, reverse=True), save) == never


def test_cohorts_and_single_clients_give_the_same_state(make_kept: Make) -> None:
    single, together = make_kept(EVERYTHING), make_kept(EVERYTHING)
    for client in NAMES:
        single.absorb(reply((client,), EVERYTHING))
    together.absorb(reply(("d", "b"), EVERYTHING))
    together.absorb(reply(("e", "a", "c"), EVERYTHING))
    assert single.digest(EVERYTHING) == together.digest(EVERYTHING)


def test_each_part_is_in_the_digest(make_kept: Make) -> None:
    kept = make_kept(EVERYTHING)
    kept.absorb(reply(NAMES, EVERYTHING))
    parts = [(), *((part,) for part in EVERYTHING if part != EveryVector()), masked(0.5), masked(1.0)]
    assert len({kept.digest(part) for part in parts}) == len(parts) == 17
    assert kept.digest((EveryVector(),)) == kept.digest(())  # at hand, but no part of a state
    before = kept.digest(masked(0.5))
    path = kept.store.path(kept[Masks(0.5)].file("b"))
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    assert kept.digest(masked(0.5)) != before


def test_forgetting_leaves_no_file_and_no_entry(make_kept: Make) -> None:
    kept = make_kept(EVERYTHING)
    kept.absorb(reply(NAMES, EVERYTHING))
    kept.save()
    own = kept.files_of("c")
    assert len(own) == 6
    assert all(kept.store.has(name) for name in own)
    forget(kept, "c")
    kept.save()
    assert not [path for path in kept.folder.rglob("*") if path.stem == called("c")]
    assert not any(kept.store.has(name) for name in own)
    assert '"c"' not in (kept.folder / "members.json").read_text()
    assert all("c" not in pair for pair in kept[Gram()].products)


def test_directions_by_hand(make_kept: Make) -> None:
    parts = (Sum(), Counts(1.0))
    kept = make_kept(parts)
    kept.absorb(reply(("a", "b", "c"), parts))
    stack = np.array([vector(client) for client in "abc"], dtype=np.float64)
    stack = np.rint(stack * 2**32) / 2**32
    np.testing.assert_array_equal(kept.direction("mean"), (stack.sum(0) / 3).astype(np.float32))
    counts = (stack != 0).sum(0)
    expected = np.where(counts > 0, stack.sum(0) / np.maximum(counts, 1), 0).astype(np.float32)
    np.testing.assert_array_equal(kept.direction("counts-1"), expected)
    np.testing.assert_array_equal(kept.direction("signs"), bits.sign_vector(SEED, BOUNDS[-1]))
    forget(kept, "b")
    np.testing.assert_array_equal(kept.direction("mean"), (stack[[0, 2]].sum(0) / 2).astype(np.float32))


def test_gram_is_the_matrix_of_inner_products(make_kept: Make) -> None:
    parts = (Gram(),)
    kept = make_kept(parts, "plain")
    kept.absorb(reply(("b", "a"), parts, "plain"))
    kept.absorb(reply(("c",), parts, "plain"))
    assert len(list((kept.folder / "clients" / "vectors").iterdir())) == 3
    kept.seal()
    stack = np.array([vector(client, "plain") for client in "abc"], dtype=np.float64)
    np.testing.assert_allclose(kept[Gram()].matrix(["a", "b", "c"]), stack @ stack.T, rtol=1e-12)
    assert not (kept.folder / "clients" / "vectors").exists()


@pytest.mark.parametrize("groups", [("a", "b", "c"), ("ca", "b"), ("cba",), ("b", "ac")])
def test_inner_products_do_not_depend_on_who_joins_together(
    make_kept: Make, monkeypatch: pytest.MonkeyPatch, groups: tuple[str, ...]
) -> None:
    """Each is the sum of its blocks' sums, rounded once."""
    monkeypatch.setattr("strategies.state.affinity.BLOCK", 5)
    parts, size = (Gram(),), BOUNDS[-1]
    kept = make_kept(parts, "plain")
    for group in groups:
        kept.absorb(reply(tuple(group), parts, "plain"))
    taus = {client: vector(client, "plain").astype(np.float64) for client in "abc"}
    for one, other in ("aa", "ab", "ac", "bb", "bc", "cc"):
        products = taus[one] * taus[other]
        expected = math.fsum(products[start : start + 5].sum() for start in range(0, size, 5))
        assert kept[Gram()].products[one, other] == expected
    assert len(kept[Gram()].products) == 6


def test_a_vector_that_differs_in_one_bit_is_not_subtracted(make_kept: Make) -> None:
    kept = make_kept(EVERYTHING)
    kept.absorb(reply(("a", "b"), EVERYTHING))
    before, again = kept[Sum()].total.digest(), reply(("a",), EVERYTHING)
    again.arrays["sum"][3] += 1
    with pytest.raises(InputError, match="client a: the task vector derived again differs"):
        kept.subtract("a", again)
    assert kept[Sum()].total.digest() == before


def wrong_digest(good: object) -> object:
    good.arrays["sum"] = good.arrays["sum"] * 2  # type: ignore[attr-defined]
    return good


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda good: replace(good, clients=("b",)), "speaks of other clients"),
        (lambda good: replace(good, clients=("old",), facts={"tunings": {"old": {}}}), "client old: sent its update twice"),
        (lambda good: replace(good, arrays={k: v for k, v in good.arrays.items() if k != "sum"}), "has nothing as sum"),
        (lambda good: replace(good, arrays=good.arrays | {"sum": good.arrays["sum"][:-1]}), r"\(36,\) as sum"),
        (wrong_digest, "does not have the digest it claims"),
    ],
)
def test_updates_that_were_not_asked_for_are_refused(make_kept: Make, spoil: Callable, message: str) -> None:  # type: ignore[type-arg]
    parts = (Sum(), *masked(1.0))
    kept = make_kept(parts)
    kept.absorb(reply(("old",), parts))
    before = kept.digest(parts)
    with pytest.raises(InputError, match=message):
        kept.absorb(spoil(reply(("a",), parts)))
    assert kept.digest(parts) == before


def placed(anchors: object) -> Callable[[Reply], Reply]:
    """Says this of a client's anchors by how many there are, or nothing."""

    def spoil(good: Reply) -> Reply:
        arrays = {key: value for key, value in good.arrays.items() if not key.startswith("anchor")}
        told = {f"anchor-{count}/a": np.array([number]) for count, number in dict(anchors or {}).items()}  # type: ignore[call-overload]
        return replace(good, arrays=arrays | told)

    return spoil


@pytest.mark.parametrize(
    ("anchors", "message"),
    [
        (None, r"an update for a has nothing as anchor-2/a, expected int64 \(1,\)"),
        ({}, r"an update for a has nothing as anchor-2/a, expected int64 \(1,\)"),
        ({"2": [1]}, r"an update for a has int64 \(1, 1\) as anchor-2/a, expected int64 \(1,\)"),
        ({"3": 1}, r"an update for a has nothing as anchor-2/a, expected int64 \(1,\)"),
        ({"2": 1}, r"an update for a has nothing as anchor-3/a, expected int64 \(1,\)"),
        ({"2": 0, "3": 3}, r"client a: says 3 of the anchors it is nearest to, expected 0 to 2"),
        ({"2": 2, "3": 0}, r"client a: says 2 of the anchors it is nearest to, expected 0 to 1"),
        ({"2": -1, "3": 0}, r"client a: says -1 of the anchors it is nearest to, expected 0 to 1"),
        ({"2": 0, "3": True}, r"an update for a has bool \(1,\) as anchor-3/a, expected int64 \(1,\)"),
        ({"2": 0, "3": 1.0}, r"an update for a has float64 \(1,\) as anchor-3/a, expected int64 \(1,\)"),
    ],
)
def test_a_number_of_no_anchor_is_refused(make_kept: Make, anchors: object, message: str) -> None:
    votes, vectors = parts = SUMS[-2:]
    kept = make_kept(parts)
    assert [wanted.key for wanted in kept.wants()] == ["anchor-2", "anchor-3", "vector"]
    with pytest.raises(InputError, match=message):
        kept.absorb(placed(anchors)(reply(("a",), parts)))
    assert (kept.members, kept[vectors].counts, kept[votes].counts) == ({}, {}, {})
    kept.absorb(placed({"2": 1, "3": 2})(reply(("a",), parts)))
    assert (kept[vectors].cluster("a"), kept[votes].cluster("a")) == (1, 2)
    assert {part.name: kept[part].counts for part in parts} == {
        "vectors-2-1.0-anchor": {1: 1},
        "votes-3-0.5-anchor": {2: 1},
    }


def test_a_number_of_an_anchor_that_was_not_asked_for_is_not_recorded(make_kept: Make) -> None:
    parts = (Sum(),)
    kept, asked = make_kept(parts), make_kept(parts)
    kept.absorb(placed({"2": 1})(reply(("a",), parts)))
    asked.absorb(reply(("a",), parts))
    assert kept.members == asked.members
    assert "anchors" not in kept.members["a"]
    assert kept.digest(parts) == asked.digest(parts)


@pytest.mark.parametrize("told", ['"2": 2', '"2": -1', '"2": true', '"2": 0.0', '"3": 0'])
def test_numbers_of_anchors_are_state_and_are_checked_when_read(make_kept: Make, told: str) -> None:
    parts = SUMS[-1:]
    one, other = make_kept(parts), make_kept(parts)
    for kept, number in ((one, 0), (other, 1)):
        kept.absorb(placed({"2": number})(reply(("a",), parts)))
    assert one.digest(parts) != other.digest(parts)
    assert one.digest((Anchors(2),)) != other.digest((Anchors(2),))
    assert one.digest(()) == other.digest(())
    one.save()
    path = one.folder / "members.json"
    path.write_text(path.read_text().replace('"2": 0', told))
    with pytest.raises(InputError, match=r"members\.json: damaged: a lies at no anchor of 2"):
        Kept(one.folder, "sign_fixed", BOUNDS, parts, SEED).load()


@pytest.mark.parametrize("told", ["[0]", "0", "null"])
def test_anchors_that_are_no_numbers_by_count_are_refused(make_kept: Make, told: str) -> None:
    parts = SUMS[-1:]
    kept = make_kept(parts)
    kept.absorb(placed({"2": 0})(reply(("a",), parts)))
    kept.save()
    path = kept.folder / "members.json"
    members = json.loads(path.read_text())
    members["a"]["anchors"] = json.loads(told)
    path.write_text(json.dumps(members))
    with pytest.raises(InputError, match=r"members\.json: damaged: a lies at no anchor of 2"):
        Kept(kept.folder, "sign_fixed", BOUNDS, parts, SEED).load()


def test_a_vector_against_the_signs_is_refused(make_kept: Make) -> None:
    parts = (Sum(),)
    with pytest.raises(InputError, match="client a: its task vector goes against the shared signs"):
        make_kept(parts).absorb(reply(("a",), parts, "plain"))


def test_storage_is_the_bytes_of_the_files_a_strategy_needs(make_kept: Make) -> None:
    parts = (Sum(), *masked(0.5), *masked(1.0))
    kept = make_kept(parts)
    kept.absorb(reply(NAMES, parts))
    kept.save()
    size = {path: path.stat().st_size for path in kept.folder.rglob("*") if path.is_file()}
    assert kept.storage((Sum(),)) == size[kept.folder / "sum.safetensors"]
    half = sum(bytes_ for path, bytes_ in size.items() if path.parent.name in ("masks-0.5", "sizes-0.5"))
    assert kept.storage(masked(0.5)) == half
    assert kept.storage((Masks(0.5),)) == 5 * len(NAMES)
    assert kept.storage((Masks(0.5),)) + kept.storage((Sizes(0.5),)) == half
    assert size[kept.store.path(kept[Masks(0.5)].file("a"))] == 5  # 37 bits


@pytest.mark.parametrize("content", [b"", b"{", b"[1]"])
def test_damaged_state_is_one_clear_error(make_kept: Make, content: bytes) -> None:
    parts = (Sum(),)
    kept = make_kept(parts)
    kept.absorb(reply(NAMES, parts))
    kept.save()
    (kept.folder / "sum.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"sum\.safetensors"):
        Kept(kept.folder, "sign_fixed", BOUNDS, parts, SEED).load()


def test_a_sum_of_other_clients_is_refused(make_kept: Make) -> None:
    parts = (Sum(),)
    kept = make_kept(parts)
    kept.absorb(reply(NAMES, parts))
    kept.save()
    (kept.folder / "members.json").write_text('{"a": {"digest": "", "recipe": "", "steps": 3}}')
    with pytest.raises(InputError, match=r"sum\.safetensors: damaged: 5 vectors of 37 entries, expected 1 of 37"):
        Kept(kept.folder, "sign_fixed", BOUNDS, parts, SEED).load()
