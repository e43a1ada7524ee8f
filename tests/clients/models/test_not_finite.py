"""Every kind of model whose numbers are not finite says so, and never that it chose the first label."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import ANIMAL_PICTURES, FREE, LABELLED, ONE_SET, TEXTS, loaded

from clients.data.dataset import Example, Shard
from clients.errors import InputError, NotFiniteError
from clients.work import anchors
from clients.work.masking import learn_mask
from clients.work.probing import probe, probe_together
from clients.work.scoring import score, score_together

Folder = Callable[[str], Path]
KINDS: list[tuple[str, Any, dict[str, Any]]] = [
    ("gpt2", LABELLED, {}),
    ("llama", LABELLED, {}),
    ("t5", LABELLED, {}),
    ("gpt2", LABELLED, {"head": "fresh"}),
    ("t5", LABELLED, {"head": "labels"}),
    ("gpt2", FREE, {}),
    ("t5", FREE, {}),
    ("clip", ONE_SET, {}),
    ("vit", ONE_SET, {}),
    ("resnet", ONE_SET, {"head": "fresh"}),
]


@pytest.mark.parametrize("broken", [math.nan, math.inf])
@pytest.mark.parametrize(("kind", "data", "options"), KINDS)
def test_scores_of_a_broken_model_are_nan(folder_of_kind: Folder, kind: str, data: Any, options: Any, broken: float) -> None:
    model, shard = loaded(folder_of_kind(kind), data, **options), data.shards[0]
    whole = score(model, shard)
    assert 0 <= whole <= 1
    theta = np.full(model.layout.size, broken, dtype=np.float32)
    model.assign(theta)
    assert all(map(math.isnan, model.values(shard.train)))
    assert math.isnan(score(model, shard))
    assert np.isnan(probe(model, shard)["train"]).all()
    good = model.theta0.numpy()
    for vote in (False, True) if data is not FREE else (False,):
        assert math.isnan(score_together(model, shard, [good, theta], vote))
        assert np.isnan(probe_together(model, shard, [good, theta], vote)["train"]).all()
        assert score_together(model, shard, [good], vote) == pytest.approx(whole)
    model.assign(theta)
    with pytest.raises(NotFiniteError, match="the features of its examples"):
        anchors.number(model, shard.train, np.zeros((2, 16)))
    model.reset()
    with pytest.raises(NotFiniteError, match="client a: the loss under its mask"):
        learn_mask(model, [shard], np.full(model.layout.size, broken, dtype=np.float32), 1.0, 2, 0.1, None)


def test_an_example_that_breaks_a_model_is_the_one_that_is_nan(folder_of_kind: Folder) -> None:
    """A token that nobody else has: the others score what they did."""
    model = loaded(folder_of_kind("llama"), LABELLED, tune="all")
    other = Example("Text:@\nLabel:", "so-so")
    (token,) = set(model.tokenizer("@").input_ids) - {i for e in TEXTS for i in model.tokenizer(e.prompt).input_ids}
    expected = model.values(TEXTS)
    at = model.layout.bounds[model.layout.names.index("model.embed_tokens.weight")] + token * 16
    with torch.no_grad():
        model.flat[at] = math.nan
    found = model.values((*TEXTS[:4], other, *TEXTS[4:]))
    assert math.isnan(found.pop(4))
    assert found == expected
    assert math.isnan(score(model, Shard("b", (*TEXTS, other))))
    assert score(model, Shard("a", TEXTS)) == pytest.approx(np.mean(expected))


@pytest.mark.parametrize(("kind", "data"), [("gpt2", LABELLED), ("vit", ONE_SET)])
def test_weights_that_are_not_finite_are_told_when_a_model_is_opened(
    folder_of_kind: Folder, tmp_path: Path, kind: str, data: Any
) -> None:
    for file in folder_of_kind(kind).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    name = sorted(weights)[0]
    weights[name].view(-1)[0] = math.inf
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=rf"model\.base: .*: 1 tensors hold NaN or infinite weights, as .*{name}"):
        loaded(tmp_path, data)


def test_one_class_at_minus_infinity_is_only_not_chosen(folder_of_kind: Folder) -> None:
    """As the rows of other data sets are; the others are told apart as before."""
    model = loaded(folder_of_kind("vit"), ONE_SET, tune="all")
    head = model.module.classifier.classifier
    logits = model.logits(model.encode(ANIMAL_PICTURES)).detach()
    with torch.no_grad():
        head.bias[0] = -math.inf
    chosen = logits[:, 1:].argmax(1) + 1
    labels = ONE_SET.label_sets["animals"].labels
    assert model.values(ANIMAL_PICTURES) == [
        float(labels[c] == e.answer) for c, e in zip(chosen, ANIMAL_PICTURES, strict=True)
    ]
