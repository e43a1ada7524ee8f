"""How far Adam goes: a bound that no sequence of gradients breaks, and the grid that follows from it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from clients.exact.grid import DOUBLE, to_grid
from clients.settings import TuningSpec
from clients.work.tuning import grid_bits, grid_of, reach

BETAS = st.sampled_from(
    [(0.9, 0.999), (0.8, 0.95), (0.0, 0.999), (0.0, 0.0), (0.9, 0.81), (0.9, 0.5), (0.99, 0.9), (0.3, 0.9)]
)


def went(theta: list[float], gradients: np.ndarray, lr: float, betas: tuple[float, float], eps: float = 1e-8) -> np.ndarray:
    """Where torch's Adam gets to from θ, as task vectors are made; fp32 [d], of gradients [steps, d]."""
    start = torch.tensor(theta, dtype=torch.float32)
    parameter = torch.nn.Parameter(start.clone())
    optimizer = torch.optim.Adam([parameter], lr=lr, betas=betas, eps=eps)
    for gradient in gradients:
        parameter.grad = torch.from_numpy(gradient.astype(np.float32))
        optimizer.step()
    vector: np.ndarray = (parameter.detach() - start).numpy()
    return vector


def worst(steps: int, betas: tuple[float, float]) -> np.ndarray:
    """Gradients in the ratios w/u for which the last step is as large as it can be."""
    one, two = betas
    ages = np.arange(steps)[::-1].astype(np.float64)
    return (one / two) ** ages


SHAPES = {
    "constant": lambda steps, betas: np.ones(steps),
    "first only": lambda steps, betas: np.eye(1, steps)[0],
    "last only": lambda steps, betas: np.eye(1, steps, steps - 1)[0],
    "growing": lambda steps, betas: 10.0 ** (np.arange(steps) % 12),
    "falling": lambda steps, betas: 10.0 ** -(np.arange(steps) % 12),
    "alternating": lambda steps, betas: (-1.0) ** np.arange(steps),
    "every tenth": lambda steps, betas: (np.arange(steps) % 10 == 0).astype(float),
    "worst last step": lambda steps, betas: worst(steps, betas) if min(betas) else np.ones(steps),
}


@settings(max_examples=30, deadline=None)
@given(
    steps=st.integers(1, 60),
    lr=st.sampled_from([1e-6, 1e-4, 3e-3, 0.1, 2.0]),
    betas=BETAS,
    scale=st.sampled_from([1e-18, 1e-9, 1e-3, 1.0, 1e6]),
    seed=st.integers(0, 10**6),
)
def test_no_gradients_carry_an_entry_further(
    steps: int, lr: float, betas: tuple[float, float], scale: float, seed: int
) -> None:
    """Entries of very different sizes, so that fp32 rounds θ up as well; a column for each sequence, and random ones."""
    random = np.random.default_rng(seed)
    columns = [shape(steps, betas) for shape in SHAPES.values()]
    columns += [random.normal(size=steps) * 10 ** random.uniform(-6, 6, steps) for _ in range(4)]
    columns += [random.normal(size=steps) * (random.random(steps) < 0.2) for _ in range(4)]
    thetas = (0.0, 1e-6, 0.1, 1.0, 1 + 2**-23, 1000.0)
    gradients = scale * np.repeat(np.stack(columns, axis=1), len(thetas), axis=1)
    vector = went([*thetas] * len(columns), gradients, lr, betas)
    assert np.isfinite(vector).all()
    assert np.abs(vector.astype(np.float64)).max() <= reach(steps, betas) * lr
    spec = TuningSpec(steps=steps, lr=lr, betas=betas)
    to_grid(vector, grid_of(spec, 100))


def test_the_bound_is_not_far_from_the_worst() -> None:
    """From θ = 0, where nothing rounds up: constant gradients go lr a step; the worst ones, in the last, what is summed."""
    betas = (0.9, 0.999)
    assert went([0.0], np.ones((20, 1)), 1e-3, betas)[0] == pytest.approx(-0.02, rel=1e-4)
    for steps in (2, 20, 200):
        gradients = worst(steps, betas)[:, None]
        last = went([0.0], gradients, 1e-3, betas, 1e-30)[0] - went([0.0], gradients[:-1], 1e-3, betas, 1e-30)[0]
        bound = (reach(steps, betas) - reach(steps - 1, betas)) / 2.02
        assert last == pytest.approx(-1e-3 * bound, rel=1e-3)


def test_a_tiny_step_from_a_large_value_is_rounded_to_twice_as_much() -> None:
    """A little more than half the distance to the next fp32: θ moves all of it."""
    lr = 1.001 * 2.0**-24
    vector = went([1 + 2**-23], np.ones((1, 1)), lr, (0.9, 0.999), 1e-30)
    assert vector.tolist() == [-(2.0**-23)]
    assert 1.99 * lr < 2.0**-23 <= reach(1, (0.9, 0.999)) * lr


def by_definition(steps: int, betas: tuple[float, float]) -> float:
    total = 0.0
    for t in range(1, steps + 1):
        squares = 0.0
        for i in range(1, t + 1):
            w = (1 - betas[0]) * betas[0] ** (t - i) / (1 - betas[0] ** t)
            u = (1 - betas[1]) * betas[1] ** (t - i) / (1 - betas[1] ** t)
            squares += w**2 / u
        total += math.sqrt(squares)
    return 2.02 * total


@given(st.integers(1, 40), st.floats(0, 0.999), st.floats(0.3, 0.9999))
def test_the_bound_is_its_definition(steps: int, one: float, two: float) -> None:
    assert reach(steps, (one, two)) == pytest.approx(by_definition(steps, (one, two)), rel=1e-9)


def test_grids_by_hand() -> None:
    rates = {3e-3: 23, 2.0**-8: 22, 2.0**-8 * 1.001: 22, 2.0**-8 / 1.001: 23, 1.0: 14, 1e30: -85, 1e-45: 140}
    assert {lr: grid_bits(TuningSpec(lr=lr)) for lr in rates} == rates
    assert [grid_bits(TuningSpec(lr=3e-3, grid=bits)) for bits in (0, 32, 64)] == [0, 32, 64]
    assert reach(1, (0.9, 0.999)) == pytest.approx(2.02)
    grid = grid_of(TuningSpec(lr=3e-3, steps=20), 500)
    assert (grid.bits, grid.most, grid.dtype) == (23, 500, np.int32)
    assert grid.largest == math.ceil(by_definition(20, (0.9, 0.999)) * 3e-3 * 2**23)
    assert 2**29 < 500 * grid.largest < 2**30  # 500 clients of 20 steps take 30 bits and a sign
    assert grid_of(TuningSpec(lr=3e-3, steps=20), 5000).dtype == np.int64
    assert grid_of(TuningSpec(lr=3e-3, steps=20, grid=32), 200).dtype == np.int64
    endless = grid_of(TuningSpec(betas=(0.9, 0.0)), 100)  # nothing bounds it: what int64 holds does
    assert (reach(20, (0.9, 0.0)), endless.largest) == (math.inf, DOUBLE - 1)
    assert grid_of(TuningSpec(betas=(0.9, 0.0)), 2**20).largest == (2**63 - 1) // 2**20


@pytest.mark.parametrize(
    "change", [{"grid": -1}, {"grid": 65}, {"grid": "fine"}, {"betas": (1.0, 0.9)}, {"betas": (0.9, -0.1)}]
)
def test_settings_that_cannot_be(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TuningSpec.model_validate(change)
