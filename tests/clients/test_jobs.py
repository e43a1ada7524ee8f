import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from clients.exact import bits, digest
from clients.exact.grid import to_grid
from clients.jobs import Job, Reply, mask_job, perform, score_job, tune_job
from clients.work import masking, scoring, tuning
from clients.work.contributions import SUM, VECTOR, Wanted
from clients.work.rules import rule_of
from clients.work.served import BASE, Masked, Mix, Own
from clients.work.site import Site, open_site

CLIENTS = ("u1", "u4", "u6")
SHARES = (1.0, 0.5, 0.05)
FEATURES = Wanted(what="features")


def of_shares(*shares: float) -> list[Wanted]:
    """Masks and mean sizes."""
    return [Wanted(what=what, value=keep) for keep in shares for what in ("mask", "size")]


def vector_of(site: Site, client: str, rule: str = "plain") -> np.ndarray:
    spec, seed = site.settings.tuning, site.settings.seed
    signs = bits.sign_vector(seed, site.model.layout.size) if rule == "sign_fixed" else None
    return tuning.tune(site.model, site.shard(client), rule, spec, seed, signs).vector


def done(site: Site, job: Job, shared: dict[str, np.ndarray] | None = None) -> Reply:
    """A job's reply, which is no error; the model is back at its pretrained values."""
    reply = perform(site, job, shared or {})
    assert reply.error is None
    assert reply.clients == job.clients
    assert torch.equal(site.model.flat, site.model.theta0)
    return reply


def score_at(site: Site, client: str, theta: np.ndarray) -> float:
    site.model.assign(theta.astype(np.float32))
    value = scoring.score(site.model, site.shard(client))
    site.model.reset()
    return value


@pytest.mark.parametrize("rule", ["plain", "sign_fixed"])
def test_the_partial_sum_is_the_sum_of_the_clients_grids(site: Site, rule: str) -> None:
    reply = done(site, tune_job(CLIENTS, rule, [SUM]))
    grids = {client: to_grid(vector_of(site, client, rule), rule_of(rule).grid(site)) for client in CLIENTS}
    steps = np.sum([np.rint(vector_of(site, client, rule).astype(np.float64) * 2**23) for client in CLIENTS], axis=0)
    np.testing.assert_array_equal(reply.arrays["sum"], sum(grids.values()))
    np.testing.assert_array_equal(reply.arrays["sum"], steps)  # lr 3e-3: 2^-23 is at most lr / 2^14, 2^-22 is more
    assert reply.arrays["sum"].dtype == np.int32
    assert set(reply.arrays) == {"sum"}
    for client in CLIENTS:
        told = reply.facts["tunings"][client]
        assert told["digest"] == digest.of_integers(grids[client].astype(np.int64))
        shard = site.shard(client)
        assert told["recipe"] == tuning.recipe_digest(site.model, shard, rule, site.settings.tuning, site.settings.seed)
        assert told["steps"] == 2
        assert told["tokens"] == 2 * sum(len(encoded.ids) for encoded in site.model.encode(shard.train))
    counted = {key: reply.facts[key] for key in ("gradient_steps", "parallel_steps", "client_tunings", "parameters")}
    assert counted == {
        "gradient_steps": 6,
        "parallel_steps": 2,
        "client_tunings": 3,
        "parameters": site.model.layout.size,
    }


def test_cohorts_do_not_matter(site: Site) -> None:
    """One reply for three clients, or three replies in another order: equal sums, masks, features and digests."""
    wants = [SUM, *of_shares(0.5), FEATURES]
    together = done(site, tune_job(CLIENTS, "plain", wants))
    apart = [done(site, tune_job([client], "plain", wants)) for client in reversed(CLIENTS)]
    np.testing.assert_array_equal(together.arrays["sum"], sum(reply.arrays["sum"] for reply in apart))
    for reply in apart:
        (client,) = reply.clients
        assert reply.facts["tunings"][client] == together.facts["tunings"][client]
        for name in (f"mask-0.5/{client}", f"size-0.5/{client}", f"features/{client}"):
            assert reply.arrays[name].tobytes() == together.arrays[name].tobytes()


def test_masks_and_sizes_from_the_vectors(site: Site) -> None:
    reply = done(site, tune_job(CLIENTS, "sign_fixed", [*of_shares(*SHARES), VECTOR]))
    vectors = {client: vector_of(site, client, "sign_fixed") for client in CLIENTS}
    for client, vector in vectors.items():
        assert reply.arrays[f"vector/{client}"].tobytes() == vector.tobytes()
        entries = vector.tolist()
        ranked = sorted(abs(x) for x in entries if x != 0)
        for keep in SHARES:
            edge = ranked[-round(keep * len(ranked))]
            packed = reply.arrays[f"mask-{keep:g}/{client}"]
            assert packed.dtype == np.uint8
            assert bits.unpack(packed, vector.size).tolist() == [abs(x) >= edge for x in entries]
            sizes = []
            for start, stop in pairwise(site.model.layout.bounds):
                kept = [abs(x) for x in entries[start:stop] if abs(x) >= edge]
                sizes.append(sum(kept) / len(kept) if kept else 0.0)
            np.testing.assert_allclose(reply.arrays[f"size-{keep:g}/{client}"], sizes, rtol=1e-6)
    assert len(reply.arrays) == len(CLIENTS) * (1 + 2 * len(SHARES))


def test_features_are_those_of_the_base_model(site: Site) -> None:
    reply = done(site, tune_job(CLIENTS, "plain", [FEATURES]))
    for client in CLIENTS:
        expected = site.model.features(site.shard(client).train)
        assert reply.arrays[f"features/{client}"].tobytes() == expected.tobytes()


def test_what_is_wanted_joins(site: Site) -> None:
    """As a set, whatever the order: each wish counts once, and travels as plain JSON."""
    one, other = [SUM, *of_shares(0.5, 1.0)], [*of_shares(0.2, 0.5), VECTOR]
    joined = {SUM, *of_shares(0.2, 0.5, 1.0), VECTOR}
    assert {*one, *other} == {*other, *one} == joined
    assert len(joined) == 8
    assert joined | set() == joined
    assert set() | {FEATURES} == {FEATURES}
    job = tune_job(["u1"], "plain", dict.fromkeys([*one, *other]))
    assert [value for what, value in job.facts["wants"] if what == "mask"] == [0.5, 1.0, 0.2]  # plain JSON
    assert json.loads(json.dumps(job.facts)) == job.facts
    told = set(done(site, replace(job, facts=json.loads(json.dumps(job.facts)))).arrays)
    assert told == {"sum", "vector/u1", *(f"{what}-{keep}/u1" for what in ("mask", "size") for keep in ("0.2", "0.5", "1"))}


def test_jobs_that_cannot_be_done_are_replies(site: Site) -> None:
    direction = {"d": np.zeros(site.model.layout.size, dtype=np.float32)}
    short = {"d": np.zeros(site.model.layout.size - 1, dtype=np.float32)}
    mask = np.zeros(3, dtype=np.uint8)
    for job, shared, message in (
        (tune_job(["u1", "nobody"], "plain", [SUM]), {}, "nobody"),
        (mask_job(["nobody"], "d", 1.0, 1, 0.1), direction, "nobody"),
        (score_job([("nobody", BASE)]), {}, "nobody"),
        (score_job([("u1", Masked(direction="d"))]), {}, "'d'"),
        (score_job([("u1", Masked(direction="d"))]), short, "InputError: a direction of shape"),
        (score_job([("u1", Masked(direction="d", mask=mask))]), direction, "InputError: a mask of"),
        (mask_job(["u1"], "d", 1.0, 1, 0.1), short, "Error"),
        (Job("dance", ("u1",), {}), {}, "dance"),
    ):
        reply = perform(site, job, shared)
        assert reply.error is not None
        assert message in reply.error
        assert (reply.clients, reply.facts, reply.arrays) == (job.clients, {}, {})
        assert torch.equal(site.model.flat, site.model.theta0)


def test_a_failure_in_the_middle_of_tuning_leaves_the_base_model(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, whole = [], site.model.loss

    def loss(batch: Any) -> Any:
        calls.append(torch.equal(site.model.flat, site.model.theta0))
        return whole(batch) if len(calls) < 2 else 1 / 0

    with monkeypatch.context() as patch:
        patch.setattr(site.model, "loss", loss)
        reply = perform(site, tune_job(["u1"], "plain", [SUM]), {})
    assert calls == [True, False]
    assert reply.error == "ZeroDivisionError: division by zero"
    assert torch.equal(site.model.flat, site.model.theta0)
    assert perform(site, tune_job(["u1"], "plain", []), {}).error is None


def test_learn_mask_packs_what_masking_learns(site: Site) -> None:
    direction = np.random.default_rng(0).normal(0, 0.05, site.model.layout.size).astype(np.float32)
    job = mask_job(["u1", "u4"], "merged", 0.5, 3, 0.2)
    assert job.shared == ("merged",)
    reply = done(site, job, {"merged": direction})
    shards = [site.shard("u1"), site.shard("u4")]
    expected = masking.learn_mask(site.model, shards, direction, 0.5, 3, 0.2, None)
    np.testing.assert_array_equal(bits.unpack(reply.arrays["mask"], direction.size), expected)
    counted = {key: reply.facts[key] for key in ("gradient_steps", "parallel_steps", "client_tunings")}
    assert counted == {"gradient_steps": 6, "parallel_steps": 3, "client_tunings": 0}


def test_scores_of_every_way_to_serve(site: Site) -> None:
    """θ0 + scale · (mask ⊙ factors ⊙ direction), each part left out once, an own vector and a sum of two, against scoring
    that vector itself."""
    model, random = site.model, np.random.default_rng(0)
    theta0, bounds, size = model.theta0.numpy(), model.layout.bounds, model.layout.size
    a, b, own = random.normal(0, 0.3, (3, size)).astype(np.float32)
    mask = random.random(size) < 0.4
    factors = random.uniform(0.1, 3, len(bounds) - 1).astype(np.float32)
    spread = np.concatenate([np.full(stop - start, f) for f, start, stop in zip(factors, bounds, bounds[1:], strict=False)])
    packed = bits.pack(mask)
    ways = [
        (BASE, theta0),
        (Masked("a"), theta0 + a),
        (Masked("b", scale=-0.5), theta0 - np.float32(0.5) * b),
        (Masked("a", mask=packed), theta0 + mask * a),
        (Masked("a", 2.0, packed, factors), theta0 + 2 * mask * (spread * a)),
        (Masked("b", 2.0, None, factors), theta0 + 2 * spread * b),
        (Own(own), theta0 + own),
        (Mix((("a", 0.5), ("b", -0.25))), theta0 + (np.float32(0.5) * a - np.float32(0.25) * b)),
        (Masked(scale=3.0, mask=packed), theta0),
    ]
    clients = [f"u{index % 8}" for index in range(len(ways))]
    job = score_job([(client, served) for client, (served, _) in zip(clients, ways, strict=True)])
    assert job.shared == ("a", "b")
    assert job.clients == tuple(clients)
    reply = done(site, job, {"a": a, "b": b})
    expected = [[score_at(site, client, theta)] for client, (_, theta) in zip(clients, ways, strict=True)]
    np.testing.assert_allclose(reply.facts["scores"], expected, rtol=1e-5)
    assert len({score for (score,) in reply.facts["scores"]}) >= len(ways) - 1
    counted = {key: reply.facts[key] for key in ("gradient_steps", "parallel_steps", "client_tunings", "evaluations")}
    assert counted == {"gradient_steps": 0, "parallel_steps": 0, "client_tunings": 0, "evaluations": len(ways)}


def test_several_scales(site: Site) -> None:
    direction, own = np.random.default_rng(0).normal(0, 0.3, (2, site.model.layout.size)).astype(np.float32)
    served = [("u0", Masked("d", scale=9.0)), ("u2", Masked("d", mask=bits.pack(direction > 0))), ("u4", Own(own))]
    scales = (0.0, 0.8, 1.6)
    reply = done(site, score_job(served, scales), {"d": direction})
    theta0 = site.model.theta0.numpy()
    for client, row, kept in (
        ("u0", reply.facts["scores"][0], direction),
        ("u2", reply.facts["scores"][1], np.maximum(direction, 0)),
        ("u4", reply.facts["scores"][2], own),
    ):
        expected = [score_at(site, client, theta0 + np.float32(scale) * kept) for scale in scales]
        assert row == expected  # the same bits: powers aside, each product is rounded once either way
        assert len(set(row)) == 3
    assert done(site, score_job(served[:1]), {"d": direction}).facts["scores"] == [
        [score_at(site, "u0", theta0 + np.float32(9) * direction)]
    ]


def test_a_site_is_opened_once(site: Site) -> None:
    opened = open_site(site.settings)  # the fixture's own may have had to make room for other tests'
    copy = type(site.settings).model_validate_json(site.settings.model_dump_json())
    assert open_site(copy) is opened
