"""bfloat16, micro batches and gradient checkpointing: what they change, and what they must not."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import ANIMAL_PICTURES, FREE, LABELLED, LABELS, ONE_SET, SHAPE_PICTURES, TEXTS, TWO_SETS, loaded
from transformers import GPT2Config, GPT2LMHeadModel

from clients.data.dataset import Dataset, Shard
from clients.errors import InputError
from clients.settings import TuningSpec
from clients.work import tuning

Folder = Callable[[str], Path]
# kind, data, options
MODELS: list[tuple[str, Dataset, dict[str, Any]]] = [
    ("gpt2", FREE, {}),
    ("llama", LABELLED, {}),
    ("t5", FREE, {}),
    ("gpt2", LABELLED, {"head": "fresh"}),
    ("t5", LABELLED, {"head": "labels"}),
    ("clip", TWO_SETS, {}),
    ("vit", ONE_SET, {"head": "fresh"}),
    ("resnet", ONE_SET, {}),
]
IDS = ["-".join([kind, *options.values()]) for kind, _, options in MODELS]
LAYERED = [row for row in MODELS if row[0] != "resnet"]
LAYERED_IDS = [name for name in IDS if name != "resnet"]


def examples_of(dataset: Dataset) -> Any:
    if not dataset.manifest.pictures:
        return TEXTS
    return (*ANIMAL_PICTURES, *SHAPE_PICTURES) if dataset is TWO_SETS else ANIMAL_PICTURES


def gradient(model: Any, batch: Any, micro: int | None = None) -> tuple[np.ndarray, float]:
    model.grad.zero_()
    loss = model.accumulate(batch, micro)
    return model.grad.numpy().copy(), loss


@pytest.mark.parametrize(("kind", "dataset", "options"), MODELS, ids=IDS)
def test_micro_batches_add_up(folder_of_kind: Folder, kind: str, dataset: Dataset, options: dict[str, Any]) -> None:
    model = loaded(folder_of_kind(kind), dataset, **options)
    batch = model.encode(examples_of(dataset))
    whole, loss = gradient(model, batch)
    assert loss == model.loss(batch).item()
    size = np.abs(whole).max()
    assert size > 0
    for micro in (1, 2, 4, 100):
        parts, mean = gradient(model, batch, micro)
        np.testing.assert_allclose(parts / size, whole / size, atol=2e-6)
        assert mean == pytest.approx(loss, rel=1e-6)
        assert (parts.tobytes() == whole.tobytes()) == (micro == 100)
    model.grad.zero_()
    model.accumulate(batch, None, 0.25)
    np.testing.assert_allclose(model.grad.numpy() / size, whole / 4 / size, atol=1e-7)


def test_answers_of_a_batch_differ_in_length(folder_of_kind: Folder) -> None:
    """Or the mean of the parts' means would do."""
    model = loaded(folder_of_kind("gpt2"), FREE)
    assert len({encoded.answer for encoded in model.encode(TEXTS)}) == 3


@pytest.mark.parametrize(
    ("kind", "dataset", "options", "lora"),
    [*((*row, None) for row in LAYERED), *((*row, {"rank": 2}) for row in LAYERED if not row[2])],
    ids=[*LAYERED_IDS, *(f"{row[0]}-lora" for row in LAYERED if not row[2])],
)
def test_checkpointing_changes_memory_and_nothing_else(
    folder_of_kind: Folder, kind: str, dataset: Dataset, options: dict[str, Any], lora: Any
) -> None:
    examples, found = examples_of(dataset), []
    for checkpointing in (False, True):
        model = loaded(folder_of_kind(kind), dataset, gradient_checkpointing=checkpointing, lora=lora, **options)
        batch, kept = model.encode(examples), 0

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal kept
            kept += tensor.nbytes if tensor.grad_fn is not None else 0
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), model._recomputing():
            model.loss(batch)
        found.append((kept, gradient(model, batch), model.values(examples), model.features(examples)))
    (before, (plain, loss), values, features), (after, (again, same), others, seen) = found
    assert after < 0.7 * before
    assert same == loss
    np.testing.assert_allclose(again, plain, rtol=1e-6, atol=1e-7 * np.abs(plain).max())
    assert (values, features.tobytes()) == (others, seen.tobytes())


def test_labels_are_ranked_with_checkpointing(folder_of_kind: Folder) -> None:
    for kind in ("gpt2", "llama", "t5"):
        model = loaded(folder_of_kind(kind), LABELLED, gradient_checkpointing=True)
        tuning.tune(model, Shard("a", TEXTS), "plain", TuningSpec(steps=1), 1)
        expected = loaded(folder_of_kind(kind), LABELLED).label_losses(TEXTS, LABELS)
        assert model.label_losses(TEXTS, LABELS).tobytes() == expected.tobytes()


def test_checkpointing_leaves_dropout_off(folder_of_kind: Folder, tmp_path: Path) -> None:
    shutil.copytree(folder_of_kind("gpt2"), tmp_path / "dropping")
    module = GPT2LMHeadModel.from_pretrained(tmp_path / "dropping")
    module.config.resid_pdrop = module.config.attn_pdrop = module.config.embd_pdrop = 0.5
    module.save_pretrained(tmp_path / "dropping")
    assert GPT2Config.from_pretrained(tmp_path / "dropping").resid_pdrop == 0.5
    found = [
        gradient(model, model.encode(TEXTS))[0]
        for model in (
            loaded(tmp_path / "dropping", FREE, gradient_checkpointing=True),
            loaded(folder_of_kind("gpt2"), FREE),
        )
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6, atol=1e-7)


def test_a_model_without_checkpointing(folder_of_kind: Folder) -> None:
    with pytest.raises(InputError, match=r"cannot open .* as a model with gradient checkpointing"):
        loaded(folder_of_kind("resnet"), ONE_SET, gradient_checkpointing=True)


@pytest.mark.parametrize(("kind", "dataset", "options"), MODELS, ids=IDS)
def test_bfloat16_is_close_and_repeats(folder_of_kind: Folder, kind: str, dataset: Dataset, options: dict[str, Any]) -> None:
    shard, spec = Shard("a", examples_of(dataset)), TuningSpec(steps=1, lr=0.01)
    exact, model = (loaded(folder_of_kind(kind), dataset, dtype=dtype, **options) for dtype in ("float32", "bfloat16"))
    first, second = (tuning.tune(model, shard, "plain", spec, 1).vector for _ in range(2))
    assert first.dtype == np.float32
    assert first.tobytes() == second.tobytes()
    gradients = [gradient(m, m.encode(shard.train)) for m in (exact, model)]
    (own, loss), (near, rounded) = gradients
    assert own.dtype == near.dtype == np.float32
    assert 0 < np.linalg.norm(near - own) < 0.2 * np.linalg.norm(own)
    assert rounded == pytest.approx(loss, rel=0.05)
    assert model.digest == exact.digest  # the parameters are the same
    recipes = [tuning.recipe_digest(m, shard, "plain", spec, 1) for m in (exact, model)]
    assert recipes[0] != recipes[1]
    np.testing.assert_allclose(model.features(shard.train), exact.features(shard.train), rtol=0.2, atol=0.1)
    assert all(0 <= value <= 1 for value in model.values(shard.train))


@pytest.mark.parametrize(("kind", "dataset", "options"), LAYERED, ids=LAYERED_IDS)
def test_what_adapters_leave_alone_is_stored_in_bfloat16(
    folder_of_kind: Folder, kind: str, dataset: Dataset, options: dict[str, Any]
) -> None:
    shard, spec = Shard("a", examples_of(dataset)), TuningSpec(steps=3, lr=0.01)
    exact, model = (
        loaded(folder_of_kind(kind), dataset, dtype=dtype, lora={"rank": 2}, **options) for dtype in ("float32", "bfloat16")
    )
    heads = ("head.weight", "clip.visual_projection.weight")
    for name, parameter in model.module.named_parameters():
        wanted = torch.float32 if name in (*model.layout.names, *heads) else torch.bfloat16
        assert parameter.dtype == wanted, name
    assert model.digest != exact.digest
    first, second = (tuning.tune(model, shard, "plain", spec, 1).vector for _ in range(2))
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    assert first.tobytes() == second.tobytes()
    batch = model.encode(shard.train)
    _, start = gradient(model, batch)
    assert start == pytest.approx(exact.loss(batch).item(), rel=0.1)
    np.testing.assert_allclose(model.features(shard.train), exact.features(shard.train), rtol=0.2, atol=0.2)
    assert len(model.values(shard.train)) == len(batch)
    model.assign(model.theta0.numpy() + first)
    assert gradient(model, batch)[1] < start
