"""What the server keeps: a function of who is in it, and nothing of who has left."""

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
from strategies.state.cluster_sums import Additive
from strategies.state.kept import Keeps, Kept

ADDITIVE = (
    Additive(of="vectors", clusters=2),
    Additive(of="dropped", share=0.5),
    Additive(of="votes", clusters=3, share=0.5),
    Additive(of="votes", clusters=3, share=0.5, by="anchor"),
    Additive(of="vectors", clusters=2, by="anchor"),
)
EVERYTHING = Keeps(
    sum=True, masks=(0.5, 1.0), counts=(1.0,), vectors=True, features=True, gram=True, additive=ADDITIVE, cached_vectors=True
)
NAMES = ("a", "b", "c", "d", "e")
Make = Callable[..., Kept]


def forget(kept: Kept, client: str) -> None:
    kept.subtract(client, reply((client,), kept.keeps))
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
            kept = Kept.load(Path(folder), "sign_fixed", BOUNDS, EVERYTHING, SEED)
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
    parts = [Keeps(), Keeps(sum=True), Keeps(masks=(0.5,)), Keeps(masks=(1.0,)), Keeps(counts=(1.0,)), Keeps(vectors=True),
             Keeps(features=True), Keeps(gram=True), *(Keeps(additive=(part,)) for part in ADDITIVE)]  # fmt: skip
    assert len({kept.digest(part) for part in parts}) == len(parts)
    before = kept.digest(Keeps(masks=(0.5,)))
    path = kept.folder / "masks-0.5" / "b.bits"
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    assert kept.digest(Keeps(masks=(0.5,))) != before


def test_forgetting_leaves_no_file_and_no_entry(make_kept: Make) -> None:
    kept = make_kept(EVERYTHING)
    kept.absorb(reply(NAMES, EVERYTHING))
    kept.save()
    forget(kept, "c")
    kept.save()
    assert not [path for path in kept.folder.rglob("*") if path.name.startswith("c.")]
    assert '"c"' not in (kept.folder / "members.json").read_text()
    assert all("c" not in pair for pair in kept.products)


def test_directions_by_hand(make_kept: Make) -> None:
    keeps = Keeps(sum=True, counts=(1.0,))
    kept = make_kept(keeps)
    kept.absorb(reply(("a", "b", "c"), keeps))
    stack = np.array([vector(client) for client in "abc"], dtype=np.float64)
    stack = np.rint(stack * 2**32) / 2**32
    np.testing.assert_array_equal(kept.direction("mean"), (stack.sum(0) / 3).astype(np.float32))
    counts = (stack != 0).sum(0)
    expected = np.where(counts > 0, stack.sum(0) / np.maximum(counts, 1), 0).astype(np.float32)
    np.testing.assert_array_equal(kept.direction("counts/1"), expected)
    np.testing.assert_array_equal(kept.direction("signs"), bits.sign_vector(SEED, BOUNDS[-1]))
    forget(kept, "b")
    np.testing.assert_array_equal(kept.direction("mean"), (stack[[0, 2]].sum(0) / 2).astype(np.float32))


def test_gram_is_the_matrix_of_inner_products(make_kept: Make) -> None:
    keeps = Keeps(gram=True)
    kept = make_kept(keeps, "plain")
    kept.absorb(reply(("b", "a"), keeps, "plain"))
    kept.absorb(reply(("c",), keeps, "plain"))
    kept.seal()
    stack = np.array([vector(client, "plain") for client in "abc"], dtype=np.float64)
    np.testing.assert_allclose(kept.gram(["a", "b", "c"]), stack @ stack.T, rtol=1e-12)
    assert not (kept.folder / "vectors").exists()


def test_a_vector_that_differs_in_one_bit_is_not_subtracted(make_kept: Make) -> None:
    kept = make_kept(EVERYTHING)
    kept.absorb(reply(("a", "b"), EVERYTHING))
    before, again = kept.total.digest(), reply(("a",), EVERYTHING)
    again.arrays["sum"][3] += 1
    with pytest.raises(InputError, match="client a: the task vector derived again differs"):
        kept.subtract("a", again)
    assert kept.total.digest() == before


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
    keeps = Keeps(sum=True, masks=(1.0,))
    kept = make_kept(keeps)
    kept.absorb(reply(("old",), keeps))
    before = kept.digest(keeps)
    with pytest.raises(InputError, match=message):
        kept.absorb(spoil(reply(("a",), keeps)))
    assert kept.digest(keeps) == before


def placed(anchors: object) -> Callable[[Reply], Reply]:
    """Says this of a client's anchors, or nothing."""

    def spoil(good: Reply) -> Reply:
        told = {key: value for key, value in good.facts["tunings"]["a"].items() if key != "anchors"}
        return replace(good, facts={"tunings": {"a": told | ({"anchors": anchors} if anchors is not None else {})}})

    return spoil


@pytest.mark.parametrize(
    "anchors", [None, {}, [1], {"3": 1}, {"2": 0, "3": 3}, {"2": -1, "3": 0}, {"2": 0, "3": True}, {"2": 0, "3": 1.0}]
)
def test_a_number_of_no_anchor_is_refused(make_kept: Make, anchors: object) -> None:
    keeps = Keeps(additive=ADDITIVE[-2:])
    assert keeps.wants().anchors == (2, 3)
    kept = make_kept(keeps)
    with pytest.raises(InputError, match=r"client a: says .* nearest to, expected 0 to 1 for 2, 0 to 2 for 3"):
        kept.absorb(placed(anchors)(reply(("a",), keeps)))
    assert (kept.members, kept.sums[ADDITIVE[-1]].counts) == ({}, {})
    kept.absorb(placed({"2": 1, "3": 2})(reply(("a",), keeps)))
    assert (kept.cluster("a", 2, "anchor"), kept.cluster("a", 3, "anchor")) == (1, 2)
    assert {additive.name: sums.counts for additive, sums in kept.sums.items()} == {
        "vectors-2-1.0-anchor": {1: 1},
        "votes-3-0.5-anchor": {2: 1},
    }
    with pytest.raises(InputError, match="of the anchors it is nearest to, expected nothing"):
        make_kept(Keeps(sum=True)).absorb(placed({"2": 1})(reply(("a",), Keeps(sum=True))))


def test_numbers_of_anchors_are_state_and_are_checked_when_read(make_kept: Make) -> None:
    keeps = Keeps(additive=ADDITIVE[-1:])
    one, other = make_kept(keeps), make_kept(keeps)
    for kept, number in ((one, 0), (other, 1)):
        kept.absorb(placed({"2": number})(reply(("a",), keeps)))
    assert one.digest(keeps) != other.digest(keeps)
    assert one.digest(Keeps()) == other.digest(Keeps())
    one.save()
    path = one.folder / "members.json"
    path.write_text(path.read_text().replace('"2": 0', '"2": 2'))
    with pytest.raises(InputError, match=r"members\.json: damaged: a lies at no anchor"):
        Kept.load(one.folder, "sign_fixed", BOUNDS, keeps, SEED)


def test_a_vector_against_the_signs_is_refused(make_kept: Make) -> None:
    keeps = Keeps(sum=True)
    with pytest.raises(InputError, match="client a: its task vector goes against the shared signs"):
        make_kept(keeps).absorb(reply(("a",), keeps, "plain"))


def test_storage_is_the_bytes_of_the_files_a_strategy_needs(make_kept: Make) -> None:
    keeps = Keeps(sum=True, masks=(0.5, 1.0))
    kept = make_kept(keeps)
    kept.absorb(reply(NAMES, keeps))
    kept.save()
    size = {path: path.stat().st_size for path in kept.folder.rglob("*") if path.is_file()}
    assert kept.storage(Keeps(sum=True)) == size[kept.folder / "sum.safetensors"]
    half = sum(bytes_ for path, bytes_ in size.items() if path.parent.name in ("masks-0.5", "sizes-0.5"))
    assert kept.storage(Keeps(masks=(0.5,))) == half
    assert size[kept.folder / "masks-0.5" / "a.bits"] == 5  # 37 bits


@pytest.mark.parametrize("content", [b"", b"{", b"[1]"])
def test_damaged_state_is_one_clear_error(make_kept: Make, content: bytes) -> None:
    keeps = Keeps(sum=True)
    kept = make_kept(keeps)
    kept.absorb(reply(NAMES, keeps))
    kept.save()
    (kept.folder / "sum.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"sum\.safetensors"):
        Kept.load(kept.folder, "sign_fixed", BOUNDS, keeps, SEED)


def test_a_sum_of_other_clients_is_refused(make_kept: Make) -> None:
    keeps = Keeps(sum=True)
    kept = make_kept(keeps)
    kept.absorb(reply(NAMES, keeps))
    kept.save()
    (kept.folder / "members.json").write_text('{"a": {"digest": "", "recipe": "", "steps": 3}}')
    with pytest.raises(InputError, match="holds 5 vectors of 37 parameters, expected 1 of 37"):
        Kept.load(kept.folder, "sign_fixed", BOUNDS, keeps, SEED)
