"""Closed-form heads against plain numpy: φ, the statistics of a shard, and the three models that are made of them."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from clients.data.dataset import Dataset, Example, LabelSet, Shard
from clients.errors import InputError
from clients.exact.grid import to_grid
from clients.jobs import perform, score_job, tune_job
from clients.work.contributions import GRID, SUM
from clients.work.embedding import Embedding
from clients.work.rules import rule_of
from clients.work.served import BASE, ClassMeans, Prior, Ridge, Served
from clients.work.site import Site
from clients.work.statistics import opened

SETS = {
    "mood": LabelSet(("good", "bad", "so-so"), ("good", "bad", "so-so")),
    "answer": LabelSet(("yes", "no"), ("yes", "no")),
}
"""Numbered by name: yes 0, no 1, good 2, bad 3, so-so 4."""
WORDS = ("rain again", "what a day", "nobody came", "so it goes", "the film was long", "we left early", "a cold night")
PUBLIC = tuple(Example(f"{word} then:", "yes", label_set="answer") for word in ("snow", "a quiet street", "who knows"))


@pytest.fixture
def labelled(site: Site) -> Site:
    """The tiny model over two clients whose answers are labels of two sets."""
    mood = tuple(Example(f"{word}:", SETS["mood"].labels[i % 3], label_set="mood") for i, word in enumerate(WORDS))
    other = tuple(Example(f"{word}?", SETS["answer"].labels[i % 2], label_set="answer") for i, word in enumerate(WORDS))
    shards = (Shard("m", mood[:4], (), mood[4:]), Shard("n", (*other[:5], mood[1]), (), (*other[5:], mood[2])))
    model = copy.copy(site.model)  # the same weights, asked for labels
    model.label_sets = SETS  # type: ignore[attr-defined]
    return Site(site.settings, Dataset(shards, PUBLIC, SETS), model)


def plain_hidden(site: Site, examples: Sequence[Example]) -> np.ndarray:
    """The last layer's output at each prompt's last token."""
    found = []
    for example in examples:
        ids = site.model.tokenizer.encode(example.prompt)  # type: ignore[attr-defined]
        with torch.no_grad():
            hidden = site.model.module(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0, -1]
        found.append(hidden.double().numpy())
    return np.array(found)


def plain_phi(site: Site, examples: Sequence[Example]) -> np.ndarray:
    apart = plain_hidden(site, examples) - plain_hidden(site, PUBLIC).mean(0)
    return np.column_stack([apart / np.linalg.norm(apart, axis=1, keepdims=True), np.ones(len(examples))])


def plain_labels(examples: Sequence[Example]) -> np.ndarray:
    numbers = {"yes": 0, "no": 1, "good": 2, "bad": 3, "so-so": 4}
    return np.eye(5)[[numbers[example.answer] for example in examples]]


def own_labels(example: Example) -> slice:
    return slice(2, 5) if example.label_set == "mood" else slice(0, 2)


def plain_log_probabilities(site: Site, example: Example) -> np.ndarray:
    """Of the labels of the example's set: the summed log-probabilities of their tokens, normalised."""
    losses = site.model.label_losses([example], SETS[example.label_set].labels)[0]  # type: ignore[attr-defined]
    powers = np.exp(-losses)
    return np.log(powers / powers.sum())


def share_right(scores: Sequence[np.ndarray], examples: Sequence[Example]) -> float:
    """Of numbers for the labels of each example's own set."""
    right = [plain_labels([e])[0][own_labels(e)].argmax() == s.argmax() for s, e in zip(scores, examples, strict=True)]
    return float(np.mean(right))


def scored(site: Site, client: str, served: Served, shared: dict[str, np.ndarray], scales: Any = None) -> list[float]:
    reply = perform(site, score_job([(client, served)], scales), shared)
    assert reply.error is None
    assert torch.equal(site.model.flat, site.model.theta0)
    return list(reply.facts["scores"][0])


# -- φ ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mix", [0.0, 0.5])
def test_a_head_on_the_frozen_model_passes_over_the_data_as_often_as_it_says(
    labelled: Site, monkeypatch: pytest.MonkeyPatch, mix: float
) -> None:
    """However many scales there are: what the model says of the data is asked once."""
    asked: list[Example] = []
    for name in ("embeddings", "probabilities"):
        made = getattr(labelled.model, name)

        def noting(examples: Sequence[Example], made: Any = made) -> Any:
            asked.extend(examples)
            return made(examples)

        monkeypatch.setattr(labelled.model, name, noting)
    shard, rule = labelled.shard("n"), rule_of("gram")
    own = rule.derive(labelled, shard).vector
    assert labelled.embedding.centre.size  # made once, of public data
    settings = ((0.5, 0.0, mix), (1.0, 0.0, mix), (2.0, 0.0, mix))
    asked.clear()
    head = Ridge(settings, own=own)
    scored(labelled, "n", head, {}, [0, 1, 2])
    examples = len(shard.side(labelled.manifest.sides.reported))
    assert head.passes(3) == 1 + (mix > 0)
    assert len(asked) == head.passes(3) * examples
    asked.clear()
    prior = Prior("n", np.array([1.0, 2.0, 0.0, 1.0, 1.0]))
    scored(labelled, "n", prior, {}, [0.0, 1.0, 2.0])
    assert len(asked) == prior.passes(3) * examples == examples
    assert BASE.passes(3) == 3


def test_phi_is_centred_on_public_data_and_has_length_one(labelled: Site) -> None:
    examples = labelled.shard("n").train
    found = labelled.embedding.of(examples)
    np.testing.assert_allclose(found, plain_phi(labelled, examples), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found[:, :-1], axis=1), 1)
    others = [Example(e.prompt, "something else", label_set=e.label_set) for e in examples]
    assert labelled.embedding.of(others).tobytes() == found.tobytes()  # answers are not read
    assert labelled.embedding.size() == found.shape[1] == 17
    assert labelled.embedding.of([]).shape == (0, 17)


def test_without_public_data_nothing_is_taken_off(labelled: Site, site: Site) -> None:
    shards = tuple(labelled.source.shards)  # type: ignore[attr-defined]
    bare = Site(site.settings, Dataset(shards, (), SETS), site.model)
    examples = bare.shard("m").train
    hidden = plain_hidden(bare, examples)
    expected = hidden / np.linalg.norm(hidden, axis=1, keepdims=True)
    np.testing.assert_allclose(bare.embedding.of(examples)[:, :-1], expected, rtol=1e-4, atol=1e-5)


def test_random_features_follow_from_the_seed_alone(labelled: Site) -> None:
    examples = labelled.shard("m").train
    first, again, other = (Embedding(labelled.model, labelled.manifest, seed) for seed in (7, 7, 8))
    found = first.of(examples, relu=20)
    assert found.shape == (4, 21) == (4, first.size(20))
    assert (found >= 0).all()
    assert found.tobytes() == again.of(examples, relu=20).tobytes()
    assert not np.allclose(found, other.of(examples, relu=20))
    drawn = first._projection(20)
    plain = np.maximum(plain_phi(labelled, examples) @ drawn, 0)
    np.testing.assert_allclose(found[:, :-1], plain / np.linalg.norm(plain, axis=1, keepdims=True), rtol=1e-3, atol=1e-4)


# -- statistics -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", ["m", "n"])
def test_statistics_are_plain_sums_on_their_grid(labelled: Site, client: str) -> None:
    shard = labelled.shard(client)
    phi, y = plain_phi(labelled, shard.train), plain_labels(shard.train)
    triangle = (phi.T @ phi)[np.triu_indices(17)]
    expected = {"label_counts": y.sum(0), "class_sums": (phi.T @ y).ravel(), "gram": np.r_[triangle, (phi.T @ y).ravel()]}
    for name, plain in expected.items():
        rule = rule_of(name)
        tuned, grid = rule.derive(labelled, shard), rule.grid(labelled)
        assert (tuned.steps, tuned.tokens) == (0, 0)
        assert rule.bounds(labelled)[-1] == tuned.vector.size
        np.testing.assert_allclose(tuned.vector, plain, rtol=1e-4, atol=1e-4)
        reply = perform(labelled, tune_job([client], name, [SUM, GRID]), {})
        assert reply.error is None
        assert reply.arrays["sum"].dtype == grid.dtype
        np.testing.assert_array_equal(reply.arrays["sum"], np.rint(tuned.vector * 2.0**grid.bits))
        np.testing.assert_array_equal(reply.arrays[f"grid/{client}"], reply.arrays["sum"])
        assert reply.arrays[f"grid/{client}"].dtype == np.min_scalar_type(-grid.largest)
        assert np.abs(to_grid(tuned.vector, grid) / 2.0**grid.bits - tuned.vector).max() <= 2.0 ** -(grid.bits + 1)
    gram, cross = opened(expected["gram"], 17)
    np.testing.assert_array_equal(gram, gram.T)
    np.testing.assert_allclose(gram, phi.T @ phi)
    np.testing.assert_array_equal(cross, phi.T @ y)
    assert cross[-1].tolist() == y.sum(0).tolist()  # the last entry of φ is 1


def test_recipes_tell_statistics_apart(labelled: Site) -> None:
    shard = labelled.shard("n")
    found = {rule_of(name).derive(labelled, shard).recipe for name in ("label_counts", "class_sums", "gram", "gram-8")}
    assert len(found) == 4
    assert rule_of("gram").derive(labelled, shard).recipe in found
    with pytest.raises(InputError, match="there is no tuning rule 'gram-0'"):
        rule_of("gram-0")


def test_free_text_has_no_statistics(site: Site) -> None:
    error = perform(site, tune_job(["u1"], "label_counts", [SUM]), {}).error
    assert error == "InputError: a head needs answers that are labels, and these are free text"


# -- models -----------------------------------------------------------------------------------------------------------


def gram_vector(site: Site, *clients: str) -> np.ndarray:
    examples = [example for client in clients for example in site.shard(client).train]
    phi, y = plain_phi(site, examples), plain_labels(examples)
    return np.r_[(phi.T @ phi)[np.triu_indices(17)], (phi.T @ y).ravel()]


def test_ridge_solves_the_pooled_regression(labelled: Site) -> None:
    """Every λ, κ and mix, by numpy on pooled features; labels of the example's own set alone are compared."""
    settings = tuple((ridge, kappa, mix) for ridge in (0.1, 2.0) for kappa in (0.0, 5.0) for mix in (0.0, 0.4))
    total = gram_vector(labelled, "m", "n")
    for client in ("m", "n"):
        own, shard = gram_vector(labelled, client), labelled.shard(client)
        found = scored(labelled, client, Ridge(settings, "g", own), {"g": total}, list(range(len(settings))))
        phi = plain_phi(labelled, shard.test)
        for score, (ridge, kappa, mix) in zip(found, settings, strict=True):
            gram, cross = opened(total + kappa * own, 17)
            w = np.linalg.solve(gram + ridge * np.eye(17), cross)
            rows = [
                (row @ w)[own_labels(e)] + mix * plain_log_probabilities(labelled, e)
                for row, e in zip(phi, shard.test, strict=True)
            ]
            assert score == pytest.approx(share_right(rows, shard.test))


def test_ridge_of_ones_own_needs_no_sum(labelled: Site) -> None:
    own, shard = gram_vector(labelled, "n"), labelled.shard("n")
    gram, cross = opened(own, 17)
    w = np.linalg.solve(gram + 0.5 * np.eye(17), cross)
    rows = [(row @ w)[own_labels(e)] for row, e in zip(plain_phi(labelled, shard.test), shard.test, strict=True)]
    assert scored(labelled, "n", Ridge(((0.5, 0.0, 0.0),), own=own), {}) == [pytest.approx(share_right(rows, shard.test))]
    for wrong in (Ridge(((0.5, 0.0, 0.0),)), Ridge(((0.5, 0.0, 0.0),), own=own[:-1])):
        reply = perform(labelled, score_job([("n", wrong)]), {})
        assert str(reply.error).startswith("InputError: ")


def test_a_prior_lies_between_the_model_and_the_most_frequent_label(labelled: Site) -> None:
    counts = np.array([1.0, 4, 0, 2, 0])
    shard = labelled.shard("n")
    weights = [0.0, 0.5, 3.0, 1e6]
    found = scored(labelled, "n", Prior("n", counts), {}, weights)
    for score, weight in zip(found, weights, strict=True):
        rows = [plain_log_probabilities(labelled, e) + weight * np.log(counts + 1)[own_labels(e)] for e in shard.test]
        assert score == pytest.approx(share_right(rows, shard.test))
    assert scored(labelled, "m", Prior("n", counts), {}, [0.0]) == scored(labelled, "m", BASE, {})  # of one label set
    frequent = [counts[own_labels(e)] for e in shard.test]
    assert found[-1] == pytest.approx(share_right(frequent, shard.test))
    assert scored(labelled, "n", Prior("all"), {"all": counts}) == scored(labelled, "n", Prior("n", counts), {})


def test_the_nearest_class_mean(labelled: Site) -> None:
    """A label that nobody has is never chosen."""
    shard = labelled.shard("m")
    phi, y = plain_phi(labelled, shard.train), plain_labels(shard.train)
    examples = [e for e in shard.train if e.answer != "so-so"]
    sums = (plain_phi(labelled, examples).T @ plain_labels(examples)).ravel()
    for total, there in (((phi.T @ y).ravel(), y.sum(0) > 0), (sums, plain_labels(examples).sum(0) > 0)):
        table = total.reshape(17, 5)
        rows = []
        for row, _ in zip(plain_phi(labelled, shard.test), shard.test, strict=True):
            near = [-np.sum((row[:-1] - table[:-1, k] / table[-1, k]) ** 2) if there[k] else -np.inf for k in range(2, 5)]
            rows.append(np.array(near))
        assert scored(labelled, "m", ClassMeans("b"), {"b": total}) == [pytest.approx(share_right(rows, shard.test))]


def test_a_model_that_is_not_finite_is_told(labelled: Site) -> None:
    broken = gram_vector(labelled, "m")
    broken[3] = np.nan
    assert np.isnan(scored(labelled, "m", Ridge(((1.0, 0.0, 0.0),), "g"), {"g": broken})).all()
