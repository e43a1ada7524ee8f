"""Probing: what every example is answered under a served model, by hand and against a plain computation."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from clients.app import decode_jobs, decode_replies, encode_arrays, encode_jobs, encode_replies
from clients.data.dataset import Shard
from clients.exact import bits
from clients.jobs import perform, probe_job, score_job
from clients.settings import Settings
from clients.work.probing import outcomes, probe
from clients.work.served import BASE, Ensemble, Masked, Own
from clients.work.site import Site, open_site

DIGITS = {
    "family": "images",
    "sets": ["digits"],
    "clients": 4,
    "maximum": 12,
    "minimum": 8,
    "validation": 0,
    "test": 4,
    "public_clients": 2,
}
RESNET = {"base": "resnet-18", "resnet": {"depths": [1], "widths": [8], "pixels": 8, "steps": 4, "batch": 8}}


@pytest.fixture(scope="module")
def pictures(cache: Any) -> Site:
    """Four clients of 8 + 4 digits under a tiny classifier."""
    return open_site(Settings.model_validate({"data": DIGITS, "model": RESNET, "tuning": {"steps": 2}}))


def plain(site: Site, theta: np.ndarray, examples: Sequence[Any]) -> np.ndarray:
    """Probabilities by a plain softmax, one example at a time; float64 [examples, labels]."""
    site.model.assign(theta)
    with torch.no_grad():
        logits = [site.model.logits(site.model.encode([example]))[0] for example in examples]  # type: ignore[attr-defined]
    site.model.reset()
    powers = np.exp([row.double().numpy() - float(row.max()) for row in logits])
    return powers / powers.sum(1, keepdims=True)


def expected(site: Site, thetas: Sequence[np.ndarray], examples: Sequence[Any]) -> list[list[float]]:
    probabilities = sum(plain(site, theta, examples) for theta in thetas) / len(thetas)
    labels = next(iter(site.manifest.label_sets.values())).labels
    right = [labels.index(example.answer) for example in examples]
    confidence = [row[label] for row, label in zip(probabilities, right, strict=True)]
    return [confidence, [float(max(row) == own) for row, own in zip(probabilities, confidence, strict=True)]]


def test_outcomes_by_hand() -> None:
    found = outcomes(np.array([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7], [0.4, 0.4, 0.2]]), np.array([0, 1, 1]))
    assert found.tolist() == [[0.5, 0.2, 0.4], [1.0, 0.0, 0.0]]  # of equals, the first label is the answer
    assert outcomes(np.array([[0.25], [0.75]]), np.array([0, 0])).tolist() == [[0.25, 0.75]] * 2


def test_every_way_to_serve_is_probed_on_both_parts(pictures: Site) -> None:
    random, size = np.random.default_rng(0), pictures.model.layout.size
    theta0, bounds = pictures.model.theta0.numpy().copy(), pictures.model.layout.bounds
    a, b, own = random.normal(0, 0.2, (3, size)).astype(np.float32)
    mask = random.random(size) < 0.5
    factors = random.uniform(0.1, 2, len(bounds) - 1).astype(np.float32)
    spread = np.repeat(factors, np.diff(bounds))
    ways = [
        (Masked("a", 0.5, bits.pack(mask), factors), [theta0 + np.float32(0.5) * mask * (spread * a)]),
        (Own(own), [theta0 + own]),
        (Masked("b", scale=-1.0, start="a"), [theta0 + a - b]),
        (Ensemble(("a", "b")), [theta0 + a, theta0 + b]),
    ]
    clients = pictures.manifest.clients
    job = probe_job([(client, served) for client, (served, _) in zip(clients, ways, strict=True)])
    assert (job.kind, job.shared) == ("probe", ("a", "b"))
    reply = perform(pictures, job, {"a": a, "b": b})
    assert reply.error is None
    assert sorted(reply.arrays) == sorted(f"{part}/{client}" for part in ("train", "reported") for client in clients)
    for client, (_, thetas) in zip(clients, ways, strict=True):
        shard = pictures.shard(client)
        for part, examples in (("train", shard.train), ("reported", shard.test)):
            found = reply.arrays[f"{part}/{client}"]
            assert found.dtype == np.float64
            np.testing.assert_allclose(found, expected(pictures, thetas, examples), rtol=1e-4, atol=1e-6)
    assert {reply.facts[key] for key in ("gradient_steps", "parallel_steps", "client_tunings")} == {0}
    assert reply.facts["evaluations"] == 5
    assert torch.equal(pictures.model.flat, pictures.model.theta0)


def test_a_probe_and_a_score_agree(pictures: Site) -> None:
    served = [(client, BASE) for client in pictures.manifest.clients]
    probed, scored = (perform(pictures, make(served), {}) for make in (probe_job, score_job))
    means = [probed.arrays[f"reported/{client}"][1].mean() for client, _ in served]
    assert [[mean] for mean in means] == scored.facts["scores"]


def test_free_text_scores_its_probability_and_a_missing_part_is_empty(site: Site) -> None:
    shard = site.shard("u1")
    probed = probe(site.model, shard)
    assert probed["reported"].shape == (2, 0)
    assert probed["train"].shape == (2, 3)
    np.testing.assert_array_equal(probed["train"][0], probed["train"][1])
    np.testing.assert_allclose(probed["train"][0], site.model.values(shard.train), rtol=1e-12)
    halves = probe(site.model, Shard("x", shard.train[:1], (), shard.train[1:]))
    np.testing.assert_allclose(np.concatenate([halves["train"], halves["reported"]], 1), probed["train"], rtol=1e-5)


def test_a_probe_travels_as_a_message(site: Site) -> None:
    job = probe_job([("u1", Masked("d", scale=0.5))])
    shared = {"d": np.full(site.model.layout.size, 0.01, dtype=np.float32)}
    (sent,), arrays, _ = decode_jobs(encode_jobs([job], encode_arrays(shared), "{}"))
    near, (far,) = perform(site, job, shared), decode_replies(encode_replies([perform(site, sent, arrays)]))
    assert far.error is None
    assert {name: (a.shape, a.tobytes()) for name, a in far.arrays.items()} == {
        name: (a.shape, a.tobytes()) for name, a in near.arrays.items()
    }
    assert far.arrays["reported/u1"].shape == (2, 3)


def test_a_probe_that_cannot_be_done_is_a_reply(site: Site) -> None:
    reply = perform(site, probe_job([("nobody", BASE)]), {})
    assert "nobody" in str(reply.error)
