"""Several models that answer together, of every kind: one alone scores as ever, two by the mean of their probabilities."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import FREE, LABELLED, ONE_SET, TWO_SETS, clip_logits, loaded

from clients.data.dataset import Dataset, Shard
from clients.models.flat import BaseModel
from clients.work import scoring

Folder = Callable[[str], Path]
KINDS: list[tuple[str, Dataset, dict[str, Any]]] = [
    ("gpt2", FREE, {}),
    ("gpt2", LABELLED, {}),
    ("gpt2", LABELLED, {"head": "labels"}),
    ("t5", LABELLED, {}),
    ("clip", TWO_SETS, {}),
    ("vit", ONE_SET, {}),
]


def theta(model: BaseModel, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(0, 0.2, model.layout.size)
    return model.theta0.numpy() + drawn.astype(np.float32)


@pytest.mark.parametrize(("kind", "dataset", "options"), KINDS)
def test_together(folder_of_kind: Folder, kind: str, dataset: Dataset, options: dict[str, Any]) -> None:
    model = loaded(folder_of_kind(kind), dataset, **options)
    for shard in dataset.shards:
        tables = []
        for seed in (1, 2, 3):
            model.assign(theta(model, seed))
            probabilities, right = model.probabilities(shard.train)
            tables.append(probabilities)
            values = model.values(shard.train)
            if dataset.label_sets:
                np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-9)
                assert [float(row.argmax() == r) for row, r in zip(probabilities, right, strict=True)] == values
            else:
                assert (probabilities.shape, right.tolist()) == ((len(values), 1), [0] * len(values))
                assert probabilities[:, 0].tolist() == values
            alone = scoring.score(model, shard)
            assert scoring.score_together(model, shard, [theta(model, seed)]) == alone
        mean = (tables[0] + tables[1] + tables[2]) / 3
        each = mean[:, 0] if not dataset.label_sets else mean.argmax(1) == right
        found = scoring.score_together(model, shard, (theta(model, seed) for seed in (1, 2, 3)))
        assert found == pytest.approx(float(np.mean(each)), abs=1e-12)
    model.reset()


def test_clip_probabilities_are_its_own_softmax_over_the_set(folder_of_kind: Folder) -> None:
    model = loaded(folder_of_kind("clip"), TWO_SETS)
    for shard in TWO_SETS.shards:
        probabilities, right = model.probabilities(shard.train)
        for row, column, example in zip(probabilities, right, shard.train, strict=True):
            labels = TWO_SETS.label_sets[example.label_set].labels
            start = column - labels.index(example.answer)
            expected = torch.softmax(clip_logits(folder_of_kind("clip"), example).double(), 0)
            np.testing.assert_allclose(row[start : start + len(labels)], expected, atol=1e-4)


def test_the_surer_model_wins(monkeypatch: pytest.MonkeyPatch, folder_of_kind: Folder) -> None:
    """Two of three models say 0, the third is so sure of 1 that the mean is: no vote."""
    model = loaded(folder_of_kind("gpt2"), LABELLED)
    tables = iter([[[0.55, 0.45]], [[0.6, 0.4]], [[0.0, 1.0]]])
    monkeypatch.setattr(model, "probabilities", lambda examples: (np.array(next(tables)), np.array([1])))
    shard = Shard("a", LABELLED.shards[0].train[:1])
    assert scoring.score_together(model, shard, [model.theta0.numpy()] * 3) == 1.0
    model.reset()
