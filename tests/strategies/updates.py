"""Made-up updates of clients, so that the server can be tested without a model."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from clients.exact import bits, digest
from clients.exact.grid import FINE, Grid, to_grid
from clients.jobs import Reply
from strategies.state.kept import Kept
from strategies.state.part import Part

SIZE, SEED = 37, 5  # not a multiple of 8
BOUNDS = (0, 10, 37)


def shards(clients: Iterable[str], data: Mapping[str, int] = {}) -> dict[str, str]:
    """Digests of made-up shards, by client; ``data`` numbers what a client has, 0 where it says nothing."""
    return {client: f"shard {data.get(client, 0)} of {client}" for client in clients}


def vector(client: str, rule: str = "sign_fixed", data: int = 0) -> np.ndarray:
    """A client's task vector: random, a third of it zero, signs as tuned; another one for other data."""
    rng = np.random.default_rng([*(ord(letter) for letter in client), *([data] if data else [])])
    tau = rng.normal(scale=1e-3, size=SIZE).astype(np.float32)
    if rule == "sign_fixed":
        tau = np.abs(tau) * bits.sign_vector(SEED, SIZE)
    tau[rng.random(SIZE) < 1 / 3] = 0
    return tau


def anchor(client: str, count: int, data: int = 0) -> int:
    """The anchor that a client is nearest to."""
    return (ord(client[0]) // 2 + data) % count


def reply(
    clients: tuple[str, ...],
    parts: Iterable[Part],
    rule: str = "sign_fixed",
    data: Mapping[str, int] = {},
    grid: Grid = FINE,
) -> Reply:
    """What clients would send, written out plainly; sum, vectors and features whether they are wanted or not."""
    wants = Kept(Path("nowhere"), rule, BOUNDS, parts, SEED).wants()
    masks = sorted({float(wanted.value or 0) for wanted in wants if wanted.what in ("mask", "size")})
    counts = sorted({int(wanted.value or 0) for wanted in wants if wanted.what == "anchor"})
    arrays = {}
    vectors = {client: vector(client, rule, data.get(client, 0)) for client in clients}
    arrays["sum"] = np.sum([to_grid(tau, grid) for tau in vectors.values()], axis=0, dtype=grid.dtype)
    for client, tau in vectors.items():
        for keep in masks:
            mask = bits.largest_share(tau, keep)
            named = repr(keep).removesuffix(".0")
            arrays[f"mask-{named}/{client}"] = bits.pack(mask)
            kept = [np.abs(tau[a:b][mask[a:b]]) for a, b in itertools.pairwise(BOUNDS)]
            sizes = [entries.mean() if entries.size else 0 for entries in kept]
            arrays[f"size-{named}/{client}"] = np.array(sizes, dtype=np.float32)
        for count in counts:
            arrays[f"anchor-{count}/{client}"] = np.array([anchor(client, count, data.get(client, 0))])
        arrays[f"vector/{client}"] = tau
        arrays[f"grid/{client}"] = to_grid(tau, grid).astype(grid.own)
        arrays[f"features/{client}"] = tau[:4]
    digests = {client: digest.of_integers(to_grid(tau, grid)) for client, tau in vectors.items()}
    tunings = {client: {"digest": found, "recipe": f"recipe {client}", "steps": 3} for client, found in digests.items()}
    return Reply(clients, {"tunings": tunings}, arrays)


@st.composite
def departures(draw: st.DrawFn, clients: Sequence[str]) -> list[list[str]]:
    """Some clients, or all or none, who leave one batch after another."""
    leaving = draw(st.lists(st.sampled_from(clients), unique=True))
    cuts = draw(st.lists(st.integers(0, len(leaving)), max_size=4).map(sorted))
    return [leaving[start:stop] for start, stop in itertools.pairwise([0, *cuts, len(leaving)])]
