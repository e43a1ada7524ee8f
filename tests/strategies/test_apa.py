"""APA-like cluster merging, with trainings and scores made up as functions of their pool and vector instead of a model."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from updates import SEED, SIZE, anchor, departures, shards

from clients.errors import InputError
from clients.exact import digest
from clients.jobs import Job, Reply
from clients.work.pooled import Training
from clients.work.served import BASE, Mix
from strategies.retrain.apa import Apa, ApaParameters
from strategies.state.clusters import number
from strategies.state.kept import Kept

CLIENTS = tuple("abcdefghijkl")
Make = Callable[..., Kept]


def made_up(clients: Sequence[str], steps: int = 4, batch: int = 6) -> np.ndarray:
    """A vector that follows from the whole training of a pool."""
    training = Training.model_validate({"terms": [{"clients": sorted(clients)}], "steps": steps, "batch": batch})
    seed = int(digest.of_json(training.model_dump(mode="json"))[:8], 16)
    return np.random.default_rng(seed).normal(scale=1e-2, size=SIZE).astype(np.float32)


def liking(client: str, vector: np.ndarray) -> float:
    """A client's score of a vector, between 0 and 1."""
    return float(1 / (1 + np.exp(-100 * vector[ord(client) % SIZE])))


class Asked:
    """Carries out jobs without a model, last one first, and notes them."""

    def __init__(self, strategy: Apa) -> None:
        self.strategy = strategy
        self.trained: list[tuple[str, ...]] = []
        self.scored: list[tuple[str, str]] = []
        self.assigned: list[str] = []

    def __call__(self, kept: Kept, jobs: Sequence[Job]) -> Iterator[tuple[int, Reply]]:
        for index, job in reversed(list(enumerate(jobs))):
            if job.kind == "train":
                training = Training.model_validate(job.facts["training"])
                assert (job.facts["start"], len(training.terms)) == (None, 1)
                self.trained.append(job.clients)
                yield index, Reply(job.clients, {}, {"vector": made_up(job.clients, training.steps, training.batch)})
            elif job.kind == "assign":
                self.assigned += job.clients
                yield index, Reply(job.clients, {"anchors": {c: anchor(c, job.facts["anchors"]) for c in job.clients}})
            else:
                pairs = [(c, item["direction"]) for c, item in zip(job.clients, job.facts["items"], strict=True)]
                assert set(job.shared) == {name for _, name in pairs}
                assert (
                    job.facts["part"] == "train"
                )  # weights are a client's own: chosen on what is evaluated they would be too good
                self.scored += pairs
                scores = [[liking(c, self.strategy.direction(kept, name))] for c, name in pairs]
                yield index, Reply(job.clients, {"scores": scores})


def made(folder: Path, make: Make, clients: Sequence[str] = CLIENTS, **parameters: Any) -> tuple[Apa, Kept]:
    strategy = Apa(ApaParameters.model_validate({"clusters": 3, "steps": 4, "batch": 6} | parameters), SEED, folder)
    folder.mkdir(parents=True, exist_ok=True)
    kept = make(strategy.parts, strategy.rule)
    kept.register(shards(clients))
    return strategy, kept


def cluster_of(by: str, client: str) -> int:
    return anchor(client, 3) if by == "anchor" else number(client, 3, SEED)


def vectors_of(by: str, members: Sequence[str]) -> dict[str, np.ndarray]:
    """Every occupied cluster's vector, in plain words."""
    groups = {f"cluster-{k}": [c for c in sorted(members) if cluster_of(by, c) == k] for k in range(3)}
    return {name: made_up(group) for name, group in groups.items() if group}


@pytest.mark.parametrize("by", ["hash", "anchor"])
def test_a_member_is_served_by_its_own_scores_and_anybody_the_mean(by: str, make_kept: Make, tmp_path: Path) -> None:
    strategy, kept = made(tmp_path, make_kept, by=by, temperature=0.2)
    strategy.localize(kept, Asked(strategy))
    vectors = vectors_of(by, CLIENTS)
    assert len(vectors) == 3
    for name, vector in vectors.items():
        np.testing.assert_array_equal(strategy.vector(name), vector)
    for client in CLIENTS:
        powers = np.exp(np.array([liking(client, vector) for vector in vectors.values()]) / 0.2)
        served = strategy.serve(kept, client)
        assert isinstance(served, Mix)
        assert [name for name, _ in served.weights] == list(vectors)
        np.testing.assert_allclose([weight for _, weight in served.weights], powers / powers.sum(), rtol=1e-12)
        assert served == Mix(served.weights)
    assert strategy.serve(kept, "zz") == Mix(tuple((name, 1 / 3) for name in vectors))
    assert strategy.storage(kept) == sum(path.stat().st_size for path in tmp_path.glob("*.safetensors"))


@pytest.mark.parametrize("by", ["hash", "anchor"])
def test_only_the_leavers_cluster_is_trained_and_scored_again(by: str, make_kept: Make, tmp_path: Path) -> None:
    strategy, kept = made(tmp_path, make_kept, by=by)
    asked = Asked(strategy)
    strategy.localize(kept, asked)
    assert sorted(asked.assigned) == (list(CLIENTS) if by == "anchor" else [])
    assert sorted(asked.scored) == sorted((c, name) for c in CLIENTS for name in vectors_of(by, CLIENTS))
    files = {path.name: path.read_bytes() for path in tmp_path.glob("*.safetensors")}
    kept.erase("e")
    asked, stay = Asked(strategy), [c for c in CLIENTS if c != "e"]
    strategy.localize(kept, asked)
    changed = f"cluster-{cluster_of(by, 'e')}"
    assert asked.trained == [tuple(c for c in stay if cluster_of(by, c) == cluster_of(by, "e"))]
    assert sorted(asked.scored) == [(c, changed) for c in stay]
    assert asked.assigned == []
    for path in tmp_path.glob("*.safetensors"):
        assert (path.read_bytes() == files[path.name]) == (path.stem != changed)
    asked = Asked(strategy)
    strategy.localize(kept, asked)
    assert (asked.trained, asked.scored, asked.assigned) == ([], [], [])
    kept.register(shards("e"))  # who joins is scored under every vector
    strategy.localize(kept, asked)
    assert sorted(asked.scored) == sorted(
        {(c, changed) for c in CLIENTS} | {("e", name) for name in vectors_of(by, CLIENTS)}
    )
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.safetensors")} == files


@settings(max_examples=50, deadline=None)
@given(
    by=st.sampled_from(["hash", "anchor"]),
    batches=departures(CLIENTS),
    save=st.booleans(),
)
def test_the_state_is_that_of_those_who_stayed(
    tmp_path_factory: pytest.TempPathFactory, by: str, batches: list[list[str]], save: bool
) -> None:
    def new(clients: Sequence[str]) -> tuple[Apa, Kept]:
        folder = tmp_path_factory.mktemp("apa")
        make = lambda parts, rule: Kept(folder / "kept", rule, (0, SIZE), parts, SEED)  # noqa: E731
        strategy, kept = made(folder / "own", make, clients, by=by)
        strategy.localize(kept, Asked(strategy))
        return strategy, kept

    strategy, kept = new(CLIENTS)
    for batch in batches:
        for client in batch:
            kept.erase(client)
        if save:
            strategy.save()
            strategy.load()
        strategy.localize(kept, Asked(strategy))
    left = set(itertools.chain(*batches))
    fresh, others = new([client for client in CLIENTS if client not in left])
    assert strategy.digest(kept) == fresh.digest(others)
    for client in CLIENTS:
        assert strategy.serve(kept, client) == fresh.serve(others, client)
    if not others.members:
        assert strategy.serve(kept, "a") == BASE
        assert list(strategy.folder.glob("*.safetensors")) == []


@pytest.mark.parametrize("said", [{}, {"a": 3}, {"a": -1}, {"a": True}, {"a": "1"}])
def test_a_number_of_no_anchor_is_refused(said: dict[str, Any], make_kept: Make, tmp_path: Path) -> None:
    strategy, kept = made(tmp_path, make_kept, ["a"], by="anchor")
    ask = lambda kept, jobs: iter([(0, Reply(("a",), {"anchors": said}))])  # noqa: E731
    with pytest.raises(InputError, match=r"client a: says that .* is the anchor it is nearest to, of 3"):
        strategy.localize(kept, ask)
