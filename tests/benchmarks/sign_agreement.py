"""When do n tunings on the forget set agree in sign? NegMerge's consensus, measured against a model of noise.

    python -m tests.benchmarks.sign_agreement SCENARIO [--set KEY=VALUE ...] [--rates 2,0.5,0.1] [--steps 20,100] ...

θ_c is trained as ``central`` does it; its clients are everybody's, and the forget set is the training data of who leaves
first. For every point of the grid n tunings of θ_c are made (``strategies.edit.negmerge.variants``), and told are

    moves     share of the d entries that any of the n moved
    corr      mean correlation of sign(τ_j) and sign(τ_k) over the entries that move, by pairs
    kept(n)   share of the entries that move whose sign is the same in the first n; ``all`` of the d entries
    model(n)  the same where entries are signal and independent noise, τ_k = s + σ·ε_k, both normal: the chance that n
              normal numbers of one correlation have one sign, the correlation being that of ``corr``
    forget, retain   accuracy of the leavers' training data and of who stays (test) at the λ that ``negmerge`` chooses, of
              the mean of all n and of the consensus; λ is chosen on who stays' validation data (training data without)

The model has no free number beside ``corr``. At n = 30 it keeps 5 to 10 % only where the correlation of the values is about
one half; at 0 it keeps 2^(1−n).
"""

import argparse
import itertools
import json
from typing import Any

import numpy as np

from clients.work.pooled import Term, Training, train
from clients.work.scoring import score
from clients.work.site import open_site
from strategies.edit.negmerge import LAMBDAS, NegMergeParameters, choose, variants

SIZES = (2, 3, 5, 10, 20, 30)


def agreeing(vectors: np.ndarray, n: int) -> np.ndarray:
    """Where the first n of vectors [m, d] have one sign, and none is 0; bool [d]."""
    signs = np.sign(vectors[:n])
    return np.abs(signs.sum(axis=0)) == n


def sign_correlation(vectors: np.ndarray) -> float:
    """Mean over pairs of the mean product of signs, over the entries that move in all; of vectors [m, d]."""
    signs = np.sign(vectors[:, (vectors != 0).all(axis=0)])
    m = len(signs)
    if not signs.size:
        return 0.0
    return float(((signs.sum(axis=0) ** 2).mean() - m) / (m * (m - 1)))


def expected(correlation: float, n: int) -> float:
    """Chance that n normal numbers, of one correlation pairwise, have one sign: E[Φ(z)^n + Φ(−z)^n], z ~ N(0, c/(1−c)).

    Args:
        correlation: of their signs; that of the numbers is sin(π/2 · correlation).
    """
    from scipy.stats import norm

    c = min(max(np.sin(np.pi / 2 * correlation), 0.0), 1 - 1e-9)
    x = np.linspace(-8, 8, 32001)
    weights = norm.pdf(x)
    return float(2 * (weights * norm.cdf(x * np.sqrt(c / (1 - c))) ** n).sum() / weights.sum())


def measured(
    site: Any, settings: Any, central: np.ndarray, leavers: list[str], stay: list[str], p: NegMergeParameters
) -> dict[str, Any]:
    """One point of the grid, as a JSON object."""
    vectors = np.stack(
        [
            train(site.model, site.source, t, settings.tuning, settings.seed, start=central).vector
            for t in variants(p, leavers)
        ]
    )
    moving = (vectors != 0).any(axis=0)
    correlation = sign_correlation(vectors)
    told: dict[str, Any] = {"moves": float(moving.mean()), "corr": correlation}
    told["kept"] = {n: float(agreeing(vectors, n).sum() / moving.sum()) for n in SIZES if n <= p.tunings}
    told["kept_all"] = {n: told["kept"][n] * told["moves"] for n in told["kept"]}
    told["model"] = {n: expected(correlation, n) for n in told["kept"]}
    told["size"] = float(np.abs(vectors[:, moving]).mean())
    mean = vectors.mean(axis=0)
    for name, tau in {
        "uniform": mean,
        "consensus": np.where(agreeing(vectors, p.tunings), mean, 0),
        "first": vectors[0],
    }.items():
        told[name] = negated(site, central, tau, leavers, stay)
    return told


def negated(site: Any, central: np.ndarray, tau: np.ndarray, leavers: list[str], stay: list[str]) -> dict[str, float]:
    """Accuracies of θ0 + central − λτ at the λ that negmerge chooses."""
    choosing = "validation" if site.manifest.sides.validated else "train"
    rows = []
    for scale in LAMBDAS:
        site.model.assign(site.model.theta0.numpy() + central - np.float32(scale) * tau.astype(np.float32))
        rows.append({
            "lambda": scale,
            "forget": mean_score(site, leavers, "train"),
            "control": mean_score(site, stay, choosing),
            "retain": mean_score(site, stay, "test"),
            "forget_test": mean_score(site, leavers, "test"),
        })  # fmt: skip
    site.model.reset()
    before = {f"{key}_before": value for key, value in rows[0].items() if key != "lambda"}
    return rows[choose([row["forget"] for row in rows], [row["control"] for row in rows])] | before


def mean_score(site: Any, clients: list[str], side: Any) -> float:
    values = [score(site.model, site.shard(client), side) for client in clients]
    return float(np.mean([value for value in values if value is not None]))


def numbers(text: str) -> list[float]:
    return [float(each) for each in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--central", type=numbers, default=[400, 64], help="steps and batch of the central model")
    parser.add_argument("--leave", help="clients, by a comma; or by a name's beginning, as in x-*; default: the last two")
    parser.add_argument("--rates", type=numbers, default=[2.0])
    parser.add_argument("--steps", type=numbers, default=[20])
    parser.add_argument("--batches", type=numbers, default=[10])
    parser.add_argument("--vary", default="augment,rate,dropout")
    parser.add_argument("-n", type=int, default=30)
    asked = parser.parse_args()
    from sim.scenario.file import load_scenario

    scenario = load_scenario(asked.scenario, asked.set)
    for seed in scenario.seeds:
        settings = scenario.settings(seed)
        site = open_site(settings)
        clients = list(site.manifest.clients)
        leavers = clients[-2:]
        if asked.leave:
            leavers = [
                c
                for c in clients
                if any(c == e or (e.endswith("*") and c.startswith(e[:-1])) for e in asked.leave.split(","))
            ]
        stay = [client for client in clients if client not in leavers]
        pool = Training(terms=(Term(clients=tuple(clients)),), steps=int(asked.central[0]), batch=int(asked.central[1]))
        central = train(site.model, site.source, pool, settings.tuning, seed).vector
        for rate, steps, batch in itertools.product(asked.rates, asked.steps, asked.batches):
            p = NegMergeParameters(
                tunings=asked.n, edit_rate=rate, edit_steps=int(steps), edit_batch=int(batch),
                vary=tuple(filter(None, asked.vary.split(","))),
            )  # fmt: skip
            point = {"seed": seed, "rate": rate, "steps": steps, "batch": batch, "vary": asked.vary}
            print(json.dumps(point | measured(site, settings, central, leavers, stay, p)), flush=True)


if __name__ == "__main__":
    main()
