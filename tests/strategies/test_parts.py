"""Parts: what each is called, needs, holds and weighs; and that ``Kept`` does all of it for any part."""

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from updates import BOUNDS, SEED, SIZE, reply, shards, vector

from clients.errors import InputError
from clients.exact import bits, digest
from clients.exact.grid import FINE, MOST_VECTORS, Grid, to_grid
from clients.jobs import Reply
from clients.work.contributions import SUM, VECTOR, Wanted, text_of
from strategies.registry import REGISTRY
from strategies.state import clusters
from strategies.state.affinity import Features, Gram
from strategies.state.anchors import Anchors
from strategies.state.cluster_sums import ClusterSums
from strategies.state.kept import Kept, with_needs
from strategies.state.layout import Layout, Shape
from strategies.state.masks import Counts, Masks, Sizes, masked
from strategies.state.part import Part, Whole
from strategies.state.store import called
from strategies.state.sum import Sum
from strategies.state.vectors import EveryVector, Vectors
from strategies.strategy import Strategy, parameters_of

Make = Callable[..., Kept]
NAMES = ("a", "b", "c", "d", "e")
STRANGE = (
    "members", "sum", "merged", "merged.safetensors", "cluster-0", "a/b", "..", ".", "a", "vectors", "clients", "a%2Fb",
    "c.bits", "ü n", "Alice", "alice", "料" * 30, "https://example.org/" + "u" * 230,
)  # fmt: skip
KINDS: tuple[Part, ...] = (
    Sum(), Masks(0.5), Sizes(0.5), Counts(0.3), Vectors(), EveryVector(), Features(), Gram(), Anchors(3),
    ClusterSums("vectors", 2), ClusterSums("dropped", share=0.5), ClusterSums("votes", 3, 0.5),
    ClusterSums("votes", 3, 0.5, "anchor"),
)  # fmt: skip


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def new(name: str, folder: Path, **parameters: Any) -> Strategy[Any]:
    cls = REGISTRY[name]
    return cls(parameters_of(cls).model_validate(parameters), SEED, folder)


# -- names ------------------------------------------------------------------------------------------------------------


def test_names_and_keys_by_hand() -> None:
    """They are on disk, in digests and on the wire."""
    assert [part.name for part in KINDS] == [
        "sum", "masks-0.5", "sizes-0.5", "counts-0.3", "vectors", "every vector", "features", "gram", "anchors-3",
        "vectors-2-1.0", "dropped-1-0.5", "votes-3-0.5", "votes-3-0.5-anchor",
    ]  # fmt: skip
    assert [Masks(1).name, Masks(1.0).name, Sizes(1.0).name, Counts(1e-07).name] == [
        "masks-1", "masks-1", "sizes-1", "counts-1e-07"
    ]  # fmt: skip
    wanted = [SUM, VECTOR, Wanted(what="mask", value=1.0), Wanted(what="size", value=0.25), Wanted(what="anchor", value=3)]
    assert [each.key for each in wanted] == ["sum", "vector", "mask-1", "size-0.25", "anchor-3"]


@given(st.floats(0, 1, exclude_min=True), st.floats(0, 1, exclude_min=True))
def test_names_hold_their_values_exactly(one: float, other: float) -> None:
    for kind in (Masks, Sizes, Counts):
        assert float(kind(one).name.partition("-")[2]) == one
        assert (kind(one) == kind(other)) == (kind(one).name == kind(other).name) == (one == other)
    assert float(text_of(one)) == one
    assert (ClusterSums("votes", 2, one) == ClusterSums("votes", 2, other)) == (one == other)


def test_parts_are_equal_by_kind_and_values() -> None:
    assert len({*KINDS, *KINDS[::-1]}) == len(KINDS)
    assert Masks(0.5) == Masks(0.5) != Masks(0.25)
    assert Masks(0.5) != Sizes(0.5)
    assert hash(Masks(0.5)) == hash(Masks(0.5))
    assert ClusterSums("votes", 3, 0.5) != ClusterSums("votes", 3, 0.5, "anchor")
    assert ClusterSums("votes", 3, 1) == ClusterSums("votes", 3, 1.0)


NEAR = (0.3333333333, 0.333333, 1 / 3)


def test_shares_that_differ_in_the_last_digit_are_kept_apart(make_kept: Make) -> None:
    parts = tuple(part for keep in NEAR for part in (*masked(keep), Counts(keep)))
    kept = make_kept(parts)
    kept.absorb(reply(NAMES, parts))
    kept.save()
    names = ("0.3333333333", "0.333333", "0.3333333333333333")
    assert {path.name for path in (kept.folder / "clients").iterdir()} == {
        f"{w}-{n}" for w in ("masks", "sizes") for n in names
    }
    assert {path.stem for path in kept.folder.glob("counts-*")} == {f"counts-{n}" for n in names}
    assert len({Masks(keep) for keep in NEAR}) == len({kept.digest(masked(keep)) for keep in NEAR}) == 3
    for keep in NEAR:
        masks = np.array([bits.largest_share(vector(client), keep) for client in NAMES])
        np.testing.assert_array_equal(kept[Counts(keep)].counts, masks.sum(0))
        for client, mask in zip(NAMES, masks, strict=True):
            np.testing.assert_array_equal(kept[Masks(keep)].read(client), bits.pack(mask))
        grid = sum(to_grid(vector(client), FINE) for client in NAMES)
        right = np.where(masks.sum(0) > 0, grid / 2.0**32 / np.maximum(masks.sum(0), 1), 0).astype(np.float32)
        np.testing.assert_array_equal(kept.direction(Counts(keep).name), right)


@pytest.mark.parametrize("keep", NEAR)
def test_sift_masks_by_counts_work_at_any_share(keep: float, make_kept: Make, tmp_path: Path) -> None:
    strategy = new("sift_masks", tmp_path / "own", keep=keep, scale="counts", alpha=2.0)
    kept = make_kept(strategy.parts, strategy.rule)
    kept.absorb(reply(NAMES, strategy.parts))
    strategy.localize(kept, lambda kept, jobs: iter(()))
    served: Any = strategy.serve(kept, "b")
    assert (served.direction, served.scale) == (f"counts-{keep!r}", 2.0)
    mask = bits.largest_share(vector("b"), keep)
    np.testing.assert_array_equal(served.mask, bits.pack(mask))
    assert (kept.direction(served.direction)[mask] != 0).all()


# -- clients of any name ------------------------------------------------------------------------------------------------


def test_clients_of_any_name_join_are_found_and_are_erased_alone(make_kept: Make) -> None:
    kept = make_kept(KINDS)
    for start in range(0, len(STRANGE), 3):
        kept.absorb(reply(STRANGE[start : start + 3], KINDS))
    kept.save()
    own = {client: kept.files_of(client) for client in STRANGE}
    assert len({name for names in own.values() for name in names}) == len(STRANGE) * 5  # two masks, sizes, vector, features
    for names in own.values():
        assert len(names) == 5
        for name in names:
            path = kept.store.path(name)
            assert path.is_file()
            assert path.resolve().parent.parent == (kept.folder / "clients").resolve()
    left = files(kept.folder)
    for client in STRANGE:
        np.testing.assert_array_equal(kept[Masks(0.5)].read(client), bits.pack(bits.largest_share(vector(client), 0.5)))
        np.testing.assert_array_equal(kept[EveryVector()].row(client)(slice(None)), vector(client))
        kept.subtract(client, reply((client,), KINDS))
        kept.erase(client)
        assert not [name for name in own[client] if kept.store.has(name)]
        erased = {kept.store.path(name) for name in own[client]}
        left = {path: content for path, content in left.items() if path not in erased}
        assert files(kept.folder) == left
    assert {path.name for path in left} == {"members.json"} | {
        f"{part.name}.safetensors" for part in KINDS if isinstance(part, Whole)
    }
    assert kept.digest(KINDS) == make_kept(KINDS).digest(KINDS)


@settings(max_examples=10, deadline=None)
@given(st.permutations(STRANGE), st.sets(st.sampled_from(STRANGE)))
def test_clients_of_any_name_leave_no_trace(
    tmp_path_factory: pytest.TempPathFactory, order: list[str], leaving: set[str]
) -> None:
    folder = tmp_path_factory.mktemp("kept")
    kept = Kept(folder / "one", "sign_fixed", BOUNDS, KINDS, SEED)
    kept.absorb(reply(tuple(order), KINDS))
    for client in sorted(leaving):
        kept.subtract(client, reply((client,), KINDS))
        kept.erase(client)
    kept.save()
    never = Kept(folder / "two", "sign_fixed", BOUNDS, KINDS, SEED)
    if stay := tuple(client for client in STRANGE if client not in leaving):
        never.absorb(reply(stay, KINDS))
    never.save()
    assert {p.relative_to(kept.folder): c for p, c in files(kept.folder).items()} == {
        p.relative_to(never.folder): c for p, c in files(never.folder).items()
    }
    assert Kept(kept.folder, "sign_fixed", BOUNDS, KINDS, SEED).load().digest(KINDS) == never.digest(KINDS)


NARROW = Grid(23, 2**20, 200)
WIDE = Grid(23, 2**20, 70_000)


@settings(max_examples=10, deadline=None)
@given(st.permutations(NAMES), st.sets(st.sampled_from(NAMES)))
def test_sums_and_counters_of_few_bytes_are_the_same_state(
    tmp_path_factory: pytest.TempPathFactory, order: list[str], leaving: set[str]
) -> None:
    """int32 and uint8 where 200 may join, int64 and uint32 where 70,000 may: equal digests, and prices of the real files."""
    folder, kinds = tmp_path_factory.mktemp("kept"), [part for part in KINDS if part not in (Gram(), KINDS[-1])]
    digests, left = [], tuple(client for client in NAMES if client not in leaving)
    for grid, total, counter in ((NARROW, np.int32, np.uint8), (WIDE, np.int64, np.uint32)):
        kept = Kept(folder / str(grid.most), "sign_fixed", BOUNDS, kinds, SEED, grid=grid)
        for client in order:
            kept.absorb(reply((client,), kinds, grid=grid))
        for client in sorted(leaving):
            kept.subtract(client, reply((client,), kinds, grid=grid))
            kept.erase(client)
        kept.save()
        votes, vectors = kept[ClusterSums("votes", 3, 0.5)], kept[ClusterSums("vectors", 2)]
        assert (kept[Sum()].total.total.dtype, kept[Counts(0.3)].counts.dtype) == (total, counter)
        assert {array.dtype for array in votes.totals.values()} <= {np.dtype(counter)}
        assert {array.dtype for array in vectors.totals.values()} <= {np.dtype(total)}
        right = np.sum([np.rint(vector(client) * 2.0**23) for client in left] + [np.zeros(SIZE)], axis=0)
        np.testing.assert_array_equal(kept[Sum()].total.total, right)
        layout = Layout(SIZE, 2, SEED, 4, grid)
        for part in kinds:
            assert part.bytes(layout, left) == kept.storage((part,))
            assert part.memory(layout, left) == held(kept[part])
        digests.append(kept.digest(kinds))
        loaded = Kept(kept.folder, "sign_fixed", BOUNDS, kinds, SEED, grid=grid).load()
        assert loaded.digest(kinds) == digests[0]
        other = NARROW if grid is WIDE else WIDE
        with pytest.raises(InputError, match=r"sum\.safetensors: not an exact sum \(needs int"):
            Kept(kept.folder, "sign_fixed", BOUNDS, (Sum(),), SEED, grid=other).load()
    assert digests[0] == digests[1]


def test_a_vector_beyond_the_bound_is_refused_by_name_and_nothing_is_added() -> None:
    """What tuning cannot reach is a bug, or no task vector."""
    for wrong in (Sum(), ClusterSums("vectors", 2)):
        kept = Kept(Path("nowhere"), "sign_fixed", BOUNDS, (wrong,), SEED, grid=Grid(23, 100, 5))
        before = kept.digest((wrong,))
        with pytest.raises(InputError, match=r"a: its sum is beyond what 1 vectors|client a: a vector has NaN, infinite or"):
            kept.absorb(reply(("a",), (wrong,), grid=NARROW))
        assert (kept.digest((wrong,)), kept.members) == (before, {})


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        (np.zeros(SIZE, dtype=np.uint16), r"uint16 \(37,\), expected uint8 \(37,\)"),
        (np.zeros(SIZE - 1, dtype=np.uint8), r"uint8 \(36,\), expected uint8 \(37,\)"),
        (np.full(SIZE, 3, dtype=np.uint8), "counts more than 2 masks"),
        (None, r"float64 \(0,\), expected uint8"),
    ],
)
def test_counts_that_cannot_be_are_damaged(tmp_path: Path, counts: np.ndarray | None, said: str) -> None:
    kept = Kept(tmp_path / "kept", "sign_fixed", BOUNDS, (Counts(0.3),), SEED, grid=NARROW)
    kept.absorb(reply(("a", "b"), (Counts(0.3),), grid=NARROW))
    kept.save()
    kept[Counts(0.3)].write({"counts": counts} if counts is not None else {"other": np.zeros(1)})
    with pytest.raises(InputError, match=rf"counts-0\.3\.safetensors: damaged: {said}"):
        Kept(kept.folder, "sign_fixed", BOUNDS, (Counts(0.3),), SEED, grid=NARROW).load()


@pytest.mark.parametrize("name", ["tall", "emr"])
def test_masks_of_clients_of_any_name_are_found_and_are_erased_alone(name: str, make_kept: Make, tmp_path: Path) -> None:
    parameters = {"density": 0.5, "alpha": 1.0} if name == "tall" else {}
    strategy = new(name, tmp_path / "own", **parameters)
    kept = make_kept(strategy.parts, "plain")
    kept.absorb(reply(STRANGE, strategy.parts, "plain"))
    strategy.localize(kept, lambda kept, jobs: iter(()))
    own = {client: [strategy.store.path(name) for name in strategy.files_of(client)] for client in STRANGE}
    assert len({path for paths in own.values() for path in paths}) == len(STRANGE)
    for client, (path,) in own.items():
        assert path.is_file()
        assert path.resolve().parent == (strategy.folder / "clients").resolve()
        served: Any = strategy.serve(kept, client)
        np.testing.assert_array_equal(served.mask, np.frombuffer(path.read_bytes(), dtype=np.uint8))
    assert set(files(strategy.folder)) == {strategy.folder / "merged.safetensors"} | {path for (path,) in own.values()}
    stay = list(STRANGE)
    for client in STRANGE:
        kept.erase(client)
        strategy.localize(kept, lambda kept, jobs: iter(()))
        stay.remove(client)
        merged = {strategy.folder / "merged.safetensors"} if stay else set()
        assert set(files(strategy.folder)) == merged | {own[each][0] for each in stay}


def test_files_of_clusters_and_merged_vectors_are_of_no_client(make_kept: Make, tmp_path: Path) -> None:
    strategy = new("emr", tmp_path / "own", clusters=2)
    kept = make_kept(strategy.parts, "plain")
    kept.absorb(reply(STRANGE, strategy.parts, "plain"))
    strategy.localize(kept, lambda kept, jobs: iter(()))
    made = {path.name for path in files(strategy.folder)}
    assert made == {"merged.safetensors", "cluster-0.bits", "cluster-1.bits"}
    assert not [name for client in STRANGE for name in strategy.files_of(client) if strategy.store.has(name)]


# -- needs ----------------------------------------------------------------------------------------------------------------


def all_needed(parts: Iterable[Part], joining: bool) -> set[Part]:
    found = set(parts)
    while more := {n for p in found for n in (*p.needs(), *(p.needs_to_join() if joining else ()))} - found:
        found |= more
    return found


@given(st.permutations(KINDS).flatmap(lambda parts: st.integers(0, len(parts)).map(lambda count: tuple(parts[:count]))))
def test_needs_come_first_and_once(parts: tuple[Part, ...]) -> None:
    joining, lasting = with_needs(parts), with_needs(parts, joining=False)
    for found in (joining, lasting):
        assert len(set(found)) == len(found)
        for place, part in enumerate(found):
            assert set(part.needs()) <= set(found[:place])
    for place, part in enumerate(joining):
        assert set(part.needs_to_join()) <= set(joining[:place])
    assert (set(joining), set(lasting)) == (all_needed(parts, True), all_needed(parts, False))
    assert list(Kept(Path("nowhere"), "plain", BOUNDS, parts, SEED).parts) == joining


def test_needs_by_hand() -> None:
    assert with_needs([Counts(0.5)]) == [Sum(), Masks(0.5), Counts(0.5)]
    assert with_needs([Masks(0.5), Counts(0.5), Sum()]) == [Masks(0.5), Sum(), Counts(0.5)]
    assert with_needs([Gram()]) == [Vectors(), Gram()]
    assert with_needs([Gram()], joining=False) == [Gram()]
    assert with_needs([EveryVector(), Gram()], joining=False) == [Vectors(), EveryVector(), Gram()]
    by_anchor = ClusterSums("votes", 3, 0.5, "anchor")
    assert with_needs([by_anchor, ClusterSums("votes", 3)]) == [Anchors(3), by_anchor, ClusterSums("votes", 3)]
    assert with_needs([]) == []


@pytest.mark.parametrize(
    ("parts", "lasts"),
    [
        ((Gram(),), False),
        ((Sum(), Gram(), Features()), False),
        ((Gram(), Vectors()), True),
        ((Vectors(), Gram()), True),
        ((Gram(), EveryVector()), True),
        ((EveryVector(), Gram(), ClusterSums("votes", 2)), True),
        ((Vectors(),), True),
    ],
)
def test_sealing_drops_only_what_was_needed_to_join(parts: tuple[Part, ...], lasts: bool, make_kept: Make) -> None:
    kept = make_kept(parts)
    kept.absorb(reply(NAMES, parts))
    before, storage = kept.digest(parts), kept.storage(parts)
    paths = [kept.folder / "clients" / "vectors" / f"{called(client)}.safetensors" for client in NAMES]
    assert [path.exists() for path in paths] == [True] * 5
    kept.seal()
    assert [path.exists() for path in paths] == [lasts] * 5
    assert (kept.folder / "clients" / "vectors").exists() == lasts
    assert (kept.digest(parts), kept.storage(parts)) == (before, storage)
    if lasts:
        np.testing.assert_array_equal(kept[Vectors()].row("b")(slice(None)), vector("b"))
    kept.save()
    loaded = Kept(kept.folder, "sign_fixed", BOUNDS, parts, SEED).load()
    assert loaded.digest(parts) == before
    for each in (kept, loaded):
        each.subtract("b", reply(("b",), parts))
        each.erase("b")
    assert kept.digest(parts) == loaded.digest(parts) != before


def test_a_direction_that_no_part_gives_is_a_key_error(make_kept: Make) -> None:
    kept = make_kept((Masks(0.5), Vectors()), "plain")
    for name in ("mean", "counts-0.5", "vectors-2-1.0/0", "signs"):
        with pytest.raises(KeyError, match=name):
            kept.direction(name)
    np.testing.assert_array_equal(make_kept((), "sign_fixed").direction("signs"), bits.sign_vector(SEED, SIZE))


# -- a part from outside --------------------------------------------------------------------------------------------------


class NonZeros(Whole):
    """How many entries each client has changed, and by how many clients each entry has been changed: int64 [d]."""

    name = "nonzeros"
    summed = True
    directions = "nonzeros"
    changed: np.ndarray
    numbers: dict[str, int]

    def wants(self) -> Mapping[Wanted, Shape | None]:
        return {Wanted(what="vector"): ((self.kept.size,), np.float32)}

    def start(self) -> None:
        self.changed, self.numbers = np.zeros(self.kept.size, dtype=np.int64), {}

    def imagine(self, members: Iterable[str]) -> None:
        self.numbers = dict.fromkeys(members, 0)

    def add(self, client: str, sent: Mapping[Wanted, np.ndarray]) -> None:
        (tau,) = sent.values()
        self.changed += tau != 0
        self.numbers[client] = int((tau != 0).sum())

    def take_out(self, client: str, grid: np.ndarray) -> None:
        self.changed -= grid != 0

    def erase(self, client: str) -> None:
        del self.numbers[client]

    def direction(self, rest: str) -> np.ndarray:
        return self.changed.astype(np.float32) * float(rest or 1)

    def save(self) -> None:
        numbers = np.array([self.numbers[client] for client in sorted(self.numbers)], dtype=np.int64)
        self.write({"changed": self.changed, "numbers": numbers})

    def load(self) -> None:
        found = self.read()
        self.changed = found["changed"].copy()
        self.numbers = dict(zip(sorted(self.kept.members), found["numbers"].tolist(), strict=True))

    def digest(self) -> dict[str, Any]:
        return {self.name: [digest.of_array(self.changed), self.numbers]}

    def layout(self, size: Layout, members: tuple[str, ...]) -> dict[str, Mapping[str, Shape]]:
        return {self.name: {"changed": ((size.size,), np.int64), "numbers": ((len(members),), np.int64)}}

    def memory(self, size: Layout, members: tuple[str, ...]) -> int:
        return 8 * size.size


def nonzeros(clients: Sequence[str], count: int = SIZE) -> np.ndarray:
    return sum(((vector(client) != 0).astype(np.int64) for client in clients), np.zeros(count, dtype=np.int64))


def test_a_part_from_outside_is_folded_erased_digested_saved_and_priced(make_kept: Make) -> None:
    parts = (NonZeros(),)
    kept = make_kept(parts)
    assert kept.wants() == {Wanted(what="vector"): ((SIZE,), np.float32)}
    kept.absorb(reply(("c", "a"), parts))
    kept.absorb(reply(("b",), parts))
    part = kept[NonZeros()]
    np.testing.assert_array_equal(part.changed, nonzeros("abc"))
    assert part.numbers == {client: int((vector(client) != 0).sum()) for client in "abc"}
    np.testing.assert_array_equal(kept.direction("nonzeros"), nonzeros("abc"))
    np.testing.assert_array_equal(kept.direction("nonzeros/3"), 3 * nonzeros("abc"))
    assert kept.storage(parts) == 0
    kept.save()
    path = kept.folder / "nonzeros.safetensors"
    layout = Layout(SIZE, 2, SEED)
    assert kept.storage(parts) == path.stat().st_size == part.bytes(layout, ("a", "b", "c"))
    assert Kept(kept.folder, "sign_fixed", BOUNDS, parts, SEED).load().digest(parts) == kept.digest(parts) != kept.digest(())
    before = kept.digest(parts)
    wrong = reply(("b",), parts)
    wrong.arrays["sum"][0] += 1
    with pytest.raises(InputError, match="client b: the task vector derived again differs"):
        kept.subtract("b", wrong)
    assert kept.digest(parts) == before
    kept.subtract("b", reply(("b",), (Sum(),)))
    kept.erase("b")
    np.testing.assert_array_equal(part.changed, nonzeros("ac"))
    np.testing.assert_array_equal(kept.direction("nonzeros"), nonzeros("ac"))  # not what was read before
    never = make_kept(parts)
    never.absorb(reply(("a", "c"), parts))
    assert kept.digest(parts) == never.digest(parts) != before
    kept.save()
    assert '"b"' not in (kept.folder / "members.json").read_text()
    assert Kept(kept.folder, "sign_fixed", BOUNDS, parts, SEED).load()[NonZeros()].numbers == part.numbers


def test_a_part_from_outside_stands_beside_the_others(make_kept: Make, tmp_path: Path) -> None:
    parts = (*KINDS, NonZeros())
    kept, without = make_kept(parts), make_kept(KINDS)
    for each in (kept, without):
        each.absorb(reply(NAMES, parts))
    assert kept.digest(KINDS) == without.digest(KINDS)
    assert kept.storage(KINDS) == without.storage(KINDS)

    class Counting(Strategy[Any]):
        parts = (NonZeros(),)
        rule = "sign_fixed"

        def serve(self, kept: Kept, client: str) -> Any:
            raise NotImplementedError

    cls = REGISTRY["average"]
    strategy = Counting(parameters_of(cls)(), SEED, tmp_path / "own")
    assert (strategy.derives, strategy.rereads) == (True, False)
    strategy.chosen = {"k": 1}
    before = strategy.digest(kept)
    kept.subtract("a", reply(("a",), parts))
    kept.erase("a")
    assert strategy.digest(kept) != before
    kept.save()
    assert strategy.storage(kept) == (kept.folder / "nonzeros.safetensors").stat().st_size


# -- prices ---------------------------------------------------------------------------------------------------------------


def held(part: Part) -> int:
    """Bytes of the arrays of vectors' size that an open part holds."""
    if isinstance(part, Sum):
        return part.total.total.nbytes
    if isinstance(part, ClusterSums):
        return sum(total.nbytes for total in part.totals.values())
    if isinstance(part, Counts):
        return part.counts.nbytes
    return part.changed.nbytes if isinstance(part, NonZeros) else 0


def joined(folder: Path, parts: tuple[Part, ...], bounds: tuple[int, ...], width: int, clients: tuple[str, ...]) -> Kept:
    """A state of vectors of this layout; the anchor that a client is nearest to is taken to be the hash of its name."""
    kept = Kept(folder, "plain", bounds, parts, SEED)
    if not clients:
        return kept
    arrays: dict[str, np.ndarray] = {}
    tunings: dict[str, Any] = {}
    total = np.zeros(bounds[-1], dtype=np.int64)
    for place, client in enumerate(clients):
        tau = np.random.default_rng(place).normal(size=bounds[-1]).astype(np.float32)
        total += to_grid(tau, FINE)
        tunings[client] = {"digest": digest.of_integers(to_grid(tau, FINE)), "recipe": "", "steps": 1}
        for wanted in kept.wants():
            value = float(wanted.value or 0)
            arrays[f"{wanted.key}/{client}"] = {
                "vector": lambda tau=tau: tau,
                "mask": lambda tau=tau, value=value: bits.pack(bits.largest_share(tau, value)),
                "size": lambda: np.ones(len(bounds) - 1, dtype=np.float32),
                "features": lambda: np.ones(width, dtype=np.float32),
                "anchor": lambda client=client, value=value: np.array([clusters.number(client, int(value), SEED)]),
                "sum": lambda tau=tau: tau,  # that of all is set below
            }[wanted.what]()
    kept.absorb(Reply(clients, {"tunings": tunings}, arrays | {"sum": total}))
    return kept


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 200), min_size=1, max_size=12),
    width=st.integers(1, 40),
    clients=st.lists(st.sampled_from(STRANGE) | st.integers(0, 9**9).map(str), max_size=14, unique=True),
    count=st.integers(4, 120),
)
def test_bytes_and_memory_are_those_of_the_real_files_and_arrays(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], width: int, clients: list[str], count: int
) -> None:
    bounds = tuple(itertools.accumulate(sizes, initial=0))
    more = (ClusterSums("vectors", count), ClusterSums("votes", count, 0.5), ClusterSums("dropped", count, 0.5))
    parts = (*KINDS, *more, NonZeros())
    members = tuple(clients)
    kept = joined(tmp_path_factory.mktemp("kept") / "kept", parts, bounds, width, members)
    kept.save()
    layout = Layout(bounds[-1], len(sizes), SEED, width)
    assert {part.name: part.bytes(layout, members) for part in parts} == {part.name: kept.storage((part,)) for part in parts}
    assert {part.name: part.memory(layout, members) for part in parts} == {part.name: held(kept[part]) for part in parts}
    everything = sum(path.stat().st_size for path in kept.folder.rglob("*") if path.is_file())
    needed = [part for part in kept.parts if part not in parts]
    assert everything == kept.storage(parts) + kept.storage(needed) + (kept.folder / "members.json").stat().st_size


@pytest.mark.parametrize("count", [255, 256, 600])
def test_bytes_of_votes_grow_with_the_members_of_a_cluster(count: int, tmp_path: Path) -> None:
    parts = (ClusterSums("votes", share=0.5), ClusterSums("votes", 2, 0.5))
    members = tuple(f"u{number}" for number in range(count))
    kept = joined(tmp_path / "kept", parts, (0, 9), 0, members)
    kept.save()
    sizes = [part.bytes(Layout(9, 1, SEED), members) for part in parts]
    assert sizes == [kept.storage((part,)) for part in parts]
    (total,) = kept[parts[0]].read()["0"][None]
    assert total.itemsize == (1 if count == 255 else 2)


def test_an_imagined_state_has_members_and_zeros_but_no_files(make_kept: Make) -> None:
    kept = make_kept(KINDS)
    kept.imagine(NAMES)
    assert sorted(kept.members) == list(NAMES)
    np.testing.assert_array_equal(kept[Masks(0.5)].read("a"), np.zeros(5, dtype=np.uint8))
    np.testing.assert_array_equal(kept[Sizes(0.5)].read("a"), np.zeros(2, dtype=np.float32))
    np.testing.assert_array_equal(kept[EveryVector()].row("a")(slice(3, 9)), np.zeros(6, dtype=np.float32))
    np.testing.assert_array_equal(kept.direction("mean"), np.zeros(SIZE))
    np.testing.assert_array_equal(kept.direction("counts-0.3"), np.zeros(SIZE))
    layout = Layout(SIZE, 2, SEED)
    for part in KINDS:
        assert held(kept[part]) == part.memory(layout, NAMES)
    votes = kept[ClusterSums("votes", 3, 0.5)]
    hashes = [clusters.number(client, 3, SEED) for client in NAMES]
    assert votes.counts == {k: hashes.count(k) for k in set(hashes)} == kept[KINDS[-1]].counts  # type: ignore[attr-defined]
    for near in (kept[Gram()], kept[Features()]):
        assert near.clusters(2) == [["a", "c", "e"], ["b", "d"]]
    assert not kept.folder.exists()


# -- all of a reply, or nothing ---------------------------------------------------------------------------------------------


def larger(good: Reply) -> Reply:
    """A sum that no two vectors have."""
    total = good.arrays["sum"].copy()
    total[5] = 2 * FINE.largest + 1
    return replace(good, arrays=good.arrays | {"sum": total})


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Reply], Reply]:
    return lambda good: replace(good, arrays=good.arrays | {name: change(good.arrays[name])})


def without(name: str) -> Callable[[Reply], Reply]:
    return lambda good: replace(good, arrays={key: value for key, value in good.arrays.items() if key != name})


def notanumber(array: np.ndarray) -> np.ndarray:
    found = array.copy()
    found[0] = np.nan
    return found


SPOILT: dict[str, Callable[[Reply], Reply]] = {
    "no sum": without("sum"),
    "wrong sum": changed("sum", lambda total: total + 1),
    "sum of floats": changed("sum", lambda total: total.astype(np.float64)),
    "too large a sum": larger,
    "no mask": without("mask-0.5/y"),
    "short mask": changed("mask-0.5/y", lambda mask: mask[:-1]),
    "mask of bools": changed("mask-0.5/y", lambda mask: mask.astype(bool)),
    "long sizes": changed("size-0.5/y", lambda sizes: np.append(sizes, sizes)),
    "no features": without("features/y"),
    "double vector": changed("vector/y", lambda tau: 2 * tau),
    "vector of doubles": changed("vector/y", lambda tau: tau.astype(np.float64)),
    "not a number": changed("vector/y", notanumber),
    "other signs": changed("vector/y", lambda tau: -tau),
    "no such anchor": changed("anchor-3/y", lambda number: number + 3),
    "other clients": lambda good: replace(good, facts={"tunings": {"x": good.facts["tunings"]["x"]}}),
    "a known one": lambda good: replace(good, clients=("x", "a")),
    "one twice": lambda good: replace(good, clients=("x", "x")),
}


@pytest.mark.parametrize("spoil", SPOILT)
@pytest.mark.parametrize("backwards", [False, True])
def test_a_refused_reply_changes_nothing(spoil: str, backwards: bool, make_kept: Make) -> None:
    parts = KINDS[::-1] if backwards else KINDS
    kept = make_kept(parts)
    kept.absorb(reply(NAMES, parts))
    mean = kept.direction("mean").copy()
    before = kept.digest(parts), json.dumps(kept.members), files(kept.folder)
    with pytest.raises(InputError):
        kept.absorb(SPOILT[spoil](reply(("x", "y"), parts)))
    assert (kept.digest(parts), json.dumps(kept.members), files(kept.folder)) == before
    np.testing.assert_array_equal(kept.direction("mean"), mean)
    kept.absorb(reply(("x", "y"), parts))  # and the right one is still taken
    right = make_kept(parts)
    right.absorb(reply((*NAMES, "x", "y"), parts))
    assert kept.digest(parts) == right.digest(parts)


@pytest.mark.parametrize("clients", [("x",), ("x", "y")])
@pytest.mark.parametrize("parts", [(*masked(0.5), Sum()), (Counts(0.5), Features(), Sum())], ids=["masks", "counts"])
def test_a_sum_beyond_what_vectors_can_have_changes_nothing(
    parts: tuple[Part, ...], clients: tuple[str, ...], make_kept: Make
) -> None:
    """Nobody's vector is wanted, so the sum is all that there is to see; masks are folded before it."""
    kept = make_kept(parts, "plain")
    kept.absorb(reply(NAMES, parts, "plain"))
    before = kept.digest(parts), json.dumps(kept.members), files(kept.folder)
    spoilt = larger(reply(clients, parts, "plain"))
    if len(clients) == 1:  # it claims the digest of what it sends
        spoilt.facts["tunings"]["x"]["digest"] = digest.of_array(spoilt.arrays["sum"])
    with pytest.raises(InputError, match="beyond"):
        kept.absorb(spoilt)
    assert (kept.digest(parts), json.dumps(kept.members), files(kept.folder)) == before


def test_more_vectors_than_a_sum_holds_change_nothing(make_kept: Make) -> None:
    parts = (*masked(0.5), Sum())
    kept = make_kept(parts)
    kept.register(shards(f"u{number}" for number in range(MOST_VECTORS - 1)))
    kept[Sum()].total.count = MOST_VECTORS - 1
    with pytest.raises(InputError, match="holds 0 to 65536 vectors, not 65537"):
        kept.absorb(reply(("x", "y"), parts))
    assert (len(kept.members), files(kept.folder)) == (MOST_VECTORS - 1, {})
    kept.absorb(reply(("x",), parts))
    assert len(kept.members) == MOST_VECTORS
