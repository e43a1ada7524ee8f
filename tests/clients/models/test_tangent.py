"""Models in tangent space: against finite differences in float64, for every kind of base model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_precision_and_memory import IDS, MODELS, examples_of
from tiny_models import FREE, LABELLED, LABELS, ONE_SET, TEXTS, loaded

from clients.data.dataset import Dataset, Example
from clients.errors import InputError
from clients.exact.determinism import deterministic
from clients.settings import TuningSpec
from clients.work.pooled import Term, Training, train, try_linear

Folder = Callable[[str], Path]
EVERY = pytest.mark.parametrize(("kind", "dataset", "options"), MODELS, ids=IDS)


def drawn(model: Any, seed: int, size: float) -> torch.Tensor:
    return torch.randn(model.layout.size, generator=torch.Generator().manual_seed(seed)) * size


def logits(model: Any, batch: list[Any]) -> torch.Tensor:
    return model.logits(batch) if hasattr(model, "logits") else model._predict(batch)[0]


def moved(model: Any, names: dict[str, torch.Tensor], by: torch.Tensor, batch: list[Any]) -> torch.Tensor:
    """Logits at other parameters, float64 as far as the module's own layers let it."""
    for name, start, stop in zip(model.layout.names, model.layout.bounds, model.layout.bounds[1:], strict=False):
        parameter = model.module.get_parameter(name)
        parameter.data = names[name] + by[start:stop].view(parameter.shape)
    with torch.no_grad():
        return logits(model, batch)


@EVERY
def test_the_product_with_the_jacobian_is_a_finite_difference(
    folder_of_kind: Folder, monkeypatch: pytest.MonkeyPatch, kind: str, dataset: Dataset, options: dict[str, Any]
) -> None:
    model, slow = (loaded(folder_of_kind(kind), dataset, **options) for _ in range(2))
    batch, tau, at = model.encode(examples_of(dataset)), drawn(model, 1, 0.05), drawn(model, 2, 0.05)
    model.flat.add_(at)
    with torch.no_grad(), model.linear(tau):
        found = logits(model, batch)
    batch = [b if not hasattr(b, "pixels") else type(b)(b.pixels.double(), b.label, b.rows, b.tokens) for b in batch]
    names = {name: slow.module.get_parameter(name).data.double() for name in slow.layout.names}
    slow.module.double()
    monkeypatch.setattr(torch.Tensor, "float", lambda self: self)  # nor do layers fall back to float32
    monkeypatch.setattr(torch, "float32", torch.float64)
    here, up, down = (moved(slow, names, at.double() + h * tau.double(), batch) for h in (0, 1e-6, -1e-6))
    assert here.dtype == torch.float64
    expected, seen = here + (up - down) / 2e-6, here.isfinite()
    assert torch.equal(found.isfinite(), seen)
    change = (expected - here)[seen].abs().max()
    assert change > 0.01
    np.testing.assert_allclose(found[seen], expected[seen], rtol=1e-4, atol=1e-4 * float(change))
    plain = moved(slow, names, at.double() + tau.double(), batch)[seen]
    if kind != "t5":  # the curvature shows
        assert (plain - expected[seen]).abs().max() > 0.01 * change


@EVERY
def test_no_displacement_is_the_model_itself(
    folder_of_kind: Folder, kind: str, dataset: Dataset, options: dict[str, Any]
) -> None:
    """To rounding: attention takes another kernel. Gradients are those for the parameters; afterwards all is as it was."""
    model = loaded(folder_of_kind(kind), dataset, **options)
    examples = examples_of(dataset)
    batch, own = model.encode(examples), dict(model.module.named_parameters())

    def told() -> tuple[float, np.ndarray, np.ndarray, list[float]]:
        model.grad.zero_()
        loss = model.accumulate(batch)
        return loss, model.grad.numpy().copy(), model.probabilities(examples)[0], model.values(examples)

    with deterministic():
        loss, gradient, probabilities, values = told()
        with model.linear(torch.zeros_like(model.flat)):
            linear = told()
        again = told()
    assert linear[0] == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(linear[1], gradient, rtol=1e-4, atol=2e-6 * np.abs(gradient).max())
    np.testing.assert_allclose(linear[2], probabilities, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(linear[3], values, rtol=1e-4)
    assert (again[0], again[1].tobytes(), again[3]) == (loss, gradient.tobytes(), values)
    assert all(parameter is own[name] for name, parameter in model.module.named_parameters())


@EVERY
def test_gradients_are_for_the_displacement(
    folder_of_kind: Folder, kind: str, dataset: Dataset, options: dict[str, Any]
) -> None:
    """Logits are linear, so the loss along a line is smooth: a central difference of it, and the same in micro batches."""
    model = loaded(folder_of_kind(kind), dataset, **options)
    batch, tau, along = model.encode(examples_of(dataset)), drawn(model, 1, 0.02), drawn(model, 2, 0.02)
    found = []
    for micro in (None, 2, 2):
        model.grad.zero_()
        with deterministic(), model.linear(tau):
            model.accumulate(batch, micro)
        found.append(model.grad.clone())
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=2e-6 * float(found[0].abs().max()))
    assert torch.equal(found[1], found[2])
    ends = []
    for h in (0.1, -0.1):
        with torch.no_grad(), model.linear(tau + h * along):
            ends.append(model.loss(batch).item())
    slope = float(found[0] @ along)
    assert abs(slope) > 1e-4
    assert (ends[0] - ends[1]) / 0.2 == pytest.approx(slope, rel=0.01, abs=5e-5)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "t5"])
def test_labels_are_ranked_from_kept_keys_and_values(folder_of_kind: Folder, kind: str) -> None:
    """The same as the loss of each label after each prompt, one by one; other than of the displaced model itself."""
    model = loaded(folder_of_kind(kind), LABELLED)
    tau = drawn(model, 3, 0.1)
    with model.linear(tau):
        found = model.label_losses(TEXTS[:4], LABELS)
        alone = [
            [model.answer_losses(model.encode([Example(e.prompt, label)]))[0][0] for label in LABELS] for e in TEXTS[:4]
        ]
    np.testing.assert_allclose(found, alone, rtol=1e-4)
    model.flat.add_(tau)
    assert np.abs(model.label_losses(TEXTS[:4], LABELS) - found).max() > 0.01


def test_tied_and_adapted_parameters(folder_of_kind: Folder) -> None:
    """GPT-2's embedding is its head: the displacement is of both. Adapters: of theirs alone."""
    for options in ({"tune": "all"}, {"lora": {"rank": 2}}):
        model = loaded(folder_of_kind("gpt2"), FREE, **options)
        batch, tau = model.encode(TEXTS), drawn(model, 1, 1.0)
        with torch.no_grad(), model.linear(tau):
            linear = model.loss(batch).item()
        with torch.no_grad(), model.linear(0.5 * tau):
            half = logits(model, batch)
        ends = []
        for h in (1e-3, -1e-3):
            model.flat.copy_(model.theta0 + h * tau)
            with torch.no_grad():
                ends.append(logits(model, batch))
        model.reset()
        with torch.no_grad():
            here = logits(model, batch)
        expected = here + (ends[0] - ends[1]) / 4e-3
        np.testing.assert_allclose(half, expected, atol=0.02 * float((expected - here).abs().max()))
        assert linear != pytest.approx(model.loss(batch).item(), rel=1e-3)


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_where_logits_are_linear_tangent_space_is_the_ordinary_one(folder_of_kind: Folder, kind: str) -> None:
    """Only the head is tuned: training from an anchor and a displacement is training from their sum."""
    model = loaded(folder_of_kind(kind), ONE_SET, tune=["classifier.classifier.*", "classifier.classifier.1.*"])
    assert len(model.layout.names) == 2
    anchor, start = (drawn(model, seed, 0.1).numpy() for seed in (1, 2))
    training = Training(terms=(Term(clients=("a",)),), steps=5, batch=3, l1=0.01, salient=0.8)
    spec = TuningSpec(lr=0.01)
    linear = train(model, ONE_SET, training, spec, 5, start, anchor)
    plain = train(model, ONE_SET, training, spec, 5, anchor + start)
    assert np.abs(plain.vector).max() > 0.01
    np.testing.assert_allclose(linear.vector, plain.vector, rtol=1e-3, atol=1e-5)
    assert linear.loss == pytest.approx(plain.loss, rel=1e-4)
    assert torch.equal(model.flat, model.theta0)


def test_what_does_not_go_together_is_said(folder_of_kind: Folder) -> None:
    cases: list[tuple[str, Dataset, dict[str, Any]]] = [
        ("llama", LABELLED, {"gradient_checkpointing": True}),
        ("resnet", ONE_SET, {"dtype": "bfloat16"}),
    ]
    for kind, dataset, options in cases:
        model = loaded(folder_of_kind(kind), dataset, **options)
        before = model.values(dataset.shards[0].train)
        with pytest.raises(InputError, match=r"cannot be taken in its tangent space .*model.dtype: bfloat16"):
            try_linear(model, dataset.shards[0])
        assert model.values(dataset.shards[0].train) == before
    for kind, dataset, options in MODELS:
        model = loaded(folder_of_kind(kind), dataset, **options)
        try_linear(model, dataset.shards[0])
