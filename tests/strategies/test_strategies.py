"""What each strategy serves, against its formula written out on small vectors."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from updates import BOUNDS, SEED, SIZE, reply, shards, vector

from clients.errors import InputError
from clients.exact import bits
from clients.jobs import Job, Reply
from clients.work.served import BASE, Masked, Own, Served
from strategies.registry import REGISTRY
from strategies.state.kept import Kept
from strategies.state.sum import Sum
from strategies.strategy import Strategy, parameters_of

CLIENTS = ("a", "b", "c", "d")
Make = Callable[..., Kept]
V = bits.sign_vector(SEED, SIZE)


def nobody(kept: Kept, jobs: Sequence[Job]) -> Iterator[tuple[int, Reply]]:
    """An ask that no strategy under test may use."""
    raise AssertionError(f"asked for {jobs[0].kind}")


def made(name: str, make: Make, tmp_path: Path, **parameters: Any) -> tuple[Strategy[Any], Kept]:
    cls = REGISTRY[name]
    strategy = cls(parameters_of(cls).model_validate(parameters), SEED, tmp_path / "own")
    kept = make(strategy.parts, strategy.rule)
    if strategy.rule is None:
        kept.register(shards(CLIENTS))
    else:
        kept.absorb(reply(CLIENTS, strategy.parts, strategy.rule))
    return strategy, kept


def served(kept: Kept, s: Served) -> np.ndarray:
    """θ − θ0 of a served model, in float64, by the definition of ``Served``."""
    if isinstance(s, Own):
        return s.vector
    assert isinstance(s, Masked)
    assert s.start is None
    if s.direction is None:
        return np.zeros(SIZE)
    mask = np.ones(SIZE) if s.mask is None else bits.unpack(s.mask, SIZE)
    factors = np.ones(SIZE) if s.factors is None else np.repeat(s.factors, np.diff(BOUNDS))
    return s.scale * mask * factors * kept.direction(s.direction)


def mean(kind: str = "sign_fixed") -> np.ndarray:
    return np.mean([vector(client, kind).astype(np.float64) for client in CLIENTS], axis=0)


def close(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2**-32)  # half a grid step per vector, then fp32


def test_zero_shot_serves_the_base_model(make_kept: Make, tmp_path: Path) -> None:
    strategy, kept = made("zero_shot", make_kept, tmp_path)
    assert strategy.serve(kept, "a") == BASE == strategy.serve(kept, "nobody")


def test_local_serves_ones_own_vector_and_the_base_model_to_others(make_kept: Make, tmp_path: Path) -> None:
    strategy, kept = made("local", make_kept, tmp_path)
    np.testing.assert_array_equal(served(kept, strategy.serve(kept, "b")), vector("b", "plain"))
    assert strategy.serve(kept, "nobody") == BASE


def test_average_serves_the_mean_to_everybody(make_kept: Make, tmp_path: Path) -> None:
    strategy, kept = made("average", make_kept, tmp_path, alpha=0.5)
    strategy.localize(kept, nobody)
    for client in ("a", "nobody"):
        close(served(kept, strategy.serve(kept, client)), 0.5 * mean("plain"))


def test_sift_masks_serves_the_masked_mean_and_the_plain_one_to_the_forgotten(make_kept: Make, tmp_path: Path) -> None:
    strategy, kept = made("sift_masks", make_kept, tmp_path, keep=1.0, alpha=1.4)
    strategy.localize(kept, nobody)
    close(served(kept, strategy.serve(kept, "a")), 1.4 * (vector("a") * V > 0) * mean())
    kept.subtract("d", reply(("d",), strategy.parts))
    kept.erase("d")
    left = np.mean([vector(client).astype(np.float64) for client in "abc"], axis=0)
    close(served(kept, strategy.serve(kept, "d")), left)


def test_sift_masks_by_counts(make_kept: Make, tmp_path: Path) -> None:
    strategy, kept = made("sift_masks", make_kept, tmp_path, keep=1.0, scale="counts", alpha=1.0)
    strategy.localize(kept, nobody)
    counts = np.sum([vector(client) != 0 for client in CLIENTS], axis=0)
    expected = np.where(vector("c") != 0, mean() * len(CLIENTS) / np.maximum(counts, 1), 0)
    close(served(kept, strategy.serve(kept, "c")), expected)


def test_kept_share_keeps_the_largest_entries(make_kept: Make, tmp_path: Path) -> None:
    strategy, kept = made("sift_masks", make_kept, tmp_path, keep=0.2, alpha=4.0)
    strategy.localize(kept, nobody)
    tau = np.abs(vector("a"))
    largest = np.argsort(-tau)[: round(0.2 * np.count_nonzero(tau))]
    expected = np.zeros(SIZE)
    expected[largest] = 4 * mean()[largest]
    close(served(kept, strategy.serve(kept, "a")), expected)


def test_sift_masks_rescaled_to_the_clients_own_l1_norms(make_kept: Make, tmp_path: Path) -> None:
    strategy, kept = made("sift_masks", make_kept, tmp_path, keep=0.5, scale="l1")
    strategy.localize(kept, nobody)  # one value of alpha: nobody is asked
    tau = vector("b").astype(np.float64)
    mask = bits.largest_share(vector("b"), 0.5)
    found = served(kept, strategy.serve(kept, "b"))
    expected = np.zeros(SIZE)
    for start, stop in itertools.pairwise(BOUNDS):
        part = np.where(mask, mean(), 0)[start:stop]
        expected[start:stop] = part * np.abs(np.where(mask, tau, 0)[start:stop]).sum() / np.abs(part).sum()
        np.testing.assert_allclose(
            np.abs(found[start:stop]).sum(), np.abs(np.where(mask, tau, 0)[start:stop]).sum(), rtol=1e-5
        )
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert strategy.serve(kept, "nobody") == Masked("mean")


def test_mask_only_needs_no_sum(make_kept: Make, tmp_path: Path) -> None:
    strategy, kept = made("mask_only", make_kept, tmp_path, keep=1.0)
    tau = vector("a").astype(np.float64)
    expected = np.zeros(SIZE)
    for start, stop in itertools.pairwise(BOUNDS):
        own = np.abs(tau[start:stop])
        expected[start:stop] = V[start:stop] * (own > 0) * own[own > 0].mean()
    close(served(kept, strategy.serve(kept, "a")), expected)
    assert Sum() not in kept.parts
    assert not strategy.derives
    assert "sum" not in {wanted.what for wanted in kept.wants()}
    assert strategy.serve(kept, "nobody") == BASE


def test_clamu_learns_one_mask_per_cluster_and_serves_it_to_its_members(make_kept: Make, tmp_path: Path) -> None:
    strategy, kept = made("clamu", make_kept, tmp_path, clusters=2, affinity="task_vectors", scale=3.0, steps=5)
    asked: list[Job] = []

    def ask(kept: Kept, jobs: Sequence[Job]) -> Iterator[tuple[int, Reply]]:
        asked.extend(jobs)
        for index in reversed(range(len(jobs))):
            mask = np.arange(SIZE) % 2 == index
            yield index, Reply(jobs[index].clients, {}, {"mask": bits.pack(mask)})

    strategy.localize(kept, ask)
    assert sorted(client for job in asked for client in job.clients) == list(CLIENTS)
    assert asked[0].facts == {"direction": "mean", "scale": 3.0, "steps": 5, "lr": 0.05}
    for index, job in enumerate(asked):
        expected = 3 * (np.arange(SIZE) % 2 == index) * mean("plain")
        for client in job.clients:
            close(served(kept, strategy.serve(kept, client)), expected)
    close(served(kept, strategy.serve(kept, "nobody")), mean("plain"))


def test_clamu_forgets_masks_of_clusters_that_are_gone(make_kept: Make, tmp_path: Path) -> None:
    strategy, kept = made("clamu", make_kept, tmp_path, clusters="clients", steps=1)

    def ask(kept: Kept, jobs: Sequence[Job]) -> Iterator[tuple[int, Reply]]:
        for index, job in enumerate(jobs):
            yield index, Reply(job.clients, {}, {"mask": bits.pack(np.ones(SIZE, dtype=bool))})

    strategy.localize(kept, ask)
    assert len(list(strategy.folder.glob("*.bits"))) == 4
    kept.subtract("b", reply(("b",), strategy.parts, "plain"))
    kept.erase("b")
    strategy.localize(kept, ask)
    assert len(list(strategy.folder.glob("*.bits"))) == 3
    assert strategy.chosen["clusters"] == [["a"], ["c"], ["d"]]


@pytest.mark.parametrize("name", REGISTRY)
def test_state_survives_saving(name: str, make_kept: Make, tmp_path: Path) -> None:
    strategy, kept = made(name, make_kept, tmp_path)
    strategy.keep_merged(vector("a"))
    strategy.chosen = {"alpha": 1.25, "clusters": [["a", "b"], ["c"]]}
    strategy.keep_mask("cluster-0", bits.pack(np.arange(SIZE) % 3 == 0))
    strategy.save()
    again = type(strategy)(strategy.parameters, SEED, strategy.folder)
    again.load()
    assert again.digest(kept) == strategy.digest(kept)
    before = strategy.digest(kept)
    again.chosen = {"alpha": 1.26}
    assert again.digest(kept) != before
    strategy.keep_merged(vector("b"))
    assert strategy.digest(kept) != before
    (strategy.folder / "chosen.json").write_text("{")
    with pytest.raises(InputError, match=r"chosen\.json: cannot be read"):
        again.load()
