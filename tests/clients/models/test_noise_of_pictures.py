"""Pooled training on pictures: RandAugment is in what the model is given, and dropout is not."""

from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest
from tiny_models import ONE_SET, loaded

from clients.data.dataset import Example
from clients.settings import TuningSpec
from clients.work.augment import augmented
from clients.work.pooled import Term, Training, train

SPEC = TuningSpec(lr=0.01)
PLAIN = Training(terms=(Term(clients=("a",)),), steps=3, batch=3, order=4)


def test_every_picture_of_a_batch_is_augmented_anew(folder_of_kind: Callable[[str], Path]) -> None:
    model = loaded(folder_of_kind("vit"), ONE_SET)
    whole = model.encode

    def batches(training: Training) -> tuple[bytes, list[list[Example]]]:
        seen: list[list[Example]] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(model, "encode", lambda examples: seen.append(list(examples)) or whole(examples))
            return train(model, ONE_SET, training, SPEC, 5).vector.tobytes(), seen

    plain, own = batches(PLAIN)
    noisy = PLAIN.model_copy(update={"augment": (2, 9)})
    vector, seen = batches(noisy)
    for step, batch in enumerate(own):
        assert seen[step] == [augmented(e, 2, 9, [5, 4, step, 0, row]) for row, e in enumerate(batch)]
    assert len({example.image for example in chain(*seen)}) > len({example.image for example in chain(*own)})
    assert vector != plain
    assert batches(noisy) == (vector, seen)
    assert batches(noisy.model_copy(update={"order": 5}))[1] != seen
    assert batches(PLAIN.model_copy(update={"dropout": 0.5}))[0] == plain
