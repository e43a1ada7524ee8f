"""Does a ridge head of one's own do better on the client's own tuned model than on the frozen one?

    python -m tests.benchmarks.own_head OUT --data FOLDER [--tasks 50] [--seeds 1 2 3]

The settings, clients and seeds are those of ``tests.benchmarks.study``. A client's own model is one of

    masks    θ0 + m ⊙ v ⊙ a    what mask_only serves at rho .5: its own half mask, the shared signs, a number per tensor
    masked   θ0 + m ⊙ τ        its own sign-fixed vector, under the same mask
    local    θ0 + τ            its own plain vector

Each answers by itself, and under a head W · φ + mix · log p, with φ and p of that model, W = (G + λI)⁻¹ B of the client's
training examples. λ and mix are chosen by the mean over all clients' validation examples; test examples are reported. With
the frozen model in the place of the client's own this is ``ridge_own``, which stands beside it.
"""

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from clients.data.dataset import Example, Shard
from clients.exact import bits
from clients.exact.determinism import deterministic
from clients.work.bench import Bench
from clients.work.contributions import Derived, size
from clients.work.embedding import Embedding, matmul
from clients.work.head import one_hot
from clients.work.heads import Frozen, solved
from clients.work.rules import rule_of
from clients.work.scoring import score
from clients.work.site import HERE, Site, open_site
from sim.stream.requests import population
from tests.benchmarks.study import SETTINGS, scenario_of

KEEP = 0.5
RIDGES = (0.1, 1.0, 10.0)
MIXES = (0.0, 0.03, 0.1, 0.3, 1.0)
CHOICES = list(itertools.product(RIDGES, MIXES))
OWN = ("frozen", "masks", "masked", "local")


def own_models(site: Site, shard: Shard) -> Iterator[tuple[str, np.ndarray]]:
    """A client's own models by name, fp32 [d]."""
    theta0, fixed = site.model.theta0.numpy(), rule_of("sign_fixed")
    yield "frozen", theta0
    vector = fixed.derive(site, shard).vector
    derived = Derived(site, shard, vector, fixed.bounds(site), fixed.grid(site))
    mask, sizes = derived.mask(KEEP), size(derived, KEEP)
    signs = fixed.signs(site.settings.seed, vector.size)
    assert signs is not None
    factors = np.repeat(sizes, np.diff(derived.bounds))
    yield "masks", theta0 + np.where(mask, signs * factors, 0).astype(np.float32)
    yield "masked", theta0 + np.where(mask, vector, 0).astype(np.float32)
    yield "local", bits.add_masked(theta0, rule_of("plain").derive(site, shard).vector, 1.0)


def scores(site: Site, shard: Shard, theta: np.ndarray) -> dict[str, list[float]]:
    """Of the model alone, and then under a head of every choice, on both sides."""
    sides = {"chosen_on": site.manifest.sides.chosen_on, "reported": site.manifest.sides.reported}
    bench = Bench(site.model, theta, site.manifest.label_sets, Embedding(site.model, site.manifest, site.settings.seed))
    frozen = Frozen(bench)  # puts the model back to θ0 once, at its start
    site.model.assign(theta)
    found = {part: [score(site.model, shard, side) or 0.0] for part, side in sides.items()}
    with deterministic():
        phi = frozen.phi(shard.train)
        gram, cross = matmul(phi.T, phi), matmul(phi.T, one_hot(shard.train, site.manifest.label_sets))

    def told(weights: np.ndarray, mix: float, examples: Sequence[Example]) -> np.ndarray:
        with deterministic():
            answers = matmul(frozen.phi(examples), weights)
        return answers + mix * frozen.log_probabilities(examples) if mix else answers

    for ridge, mix in CHOICES:
        head = frozen.answering(partial(told, solved(gram, cross, ridge), mix))
        for part, side in sides.items():
            found[part].append(score(head, shard, side) or 0.0)
    site.model.reset()
    return found


def measured(name: str, tasks: int, seed: int, data: Path | None) -> dict[str, dict[str, float]]:
    """Test accuracy of each of a client's own models, alone and under its best head."""
    scenario = scenario_of(name, tasks, seed, data)
    clients = HERE.dataset(scenario.data, seed).manifest.clients
    joining, _ = population(scenario.stream, clients, seed)
    site = open_site(scenario.settings(seed))
    parts: dict[str, dict[str, list[list[float]]]] = {own: {"chosen_on": [], "reported": []} for own in OWN}
    for client in joining:
        shard = site.shard(client)
        for own, theta in own_models(site, shard):
            for part, values in scores(site, shard, theta).items():
                parts[own][part].append(values)
    told = {}
    for own, both in parts.items():
        chosen_on, reported = np.array(both["chosen_on"]), np.array(both["reported"])
        best = int(chosen_on[:, 1:].mean(0).argmax())
        told[own] = {
            "alone": float(reported[:, 0].mean()),
            "head": float(reported[:, 1 + best].mean()),
            "ridge": CHOICES[best][0],
            "mix": CHOICES[best][1],
        }
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--tasks", type=int, default=50)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    asked = parser.parse_args()
    labelled = [name for name, setting in SETTINGS.items() if setting.labelled and (asked.data or not setting.needs)]
    for seed, name in itertools.product(asked.seeds, labelled):
        place = asked.out / f"{name}-{asked.tasks}-{seed}" / "summary.json"
        if not place.is_file():
            told = measured(name, asked.tasks, seed, asked.data)
            place.parent.mkdir(parents=True)
            place.write_text(json.dumps(told, indent=1))
    print(f"| setting, T = {asked.tasks} |", *(f"{own} | … head |" for own in OWN))
    print("|---" * (1 + 2 * len(OWN)) + "|")
    for name in labelled:
        each = [json.loads((asked.out / f"{name}-{asked.tasks}-{s}" / "summary.json").read_text()) for s in asked.seeds]
        cells = [np.array([told[own][key] for told in each]) for own in OWN for key in ("alone", "head")]
        print(f"| {name} |", *(f"{c.mean():.3f} ± {c.std(ddof=1) if len(c) > 1 else 0:.3f} |" for c in cells))


if __name__ == "__main__":
    main()
