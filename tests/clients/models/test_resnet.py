"""The embedded ResNet: it learns, the same recipe gives the same bits, and it is a classifier like any other."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import ONE_SET, TWO_SETS, loaded
from transformers import ResNetForImageClassification

from clients.data import digits
from clients.data.dataset import Dataset, Example, LabelSet, Shard
from clients.errors import InputError
from clients.models import resnet
from clients.settings import TinyResNet

TINY = {"depths": [1, 1], "widths": [8, 16], "pixels": 8, "steps": 40, "batch": 32, "lr": 0.01}
LABELS = LabelSet(digits.WORDS, digits.WORDS)


@pytest.fixture(scope="module")
def pictured() -> Dataset:
    rows = tuple(Example("", row["label"], row["image"]["bytes"], "digits") for row in digits.rows(None)[:400])
    return Dataset((Shard("a", rows[300:]),), rows[:300], {"digits": LABELS})


def opened(dataset: Dataset, **change: Any) -> Any:
    return loaded(Path("resnet-18"), dataset, resnet=TINY | change)


def test_it_learns_and_is_made_once(pictured: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    model = opened(pictured)
    assert np.mean(model.values(pictured.public)) > 0.7  # chance is 0.1
    assert np.mean(model.values(pictured.shards[0].train)) > 0.5
    monkeypatch.setattr(resnet, "_pretrain", lambda *_: pytest.fail("pretrained again"))
    assert opened(pictured).digest == model.digest


def test_the_same_recipe_gives_the_same_bits(pictured: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = opened(pictured, steps=2).digest
    monkeypatch.setenv("UNMERGE_CACHE", str(tmp_path))
    torch.manual_seed(99)
    assert opened(pictured, steps=2).digest == one
    assert opened(pictured, steps=2, seed=1).digest != one
    assert len(list(tmp_path.glob("resnet-18/*"))) == 2


def test_sizes_classes_and_statistics(pictured: Dataset) -> None:
    folder = resnet.resnet_18(TinyResNet.model_validate(TINY | {"steps": 2}), pictured.manifest)
    module = ResNetForImageClassification.from_pretrained(folder)
    assert [module.config.id2label[number] for number in range(10)] == list(digits.WORDS)
    assert (module.config.depths, module.config.hidden_sizes, module.config.layer_type) == ([1, 1], [8, 16], "basic")
    norms = [m for m in module.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert {int(norm.num_batches_tracked) for norm in norms} == {2}
    assert all(norm.running_mean.abs().max() > 0 for norm in norms)


def test_the_default_is_a_resnet_18() -> None:
    """Seventeen 3×3 or 7×7 convolutions on the main path, three 1×1 shortcuts, one linear layer: 11.2 million parameters."""
    model = resnet._pretrain(
        TinyResNet(pixels=8, steps=1, batch=2), torch.zeros(2, 3, 8, 8), torch.tensor([0, 1]), digits.WORDS
    )
    convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    assert sorted(m.kernel_size[0] for m in convolutions) == [1] * 3 + [3] * 16 + [7]
    assert sum(p.numel() for p in model.parameters()) == 11_181_642


def test_several_sets_or_no_public_pictures() -> None:
    with pytest.raises(InputError, match=r"resnet-18 has one head, and data\.sets has 2 sets; take one, or tiny-clip"):
        opened(TWO_SETS)
    with pytest.raises(InputError, match=r"resnet-18 is pretrained on a data set's public part"):
        opened(ONE_SET)
