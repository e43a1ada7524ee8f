"""Every strategy: forgetting leaves the state of those who never met the forgotten, and no file or name of it."""

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from updates import BOUNDS, SEED, SIZE, anchor, reply, vector

from clients.errors import InputError
from clients.exact import bits
from clients.jobs import Job, Reply
from clients.work.served import BASE, Masked, Served
from strategies.rebuild import breadcrumbs, consensus, emr, magmax, tall, ties
from strategies.registry import REGISTRY
from strategies.state import clusters, streaming
from strategies.state.cluster_sums import ClusterSums
from strategies.state.kept import Kept
from strategies.state.store import called
from strategies.state.sum import Sum
from strategies.state.vectors import EveryVector, Vectors
from strategies.strategy import Ask, Strategy, parameters_of

Make = Callable[..., Kept]
NAMES = ("a", "b", "c", "d", "e", "f", "g")
CHANGED: dict[str, dict[str, Any]] = {"ties": {"scale": [0.5, 1.0]}, "breadcrumbs": {"density": 0.5, "gamma": 0.1}}
MERGING: dict[str, dict[str, Any]] = {
    name: CHANGED.get(name, {}) for name, row in REGISTRY.items() if row.deletion == "rebuild"
}
CASES: list[tuple[str, dict[str, Any]]] = [
    *MERGING.items(),
    ("tall", {"clusters": 3, "density": 0.3}),
    ("emr", {"clusters": 3}),
    ("task_arithmetic", {}),
    ("cluster_average", {"clusters": 3}),
    ("dare", {"alpha": [0.5, 1.0]}),
    ("vote_masks", {"clusters": 3}),
    ("cluster_average", {"clusters": 3, "by": "anchor"}),
    ("vote_masks", {"clusters": 3, "by": "anchor"}),
    ("average", {"alpha": [0.5, 1.0]}),
    ("sift_masks", {"keep": 0.5}),
    ("clamu", {"clusters": 2, "affinity": "task_vectors"}),
]
BY_NAME = [f"{name}-{index}" for index, (name, _) in enumerate(CASES)]


def new(name: str, folder: Path, **parameters: Any) -> Strategy[Any]:
    cls = REGISTRY[name]
    return cls(parameters_of(cls).model_validate(parameters), SEED, folder)


def answering(strategy: Strategy[Any]) -> Ask:
    """Clients that like models near a vector of their own: scores follow from what is served, and are never equal."""

    def ask(kept: Kept, jobs: Sequence[Job]) -> Iterator[tuple[int, Reply]]:
        shared = {name: strategy.direction(kept, name) for job in jobs for name in job.shared}
        for index in reversed(range(len(jobs))):
            job = jobs[index]
            if job.kind == "learn_mask":
                rng = np.random.default_rng(crc32("".join(job.clients).encode()))
                yield index, Reply(job.clients, {}, {"mask": bits.pack(rng.random(SIZE) < 0.5)})
                continue
            scores = []
            for i, (client, item) in enumerate(zip(job.clients, job.facts["items"], strict=True)):
                mask = job.arrays.get(f"{i}/mask")
                ones = np.ones(SIZE) if mask is None else bits.unpack(mask, SIZE)
                models = [scale * ones * shared[item["direction"]] for scale in item["scales"]]
                scores.append([-float(np.abs(model - vector(client, str(kept.rule))).sum()) for model in models])
            yield index, Reply(job.clients, {"scores": scores})

    return ask


def joined(strategy: Strategy[Any], make: Make, clients: Sequence[str]) -> Kept:
    kept = make(strategy.parts, strategy.rule)
    for start in range(0, len(clients), 2):
        kept.absorb(reply(tuple(clients[start : start + 2]), strategy.parts, str(strategy.rule)))
    kept.seal()
    strategy.localize(kept, answering(strategy))
    kept.save()
    strategy.save()
    return kept


def same(one: Served, other: Served) -> None:
    assert type(one) is type(other)
    np.testing.assert_equal(vars(one), vars(other))


def forget(strategy: Strategy[Any], kept: Kept, client: str) -> None:
    assert strategy.derives == (strategy.deletion in ("subtract", "relearn"))
    assert strategy.rereads == (strategy.deletion == "rebuild")
    if strategy.derives:
        kept.subtract(client, reply((client,), (Sum(),), str(strategy.rule)))
    kept.erase(client)


@pytest.mark.parametrize(("name", "parameters"), CASES, ids=BY_NAME)
@pytest.mark.parametrize("leaving", [("c",), ("g", "a", "d"), NAMES])
def test_forgotten_is_never_joined(
    name: str, parameters: dict[str, Any], leaving: tuple[str, ...], make_kept: Make, tmp_path: Path
) -> None:
    order = random.Random(name).sample(NAMES, len(NAMES))
    strategy = new(name, tmp_path / "one", **parameters)
    kept = joined(strategy, make_kept, order)
    before = strategy.digest(kept)
    for client in leaving:
        forget(strategy, kept, client)
    strategy.localize(kept, answering(strategy))
    kept.save()
    strategy.save()

    never = new(name, tmp_path / "two", **parameters)
    fresh = joined(never, make_kept, [client for client in NAMES if client not in leaving])
    assert strategy.digest(kept) == never.digest(fresh) != before
    assert strategy.chosen == never.chosen
    for client in (*NAMES, "nobody"):
        same(strategy.serve(kept, client), never.serve(fresh, client))
    if leaving != NAMES:  # headers of files that hold clusters differ in nothing else
        assert strategy.storage(kept) == never.storage(fresh)

    folders, gone = (kept.folder, strategy.folder), {called(client) for client in leaving}
    assert not [path for folder in folders for path in folder.rglob("*") if path.stem in gone]
    texts = [path.read_text() for folder in folders for path in folder.rglob("*.json")]
    assert not [client for client in leaving for text in texts if f'"{client}"' in text]

    again = new(name, tmp_path / "one", **parameters)
    again.load()
    loaded = Kept(kept.folder, strategy.rule, BOUNDS, strategy.parts, SEED).load()
    assert again.digest(loaded) == strategy.digest(kept)
    if leaving == NAMES:
        served = strategy.serve(kept, "nobody")
        assert isinstance(served, Masked)
        assert served == BASE or not strategy.direction(kept, str(served.direction)).any()


def rows(clients: Sequence[str] = NAMES) -> list[streaming.Row]:
    return [vector(client, "plain").__getitem__ for client in clients]


@pytest.mark.parametrize("name", MERGING)
def test_storage_is_the_merged_vector_and_a_bit_per_entry_of_each_mask(name: str, make_kept: Make, tmp_path: Path) -> None:
    strategy = new(name, tmp_path / "own", **MERGING[name])
    kept = joined(strategy, make_kept, NAMES)
    merged = tmp_path / "own" / "merged.safetensors"
    assert 4 * SIZE < merged.stat().st_size < 4 * SIZE + 100
    masks = 5 * len(NAMES) if name in ("tall", "emr") else 0  # 37 bits are 5 bytes
    assert strategy.storage(kept) == merged.stat().st_size + masks
    assert len(list((kept.folder / "clients" / "vectors").iterdir())) == len(NAMES)  # cached, not charged
    assert kept.digest(strategy.parts) == kept.digest(())


def test_one_model_methods_serve_their_merge_to_everybody(make_kept: Make, tmp_path: Path) -> None:
    merges = {
        "ties": ties.merge(rows(), SIZE, 0.2),
        "magmax": magmax.merge(rows(), SIZE),
        "breadcrumbs": breadcrumbs.merge(rows(), BOUNDS, 0.5, 0.1),
        "consensus": consensus.merge(rows(), SIZE, 0.3, 2),
    }
    for name, merged in merges.items():
        strategy = new(name, tmp_path / name, **MERGING[name])
        kept = joined(strategy, make_kept, NAMES)
        np.testing.assert_array_equal(strategy.direction(kept, "merged"), merged)
        grid = strategy.scales if isinstance(strategy.scales, tuple) else (strategy.scales,)
        far = [sum(np.abs(scale * merged - vector(client, "plain")).sum() for client in NAMES) for scale in grid]
        assert strategy.serve(kept, "a") == strategy.serve(kept, "nobody") == Masked("merged", grid[int(np.argmin(far))])


def test_emr_serves_its_mask_and_scale_to_members_and_the_mean_scale_to_others(make_kept: Make, tmp_path: Path) -> None:
    strategy = new("emr", tmp_path / "own")
    kept = joined(strategy, make_kept, NAMES)
    unified = emr.unify(rows(), SIZE)
    np.testing.assert_array_equal(strategy.direction(kept, "merged"), unified)
    pairs = dict(zip(NAMES, emr.masks_and_scales(rows(), unified), strict=True))
    for client, (mask, scale) in pairs.items():
        same(strategy.serve(kept, client), Masked("merged", scale, mask))
    others = strategy.serve(kept, "nobody")
    assert others == Masked("merged", pytest.approx(np.mean([scale for _, scale in pairs.values()])))


def test_tall_serves_the_masked_mean_at_the_best_density_and_alpha(make_kept: Make, tmp_path: Path) -> None:
    densities, alphas = (0.7, 0.3), (2.0, 1.0)
    strategy = new("tall", tmp_path / "own", density=densities, alpha=alphas)
    kept = joined(strategy, make_kept, NAMES)
    total = streaming.total(rows(), SIZE)
    masks = {
        (density, client): bits.unpack(tall.tall_mask(row, total, tall.threshold_for(row, total, density)), SIZE)
        for density in densities
        for client, row in zip(NAMES, rows(), strict=True)
    }
    far = {
        (density, alpha): sum(
            float(np.abs(alpha * masks[density, client] * (total / len(NAMES)) - vector(client, "plain")).sum())
            for client in NAMES
        )
        for density in densities
        for alpha in alphas
    }
    density, alpha = min(far, key=lambda pair: far[pair])
    assert strategy.chosen == {"density": density, "alpha": alpha}
    np.testing.assert_array_equal(strategy.direction(kept, "merged"), total / np.float32(len(NAMES)))
    for client in NAMES:
        same(strategy.serve(kept, client), Masked("merged", alpha, bits.pack(masks[density, client])))
    assert strategy.serve(kept, "nobody") == Masked("merged")


def test_clusters_are_merged_as_clients_of_their_mean(make_kept: Make, tmp_path: Path) -> None:
    strategy = new("emr", tmp_path / "own", clusters=3)
    kept = joined(strategy, make_kept, NAMES)
    groups = {k: [c for c in NAMES if clusters.number(c, 3, SEED) == k] for k in range(3)}
    means = {
        k: np.mean([vector(c, "plain").astype(np.float64) for c in group], axis=0).astype(np.float32)
        for k, group in groups.items()
        if group
    }
    unified = emr.unify([mean.__getitem__ for mean in means.values()], SIZE)
    np.testing.assert_array_equal(strategy.direction(kept, "merged"), unified)
    for k, mean in means.items():
        ((mask, scale),) = emr.masks_and_scales([mean.__getitem__], unified)
        for client in groups[k]:
            same(strategy.serve(kept, client), Masked("merged", scale, mask))
    assert set(strategy.masks()) == {f"cluster-{k}" for k in means}


def close(found: np.ndarray, right: np.ndarray) -> None:
    np.testing.assert_allclose(found, right, rtol=1e-5, atol=2**-31)


def test_task_arithmetic_serves_a_multiple_of_the_sum(make_kept: Make, tmp_path: Path) -> None:
    strategy = new("task_arithmetic", tmp_path / "own", scale=0.25)
    kept = joined(strategy, make_kept, NAMES)
    served = strategy.serve(kept, "a")
    total = np.sum([vector(client, "plain").astype(np.float64) for client in NAMES], axis=0)
    close(served.scale * kept.direction(str(served.direction)), 0.25 * total)
    forget(strategy, kept, "c")
    strategy.localize(kept, answering(strategy))
    served = strategy.serve(kept, "nobody")
    close(served.scale * kept.direction(str(served.direction)), 0.25 * (total - vector("c", "plain")))


def cluster_of(by: str, client: str, count: int) -> int:
    return anchor(client, count) if by == "anchor" else clusters.number(client, count, SEED)


@pytest.mark.parametrize("by", ["hash", "anchor"])
def test_cluster_average_serves_the_mean_of_ones_cluster(by: str, make_kept: Make, tmp_path: Path) -> None:
    strategy = new("cluster_average", tmp_path / "own", clusters=3, by=by)
    kept = joined(strategy, make_kept, NAMES)
    for client in NAMES:
        mates = [c for c in NAMES if cluster_of(by, c, 3) == cluster_of(by, client, 3)]
        served = strategy.serve(kept, client)
        close(kept.direction(str(served.direction)), np.mean([vector(c, "plain") for c in mates], axis=0))
    close(
        kept.direction(str(strategy.serve(kept, "nobody").direction)),
        np.mean([vector(c, "plain") for c in NAMES], axis=0),
    )


def test_dare_serves_the_rescaled_mean_of_what_was_not_dropped(make_kept: Make, tmp_path: Path) -> None:
    strategy = new("dare", tmp_path / "own", drop=0.75)
    kept = joined(strategy, make_kept, NAMES)
    (dropped,) = strategy.parts
    assert isinstance(dropped, ClusterSums)
    assert (dropped.of, dropped.count, dropped.share) == ("dropped", 1, 0.75)
    ones = np.ones(SIZE, dtype=np.int64)
    left = [vector(c, "plain") * kept[dropped].contribution(c, ones) for c in NAMES]
    served = strategy.serve(kept, "a")
    close(served.scale * kept.direction(str(served.direction)), 4 * np.mean(left, axis=0))


@pytest.mark.parametrize("by", ["hash", "anchor"])
@pytest.mark.parametrize("quorum", [0.0, 0.5, 1.0])
def test_vote_masks_hold_what_enough_members_hold(quorum: float, by: str, make_kept: Make, tmp_path: Path) -> None:
    strategy = new("vote_masks", tmp_path / "own", clusters=2, keep=0.5, quorum=quorum, alpha=2.0, by=by)
    kept = joined(strategy, make_kept, NAMES)
    for client in NAMES:
        mates = [c for c in NAMES if cluster_of(by, c, 2) == cluster_of(by, client, 2)]
        votes = np.sum([bits.largest_share(vector(c), 0.5) for c in mates], axis=0)
        mask = (votes >= quorum * len(mates)) & (votes > 0)
        same(strategy.serve(kept, client), Masked("mean", 2.0, bits.pack(mask)))
    assert strategy.serve(kept, "nobody") == Masked("mean")


def test_a_cached_vector_that_changed_on_disk_is_refused(make_kept: Make, tmp_path: Path) -> None:
    strategy = new("ties", tmp_path / "own")
    kept = joined(strategy, make_kept, NAMES)
    a, b = (kept[Vectors()].file(client) for client in "ab")
    kept.store.write(b, kept.store.read(a))
    with pytest.raises(InputError, match=rf"vectors/{called('b')}\.safetensors: damaged: not the vector that was merged"):
        Kept(kept.folder, "plain", BOUNDS, strategy.parts, SEED).load()


def test_a_vector_that_is_not_the_claimed_one_is_refused(make_kept: Make) -> None:
    parts = (EveryVector(),)
    kept, good = make_kept(parts, "plain"), reply(("a", "b"), parts, "plain")
    good.arrays["vector/b"] = good.arrays["vector/b"] * 2
    with pytest.raises(InputError, match="client b: its task vector does not have the digest it claims"):
        kept.absorb(good)
    both = make_kept((Sum(), EveryVector()), "plain")
    good = reply(("a", "b"), both.declared, "plain")
    good.arrays["sum"] = good.arrays["sum"] + 1
    with pytest.raises(InputError, match="an update for a, b: its sum is not that of its task vectors"):
        both.absorb(good)
    signed = make_kept(parts)
    with pytest.raises(InputError, match="client a: its task vector goes against the shared signs"):
        signed.absorb(reply(("a", "b"), parts, "plain"))
    assert [kept.members, both.members, signed.members] == [{}, {}, {}]
