"""Every kind of served model: it travels, says what it reads, and scores as the model that its formula gives."""

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from test_pooled import Tangent
from test_tuning import plain_loss

from clients.data.dataset import Dataset, Example, LabelSet, Shard
from clients.errors import InputError
from clients.exact import bits
from clients.jobs import Job, Reply, perform, probe_job, score_job, served_in
from clients.settings import Settings
from clients.work.head import HeadModel, features, numbering, one_hot
from clients.work.served import (
    BASE,
    KINDS,
    ClassMeans,
    Ensemble,
    Head,
    Linear,
    Masked,
    Mix,
    Own,
    Prior,
    Ridge,
    Served,
    served_of,
)  # fmt: skip
from clients.work.site import Site, open_site

NAMES = ("a", "b", "c")
MASK = np.array([True, False, True, True, False, False, True, False, True])
PACKED = bits.pack(MASK)
FACTORS = np.array([0.5, 2.0], dtype=np.float32)
VECTOR = np.arange(9, dtype=np.float32)
SETS = {
    "mood": LabelSet(("good", "bad", "so-so"), ("good", "bad", "so-so")),
    "answer": LabelSet(("yes", "no"), ("yes", "no")),
}
"""Numbered by name: yes 0, no 1, good 2, bad 3, so-so 4."""


class Told(NamedTuple):
    """A served model and what it should say of itself."""

    served: Served
    facts: dict[str, Any]
    shared: tuple[str, ...] = ()
    arrays: tuple[str, ...] = ()
    models: int = 1
    vectors: int = 0
    scales: tuple[float, ...] = (1.0,)


TOLD = [
    Told(BASE, {"kind": "masked"}),
    Told(Masked("a"), {"kind": "masked", "direction": "a"}, ("a",), vectors=1),
    Told(
        Masked("a", 0.3, PACKED, FACTORS, "b"),
        {"kind": "masked", "direction": "a", "scale": 0.3, "start": "b"},
        ("a", "b"),
        ("mask", "factors"),
        vectors=2,
        scales=(0.3,),
    ),
    Told(Masked(start="b", mask=PACKED), {"kind": "masked", "start": "b"}, ("b",), ("mask",), vectors=1),
    Told(Own(VECTOR), {"kind": "own"}, arrays=("vector",)),
    Told(Linear("a", "b"), {"kind": "linear", "direction": "a", "around": "b"}, ("a", "b"), vectors=2),
    Told(
        Linear("a", "b", -0.5, "c"),
        {"kind": "linear", "direction": "a", "around": "b", "scale": -0.5, "start": "c"},
        ("a", "b", "c"),
        vectors=3,
        scales=(-0.5,),
    ),
    Told(Ensemble(("a", "c")), {"kind": "ensemble", "names": ["a", "c"]}, ("a", "c"), models=2, vectors=3),
    Told(Ensemble(NAMES, vote=True), {"kind": "ensemble", "names": list(NAMES), "vote": True}, NAMES, models=3, vectors=4),
    Told(
        Mix((("c", 0.1), ("a", -2.0))),
        {"kind": "mix", "weights": [["c", 0.1], ["a", -2.0]]},
        ("c", "a"),
        vectors=3,
    ),
    Told(Head("w"), {"kind": "head", "direction": "w"}, ("w",), vectors=1),
    Told(Head(own=VECTOR), {"kind": "head"}, arrays=("own",)),
    Told(Prior("n"), {"kind": "prior", "direction": "n"}, ("n",), vectors=1),
    Told(
        Prior("n", VECTOR, 2.0, 0.5),
        {"kind": "prior", "direction": "n", "scale": 2.0, "smoothing": 0.5},
        arrays=("own",),
        scales=(2.0,),
    ),
    Told(ClassMeans("b"), {"kind": "class_means", "direction": "b"}, ("b",), vectors=1),
    Told(
        Ridge(((0.1, 0.0, 0.0), (1.0, 3.0, 0.1)), "g", VECTOR, 1, 16),
        {"kind": "ridge", "settings": [[0.1, 0.0, 0.0], [1.0, 3.0, 0.1]], "direction": "g", "scale": 1, "relu": 16},
        ("g",),
        ("own",),
        vectors=1,
        scales=(1,),
    ),
    Told(Ridge(((1.0, 0.0, 0.0),), own=VECTOR), {"kind": "ridge", "settings": [[1.0, 0.0, 0.0]]}, (), ("own",), scales=(0,)),
]


def travelled(job: Job) -> Job:
    """The job as a message has it: its facts have been JSON."""
    return Job(job.kind, job.clients, json.loads(json.dumps(job.facts)), job.arrays, job.shared)


def done(site: Site, job: Job, shared: dict[str, np.ndarray]) -> Reply:
    """A job's reply, which is no error; the model is back at its pretrained values."""
    reply = perform(site, travelled(job), shared)
    assert reply.error is None
    assert torch.equal(site.model.flat, site.model.theta0)
    return reply


def directions(site: Site, size: float = 0.3) -> dict[str, np.ndarray]:
    drawn = np.random.default_rng(0).normal(0, size, (len(NAMES), site.model.layout.size)).astype(np.float32)
    return dict(zip(NAMES, drawn, strict=True))


def answered(site: Site, client: str, theta: np.ndarray) -> np.ndarray:
    """What each example of a client scores at these parameters."""
    site.model.assign(theta.astype(np.float32))
    values = np.array(site.model.values(site.shard(client).train))
    site.model.reset()
    return values


def test_every_kind_is_here() -> None:
    assert {told.served.kind for told in TOLD} == set(KINDS)
    assert all(KINDS[told.served.kind] is type(told.served) for told in TOLD)


@pytest.mark.parametrize("told", TOLD, ids=str)
def test_what_it_says_of_itself(told: Told) -> None:
    served = told.served
    assert json.loads(json.dumps(served.facts)) == told.facts  # what is at its default is left out
    assert tuple(served.arrays) == told.arrays
    assert served.shared == told.shared
    assert (served.models, served.vectors, served.scales) == (told.models, told.vectors, told.scales)


@pytest.mark.parametrize("told", TOLD, ids=str)
def test_facts_and_arrays_survive_json(told: Told) -> None:
    back = served_of(json.loads(json.dumps(told.served.facts)), told.served.arrays)
    assert back == told.served
    assert (back.facts, back.shared) == (told.served.facts, told.served.shared)
    assert all(back.arrays[name] is array for name, array in told.served.arrays.items())


def test_a_job_gives_back_what_it_was_made_from() -> None:
    """Each client's own arrays, names and scales, whoever stands beside it."""
    served = [(f"u{index}", told.served) for index, told in enumerate(TOLD)]
    job = travelled(score_job(served))
    assert job.shared == ("a", "b", "c", "g", "n", "w")
    assert served_in(job) == [(told.served, list(told.scales)) for told in TOLD]
    assert sorted(job.arrays) == ["11/own", "13/own", "15/own", "16/own", "2/factors", "2/mask", "3/mask", "4/vector"]
    assert [scales for _, scales in served_in(score_job(served, [0.0, 2.0]))] == [[0.0, 2.0]] * len(TOLD)
    assert served_in(probe_job(served)) == served_in(job)


def test_scores_are_those_of_the_formula(site: Site) -> None:
    """Each kind at two scales, against parameters written out; the base model, ensembles and mixtures at their own."""
    model, theta0, shared = site.model, site.model.theta0.numpy().copy(), directions(site)
    a, b, c = (shared[name] for name in NAMES)
    random = np.random.default_rng(1)
    mask, factors = random.random(theta0.size) < 0.4, random.uniform(0.1, 3, len(model.layout.names)).astype(np.float32)
    spread = np.concatenate([np.full(np.prod(shape), f) for f, shape in zip(factors, model.layout.shapes, strict=True)])
    own = random.normal(0, 0.3, theta0.size).astype(np.float32)
    packed = bits.pack(mask)
    at: list[tuple[Served, Callable[[np.float32], np.ndarray]]] = [
        (BASE, lambda s: theta0),
        (Masked("a"), lambda s: theta0 + s * a),
        (Masked("a", mask=packed), lambda s: theta0 + s * np.where(mask, a, 0)),
        (Masked("a", factors=factors), lambda s: theta0 + s * (spread * a)),
        (Masked("b", 1.0, packed, factors, "c"), lambda s: theta0 + c + s * np.where(mask, spread * b, 0)),
        (Masked(start="c", mask=packed, factors=factors), lambda s: theta0 + c),
        (Own(own), lambda s: theta0 + s * own),
        (Mix((("c", 0.3), ("a", -0.7))), lambda s: theta0 + s * (0.3 * c.astype(float) - 0.7 * a).astype(np.float32)),
    ]
    clients, scales = [f"u{index}" for index in range(len(at))], [-0.5, 1.0]
    job = score_job([(client, served) for client, (served, _) in zip(clients, at, strict=True)], scales)
    reply = done(site, job, shared)
    assert reply.facts["evaluations"] == 2 * len(at)
    for client, (served, theta), found in zip(clients, at, reply.facts["scores"], strict=True):
        expected = [answered(site, client, theta(np.float32(scale))).mean() for scale in scales]
        assert found == pytest.approx(expected, rel=1e-5), served
        unmoved = isinstance(served, Masked) and served.direction is None
        assert unmoved == (expected[0] == pytest.approx(expected[1], rel=1e-3))


@pytest.mark.parametrize("start", [None, "c"])
def test_linear_is_the_tangent_space(site: Site, start: str | None) -> None:
    """Against torch's own product with the Jacobian of the saved module."""
    shared = directions(site, 0.1)
    scales, examples = [0.0, -0.5, 1.0], site.shard("u2").train
    reply = done(site, score_job([("u2", Linear("a", "b", start=start))], scales), shared)
    expected = []
    for scale in scales:
        displacement = (shared[start] if start else 0) + np.float32(scale) * shared["a"]
        module = Tangent(site, shared["b"], displacement)
        with torch.no_grad():
            losses = [float(plain_loss(module, module.tokenizer, [example])) for example in examples]
        expected.append(np.mean(np.exp(-np.array(losses))))
    assert reply.facts["scores"] == [pytest.approx(expected, rel=1e-4)]
    curved = answered(site, "u2", site.model.theta0.numpy() + shared["b"] + displacement).mean()
    assert reply.facts["scores"][0][-1] != pytest.approx(curved, rel=1e-3)


def test_an_ensemble_is_the_mean_probability(site: Site) -> None:
    shared, theta0 = directions(site), site.model.theta0.numpy()
    reply = done(site, score_job([("u1", Ensemble(NAMES)), ("u3", Ensemble(("b",)))]), shared)
    expected = [answered(site, "u1", theta0 + shared[name]) for name in NAMES]
    assert reply.facts["scores"][0] == [pytest.approx(np.mean(expected), rel=1e-6)]
    assert reply.facts["scores"][1] == [pytest.approx(answered(site, "u3", theta0 + shared["b"]).mean(), rel=1e-6)]
    assert reply.facts["evaluations"] == 4


def test_an_ensemble_votes_for_labels(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most votes win, of equals the lowest label; of this many prompts some are won otherwise by the mean probability."""
    labels, layout = ("ab", "cd", "ef"), site.model.layout
    shared, theta0 = directions(site, 1.0), site.model.theta0.numpy().copy()
    at = layout.names.index("transformer.ln_f.weight")
    for direction in shared.values():  # so large that probabilities differ
        direction[layout.bounds[at] : layout.bounds[at + 1]] = 40
    prompts = [f"{'xyz'[i % 3] * (i + 1)} and then" for i in range(24)]
    questions = [Example(prompt, "") for prompt in prompts]
    probabilities = []
    for name in NAMES:
        site.model.assign(theta0 + shared[name])
        losses = site.model.label_losses(questions, labels)  # type: ignore[attr-defined]
        powers = np.exp(losses.min(1, keepdims=True) - losses)
        probabilities.append(powers / powers.sum(1, keepdims=True))
    site.model.reset()
    votes = np.stack([np.bincount(row, minlength=3) for row in np.argmax(probabilities, axis=2).T])
    winners = {"vote": votes.argmax(1), "mean": np.mean(probabilities, axis=0).argmax(1)}
    assert (winners["vote"] != winners["mean"]).any()
    assert len(set(winners["vote"])) > 1
    assert (votes.max(1) == 1).any()  # one each: the lowest
    sets = {"": LabelSet(labels, labels)}
    monkeypatch.setattr(site.model, "label_sets", sets)
    for right in winners.values():
        examples = tuple(Example(p, labels[label]) for p, label in zip(prompts, right, strict=True))
        here = Site(site.settings, Dataset((Shard("u", examples),), (), sets), site.model)
        for kind, vote in (("vote", True), ("mean", False)):
            scores = done(here, score_job([("u", Ensemble(NAMES, vote))]), shared).facts["scores"]
            assert scores == [[pytest.approx(np.mean(winners[kind] == right))]]


# -- heads ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def labelled(site: Site) -> Site:
    """The tiny model over two clients whose answers are labels of two sets."""
    words = ("rain again", "what a day", "nobody came", "so it goes", "the film was long")
    mood = tuple(Example(f"{word}:", SETS["mood"].labels[i % 3], label_set="mood") for i, word in enumerate(words))
    other = tuple(Example(f"{word}?", SETS["answer"].labels[i % 2], label_set="answer") for i, word in enumerate(words))
    shards = (Shard("m", mood[:3], (), mood[3:]), Shard("n", (*other, mood[1]), (), (*other, mood[1])))
    return Site(site.settings, Dataset(shards, (), SETS), site.model)


@pytest.fixture(scope="module")
def pictures(cache: Any) -> Site:
    """Two clients of digits under a tiny classifier."""
    data = {"family": "images", "sets": ["digits"], "clients": 2, "maximum": 12, "minimum": 8, "public_clients": 2}
    resnet = {"depths": [1], "widths": [8], "pixels": 8, "steps": 4, "batch": 8}
    return open_site(Settings.model_validate({"data": data, "model": {"base": "resnet-18", "resnet": resnet}}))


def head_of(site: Site, labels: int, seed: int = 0) -> np.ndarray:
    """A random W, flattened."""
    width = len(site.model.features(site.shard(site.manifest.clients[0]).train[:1]))
    return np.random.default_rng(seed).normal(0, 3, labels * (width + 1)).astype(np.float32)


def plain_features(site: Site, example: Example) -> np.ndarray:
    """The last layer's output at the prompt's last token: the answer is not there to be read."""
    ids = site.model.tokenizer.encode(example.prompt)  # type: ignore[attr-defined]
    with torch.no_grad():
        hidden = site.model.module(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0, -1]
    return hidden.double().numpy()


def plain_softmax(rows: Sequence[np.ndarray], weights: np.ndarray, labels: int, mine: slice) -> np.ndarray:
    """Softmax of W · [φ, 1] over labels of one set, 0 for others."""
    w = weights.reshape(labels, -1).astype(np.float64)
    found = np.zeros((len(rows), labels))
    for row, phi in zip(found, rows, strict=True):
        powers = np.exp(w[mine, :-1] @ phi + w[mine, -1])
        row[mine] = powers / powers.sum()
    return found


def test_labels_are_numbered_over_all_sets_by_name(labelled: Site) -> None:
    assert numbering(SETS) == numbering(dict(reversed(SETS.items()))) == {"answer": range(2), "mood": range(2, 5)}
    shard = labelled.shard("n")
    rows = one_hot(shard.train, SETS)
    assert rows.argmax(1).tolist() == [0, 1, 0, 1, 0, 3]
    assert rows.sum(1).tolist() == [1] * 6
    assert rows.shape == (6, 5)


def test_a_head_is_a_softmax_of_features(labelled: Site) -> None:
    """Labels of other sets have probability 0; the own head counts, not the shared one; where the model stood does not."""
    weights, own = head_of(labelled, 5), head_of(labelled, 5, seed=1)
    labelled.model.assign(labelled.model.theta0.numpy() + 1)
    served = [("m", Head("w")), ("n", Head("w", own))]
    reply = done(labelled, probe_job(served), {"w": weights})
    scores = done(labelled, score_job(served, [0.0, 1.0]), {"w": weights}).facts
    assert scores["evaluations"] == 4
    for (client, _), w, score in zip(served, (weights, own), scores["scores"], strict=True):
        shard = labelled.shard(client)
        hits: dict[str, list[bool]] = {}
        for part, examples in (("train", shard.train), ("reported", shard.test)):
            right = one_hot(examples, SETS).argmax(1) if examples else np.zeros(0, dtype=int)
            found, model = reply.arrays[f"{part}/{client}"], HeadModel(labelled.model, w, SETS)
            hits[part] = []
            for index, (example, label) in enumerate(zip(examples, right, strict=True)):
                mine = slice(2, 5) if example.label_set == "mood" else slice(0, 2)
                (expected,) = plain_softmax([plain_features(labelled, example)], w, 5, mine)
                np.testing.assert_allclose(model.probabilities(examples)[0][index], expected, rtol=1e-4, atol=1e-12)
                np.testing.assert_allclose(found[:, index], [expected[label], expected.argmax() == label], rtol=1e-4)
                hits[part].append(expected.argmax() == label)
            assert found.shape == (2, len(examples))
        assert score[0] == pytest.approx(np.mean(hits["reported"]))
        assert len(set(score)) == 1  # a head has no scale
    probabilities, right = HeadModel(labelled.model, weights, SETS).probabilities(labelled.shard("n").train)
    assert (probabilities[:5, 2:] == 0).all()
    assert (probabilities[5, :2] == 0).all()
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert right.tolist() == [0, 1, 0, 1, 0, 3]


def test_features_neither_read_answers_nor_other_examples(labelled: Site) -> None:
    examples = labelled.shard("n").train
    rows = features(labelled.model, examples)
    np.testing.assert_array_equal(rows[:, -1], 1)
    np.testing.assert_allclose(
        rows[:, :-1], [plain_features(labelled, example) for example in examples], rtol=1e-4, atol=1e-6
    )
    others = [Example(example.prompt, "something else") for example in examples]
    assert features(labelled.model, others).tobytes() == rows.tobytes()
    alone = np.concatenate([features(labelled.model, [example]) for example in examples])
    assert alone.tobytes() == rows.tobytes()


def test_equal_labels_are_the_lowest(labelled: Site) -> None:
    model = HeadModel(labelled.model, np.zeros_like(head_of(labelled, 5)), SETS)
    examples = labelled.shard("n").train
    assert model.values(examples) == [1, 0, 1, 0, 1, 0]
    assert model.probabilities(examples)[0].tolist() == [[0.5, 0.5, 0, 0, 0]] * 5 + [[0, 0, *[pytest.approx(1 / 3)] * 3]]


def test_a_head_of_biases_alone_says_the_same_of_every_example(labelled: Site) -> None:
    """W of one column: no features are read."""
    biases = np.array([0.5, 0.25, -1, 3, 2], dtype=np.float32)
    examples = labelled.shard("n").train
    probabilities, _ = HeadModel(labelled.model, biases, SETS).probabilities(examples)
    answer, mood = np.exp(biases[:2]) / np.exp(biases[:2]).sum(), np.exp(biases[2:]) / np.exp(biases[2:]).sum()
    np.testing.assert_allclose(probabilities, [[*answer, 0, 0, 0]] * 5 + [[0, 0, *mood]], rtol=1e-6)
    scores = done(labelled, score_job([("n", Head("w"))]), {"w": biases}).facts["scores"]
    assert scores == [[pytest.approx(4 / 6)]]  # three of five are yes, and the one of moods is bad


def test_a_head_on_pictures(pictures: Site) -> None:
    """Features are what the classifier's own last layer is given."""
    weights, seen = head_of(pictures, 10), []
    (head,) = (each for each in pictures.model.module.modules() if isinstance(each, torch.nn.Linear))
    reply = done(pictures, probe_job([(client, Head("w")) for client in pictures.manifest.clients]), {"w": weights})
    for client in pictures.manifest.clients:
        examples = pictures.shard(client).train
        hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].double().numpy()))
        try:
            with torch.no_grad():
                pictures.model.logits(pictures.model.encode(examples))  # type: ignore[attr-defined]
        finally:
            hook.remove()
        expected = plain_softmax(seen.pop(), weights, 10, slice(0, 10))
        labels = pictures.manifest.label_sets["digits"].labels
        right = np.array([labels.index(example.answer) for example in examples])
        confidence = expected[np.arange(len(right)), right]
        np.testing.assert_allclose(reply.arrays[f"train/{client}"], [confidence, expected.argmax(1) == right], rtol=1e-3)


def test_a_head_needs_labels_and_fits_them(site: Site, labelled: Site) -> None:
    weights = head_of(site, 5)
    with pytest.raises(InputError, match="a head needs answers that are labels, and these are free text"):
        HeadModel(site.model, weights, site.manifest.label_sets)
    error = perform(site, score_job([("u1", Head("w"))]), {"w": weights}).error
    assert error == "InputError: a head needs answers that are labels, and these are free text"
    for wrong in (weights[:-1], weights[:-5], weights[:6], head_of(site, 4), weights.reshape(5, -1)):
        reply = perform(labelled, score_job([("m", Head("w"))]), {"w": wrong})
        assert str(reply.error).startswith("InputError: a head of shape (")
        assert "does not fit 5 labels × 17 features" in str(reply.error)
    assert "'w'" in str(perform(labelled, score_job([("m", Head("w"))]), {}).error)
