"""φ over every kind of base model, against plain passes of the plain module."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import ANIMAL_PICTURES, LABELS, ONE_SET, SENTIMENT, SHAPE_PICTURES, TEXTS, TWO_SETS, loaded
from transformers import AutoModelForCausalLM, CLIPModel, T5ForConditionalGeneration, ViTForImageClassification

from clients.data.dataset import Dataset, Example, Shard
from clients.errors import NotFiniteError
from clients.work.embedding import MOST_PUBLIC, Embedding

Folder = Callable[[str], Path]
SHARD = (Shard("a", TEXTS[:4]),)
PUBLIC = TEXTS[4:]


def hidden(module: Any, ids: Sequence[int]) -> torch.Tensor:
    """A decoder's last layer at the prompt's last token; an encoder-decoder's at its start token."""
    tokens = torch.tensor([list(ids)])
    if not module.config.is_encoder_decoder:
        return module(tokens, output_hidden_states=True).hidden_states[-1][0, -1]
    start = torch.tensor([[module.config.decoder_start_token_id]])
    told = module(input_ids=tokens, decoder_input_ids=start, output_hidden_states=True)
    return told.decoder_hidden_states[-1][0, 0]


def phi(seen: np.ndarray, public: np.ndarray) -> np.ndarray:
    apart = seen - (public.mean(0) if len(public) else 0)
    return np.column_stack([apart / np.linalg.norm(apart, axis=1, keepdims=True), np.ones(len(seen))])


@pytest.mark.parametrize(
    ("kind", "opened"),
    [("gpt2", AutoModelForCausalLM), ("llama", AutoModelForCausalLM), ("t5", T5ForConditionalGeneration)],
)
def test_texts_are_seen_at_the_end_of_the_prompt(folder_of_kind: Folder, kind: str, opened: Any) -> None:
    """Whatever they are answered, and whatever public examples are."""
    folder, dataset = folder_of_kind(kind), Dataset(SHARD, PUBLIC, SENTIMENT)
    model, plain = loaded(folder, dataset), opened.from_pretrained(folder).eval()
    # an encoder-decoder's tokenizer closes a text, and its encoder reads that as well
    with torch.no_grad():
        seen = torch.stack([hidden(plain, model.tokenizer.encode(each.prompt)) for each in TEXTS]).double().numpy()
    answered = [Example(each.prompt, LABELS[(number + 1) % 3]) for number, each in enumerate(TEXTS)]
    found = Embedding(model, dataset.manifest, 7).of(TEXTS[:4])
    np.testing.assert_allclose(found, phi(seen[:4], seen[4:]), rtol=1e-3, atol=1e-4)
    others = Dataset((Shard("a", tuple(answered[:4])),), tuple(answered[4:]), SENTIMENT)
    assert Embedding(model, others.manifest, 7).of(answered[:4]).tobytes() == found.tobytes()


@pytest.mark.parametrize("public", [0, 5])
def test_pictures_are_seen_as_a_classifier_pools_them(folder_of_kind: Folder, public: int) -> None:
    folder = folder_of_kind("vit")
    dataset = Dataset(ONE_SET.shards, ANIMAL_PICTURES[:public], ONE_SET.label_sets)
    model, plain = loaded(folder, dataset, head="fresh"), ViTForImageClassification.from_pretrained(folder).eval()
    pixels = torch.stack([each.pixels for each in model.encode(ANIMAL_PICTURES)])
    with torch.no_grad():
        seen = plain.vit(pixels).last_hidden_state[:, 0].double().numpy()
    found = Embedding(model, dataset.manifest, 7).of(ANIMAL_PICTURES)
    np.testing.assert_allclose(found, phi(seen, seen[:public]), rtol=1e-3, atol=1e-4)


def test_pictures_are_seen_as_clip_embeds_them(folder_of_kind: Folder) -> None:
    """Those of all sets in one space."""
    examples = (*ANIMAL_PICTURES, *SHAPE_PICTURES)
    dataset = Dataset(TWO_SETS.shards, examples[:3], TWO_SETS.label_sets)
    folder = folder_of_kind("clip")
    model, plain = loaded(folder, dataset), CLIPModel.from_pretrained(folder).eval()
    pixels = torch.stack([each.pixels for each in model.encode(examples)])
    with torch.no_grad():
        pooled = plain.visual_projection(plain.vision_model(pixels).pooler_output)
    seen = (pooled / pooled.norm(dim=1, keepdim=True)).double().numpy()
    found = Embedding(model, dataset.manifest, 7).of(examples)
    np.testing.assert_allclose(found, phi(seen, seen[:3]), rtol=1e-3, atol=1e-4)


def test_the_mean_is_of_public_data_alone_and_of_a_thousand_at_most(folder_of_kind: Folder) -> None:
    """2500 public examples: every third is seen, from the first on. Members' data change nothing."""
    public = tuple(TEXTS[(number * number) % 9] for number in range(2500))
    model = loaded(folder_of_kind("gpt2"), Dataset(SHARD, PUBLIC, SENTIMENT))
    centres = [
        Embedding(model, Dataset((Shard("a", TEXTS[first : first + 2]),), public, SENTIMENT).manifest, 7).centre
        for first in (0, 5)
    ]
    assert len(public[::3]) <= MOST_PUBLIC < len(public[::2])
    expected = model.features([Example(each.prompt, "") for each in public[::3]])
    np.testing.assert_array_equal(centres[0], expected)
    np.testing.assert_array_equal(centres[1], centres[0])


def test_public_examples_that_are_not_finite_are_told_as_such(
    folder_of_kind: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not as the fault of the client for whom the mean is made."""
    dataset = Dataset(SHARD, PUBLIC, SENTIMENT)
    model = loaded(folder_of_kind("gpt2"), dataset)
    monkeypatch.setattr(model, "features", lambda examples: np.full(4, np.nan, np.float32))
    with pytest.raises(NotFiniteError, match="features of the public examples: not all of its numbers are finite"):
        Embedding(model, dataset.manifest, 7).of(TEXTS[:4])
