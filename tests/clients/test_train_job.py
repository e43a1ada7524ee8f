"""The job that trains on pooled data, and served models that start from a vector or answer together."""

import json

import numpy as np
import pytest
import torch

from clients.jobs import Job, perform, score_job, train_job
from clients.work import scoring
from clients.work.pooled import Term, Training, train
from clients.work.served import BASE, Ensemble, Linear, Masked, Mix
from clients.work.site import Site

TRAINING = Training(
    terms=(Term(clients=("u4", "u1")), Term(clients=("u6", "u1"), weight=0.5)), steps=2, batch=3, salient=0.5
)


def shared(site: Site) -> dict[str, np.ndarray]:
    drawn = np.random.default_rng(0).normal(0, 0.3, (3, site.model.layout.size)).astype(np.float32)
    return dict(zip("abc", drawn, strict=True))


def travelled(job: Job) -> Job:
    """The job as a message has it: its facts have been JSON."""
    return Job(job.kind, job.clients, json.loads(json.dumps(job.facts)), job.arrays, job.shared)


@pytest.mark.parametrize("start", [None, "a"])
def test_train(site: Site, start: str | None) -> None:
    job = train_job(TRAINING, start)
    assert (job.clients, job.shared) == (("u1", "u4", "u6"), (start,) if start else ())
    reply = perform(site, travelled(job), shared(site))
    assert reply.error is None
    settings = site.settings
    at = shared(site)[start] if start else None
    expected = train(site.model, site.source, TRAINING, settings.tuning, settings.seed, at)
    assert reply.arrays["vector"].tobytes() == expected.vector.tobytes()
    counted = {key: reply.facts[key] for key in ("gradient_steps", "parallel_steps", "client_tunings", "tokens")}
    assert counted == {"gradient_steps": 5, "parallel_steps": 5, "client_tunings": 3, "tokens": expected.tokens}


def score_at(site: Site, client: str, added: np.ndarray) -> float:
    site.model.assign(site.model.theta0.numpy() + added)
    value = scoring.score(site.model, site.shard(client))
    site.model.reset()
    return value


def test_start_is_added_as_it_is(site: Site) -> None:
    vectors = shared(site)
    job = score_job([("u1", Masked("b", start="a")), ("u2", Masked(start="c"))], scales=[0.0, -0.5, 1.0])
    assert job.shared == ("a", "b", "c")
    reply = perform(site, travelled(job), vectors)
    one = [score_at(site, "u1", vectors["a"] + scale * vectors["b"]) for scale in (0.0, np.float32(-0.5), 1.0)]
    np.testing.assert_allclose(reply.facts["scores"][0], one, rtol=1e-4)
    assert len(set(one)) == 3
    assert reply.facts["scores"][1] == [score_at(site, "u2", vectors["c"])] * 3
    assert reply.facts["evaluations"] == 6


def test_around_a_direction_the_model_is_linear(site: Site) -> None:
    """Around a, displacement b + scale · c; served plainly, the same sum scores otherwise."""
    vectors = {name: vector / 3 for name, vector in shared(site).items()}
    job = score_job([("u1", Linear("c", "a", start="b")), ("u2", Linear("c", around="a"))], scales=[0.0, -0.5])
    assert job.shared == ("a", "b", "c")
    reply = perform(site, travelled(job), vectors)

    def expected(client: str, displacement: np.ndarray) -> float:
        site.model.assign(site.model.theta0.numpy() + vectors["a"])
        with site.model.linear(torch.from_numpy(displacement)):
            value = scoring.score(site.model, site.shard(client))
        site.model.reset()
        return value

    half = np.float32(-0.5) * vectors["c"]
    one = [expected("u1", vectors["b"]), expected("u1", vectors["b"] + half)]
    np.testing.assert_allclose(reply.facts["scores"][0], one, rtol=1e-5)
    other = [score_at(site, "u2", vectors["a"]), expected("u2", half)]
    np.testing.assert_allclose(reply.facts["scores"][1], other, rtol=1e-4)
    assert one[1] != pytest.approx(score_at(site, "u1", vectors["a"] + vectors["b"] + half), rel=1e-3)
    training = train_job(TRAINING, "b", around="a")
    assert sorted(training.shared) == ["a", "b"]
    reply = perform(site, travelled(training), vectors)
    s = site.settings
    trained = train(site.model, site.source, TRAINING, s.tuning, s.seed, vectors["b"], vectors["a"])
    assert reply.arrays["vector"].tobytes() == trained.vector.tobytes()


def test_together_is_the_mean_probability(site: Site) -> None:
    vectors = shared(site)
    job = score_job([("u3", Ensemble(("c", "a"))), ("u3", Masked("b"))])
    assert job.shared == ("a", "b", "c")
    reply = perform(site, travelled(job), vectors)
    assert reply.facts["scores"][0] == [
        pytest.approx((score_at(site, "u3", vectors["a"]) + score_at(site, "u3", vectors["c"])) / 2)
    ]
    assert reply.facts["scores"][1] == [score_at(site, "u3", vectors["b"])]
    assert reply.facts["evaluations"] == 3


def test_mixed_is_the_weighted_sum_of_directions(site: Site) -> None:
    vectors = shared(site)
    mixed = (("c", 0.3), ("a", 0.7))
    job = score_job([("u3", Mix(mixed)), ("u4", Mix(mixed))], scales=[1.0, 0.5])
    assert job.shared == ("a", "c")
    reply = perform(site, travelled(job), vectors)
    added = (0.3 * vectors["c"].astype(np.float64) + 0.7 * vectors["a"].astype(np.float64)).astype(np.float32)
    assert reply.facts["scores"] == [
        [score_at(site, client, scale * added) for scale in (np.float32(1), np.float32(0.5))] for client in ("u3", "u4")
    ]
    assert reply.facts["evaluations"] == 4


def test_a_vote_on_free_text_is_refused(site: Site) -> None:
    job = score_job([("u3", Ensemble(("c", "a"), vote=True))])
    assert "a vote needs labels to vote for" in str(perform(site, travelled(job), shared(site)).error)


def test_jobs_that_cannot_be_done_are_replies(site: Site) -> None:
    assert "'a'" in str(perform(site, train_job(TRAINING, "a"), {}).error)
    nobody = Training(terms=(Term(clients=("nobody",)),), steps=1, batch=1)
    assert "nobody" in str(perform(site, train_job(nobody), {}).error)
    assert "'z'" in str(perform(site, score_job([("u1", Ensemble(("a", "z")))]), shared(site)).error)
    assert perform(site, score_job([("u1", BASE)]), {}).facts["scores"] == [[score_at(site, "u1", np.float32(0))]]
