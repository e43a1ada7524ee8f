"""The embedded CLIP: its loss by hand, its pretraining and that its class prompts are those it was pretrained with."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import TWO_SETS, loaded
from torch.nn.functional import normalize
from transformers import AutoTokenizer, CLIPModel

from clients.data import digits
from clients.data.dataset import Dataset, Example, LabelSet, Shard
from clients.errors import InputError
from clients.models import tiny_clip
from clients.settings import TinyCLIP

TINY = {"layers": 1, "width": 32, "heads": 2, "pixels": 8, "patch": 4, "vocabulary": 300, "steps": 60, "batch": 32}
SETS = {
    name: LabelSet(digits.WORDS, tuple(digits.CAPTIONS[name].format(label=word) for word in digits.WORDS))
    for name in ("upright", "negative")
}


@pytest.fixture(scope="module")
def pictured() -> Dataset:
    """Digits in two renderings: 400 public pictures, and one client with 100 others of each."""
    rows = [Example("", row["label"], row["image"]["bytes"], name) for name in SETS for row in digits.rows(name)[:300]]
    public = (*rows[:200], *rows[300:500])
    shards = (Shard("a", tuple(rows[200:300])), Shard("b", tuple(rows[500:])))
    return Dataset(shards, public, SETS)


def opened(dataset: Dataset, **change: Any) -> Any:
    return loaded(Path("tiny-clip"), dataset, tiny_clip=TINY | change)


def test_it_learns_and_is_made_once(pictured: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one rendering, which is soon learned: zero-shot, also of pictures that it has not seen."""
    one = Dataset(pictured.shards[:1], pictured.public[:200], {"upright": SETS["upright"]})
    model = opened(one, steps=100, lr=0.002)
    assert np.mean(model.values(one.public)) > 0.7  # chance is 0.1
    assert np.mean(model.values(one.shards[0].train)) > 0.5
    monkeypatch.setattr(tiny_clip, "_pretrain", lambda *_: pytest.fail("pretrained again"))
    assert opened(one, steps=100, lr=0.002).digest == model.digest


def test_the_same_recipe_gives_the_same_bits(pictured: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = opened(pictured, steps=3).digest
    monkeypatch.setenv("UNMERGE_CACHE", str(tmp_path))
    torch.manual_seed(99)
    assert opened(pictured, steps=3).digest == one
    assert len(list(tmp_path.glob("tiny-clip/*"))) == 1
    assert opened(pictured, steps=3, seed=1).digest != one
    assert len(list(tmp_path.glob("tiny-clip/*"))) == 2


def test_the_place_in_the_cache_depends_on_captions_and_pictures(pictured: Dataset) -> None:
    spec = TinyCLIP.model_validate(TINY | {"steps": 1})
    said = {name: LabelSet(s.labels, tuple(c + "!" for c in s.captions)) for name, s in SETS.items()}
    places = {
        tiny_clip.tiny_clip(spec, dataset.manifest)
        for dataset in (
            pictured,
            Dataset(pictured.shards, pictured.public, said),
            Dataset(pictured.shards, pictured.public[:-1], SETS),
            Dataset(pictured.shards[:1], pictured.public, SETS),
        )
    }
    assert len(places) == 3  # shards have no part in it


def test_class_prompts_end_as_in_pretraining(pictured: Dataset) -> None:
    """The text encoder reads at the end token, which every prompt has, and which no padding can stand in for."""
    folder = tiny_clip.tiny_clip(TinyCLIP.model_validate(TINY | {"steps": 3}), pictured.manifest)
    tokenizer, module = AutoTokenizer.from_pretrained(folder), CLIPModel.from_pretrained(folder).eval()
    captions = [caption for name in sorted(SETS) for caption in SETS[name].captions]
    model = opened(pictured, steps=3)
    for row, caption in enumerate(captions):
        ids = tokenizer.encode(caption)
        assert ids == [*tokenizer.encode(caption, add_special_tokens=False), tokenizer.eos_token_id]
        with torch.no_grad():
            states = module.text_model(torch.tensor([ids])).last_hidden_state[0, -1]
            expected = normalize(module.text_projection(states), dim=-1)
        np.testing.assert_allclose(model.module.head.weight[row], expected, rtol=1e-4, atol=1e-6)


def test_the_loss_by_hand(pictured: Dataset) -> None:
    """Six pictures under three captions: each picture finds its caption, each caption its pictures with equal shares."""
    folder = tiny_clip.tiny_clip(TinyCLIP.model_validate(TINY | {"steps": 3}), pictured.manifest)
    tokenizer, module = AutoTokenizer.from_pretrained(folder), CLIPModel.from_pretrained(folder).eval()
    texts = ["a photo of the digit one.", "a negative of the digit two.", "a photo of the digit ten and more."]
    which = [2, 0, 1, 0, 0, 2]
    pixels = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    words = tokenizer([texts[number] for number in which], padding=True, return_tensors="pt")
    with torch.no_grad():
        found = tiny_clip._contrast(module, pixels, words.input_ids, words.attention_mask).item()
        seen = normalize(module.get_image_features(pixels).pooler_output, dim=-1).double().numpy()
        read = [module.get_text_features(**tokenizer(one, return_tensors="pt")).pooler_output[0] for one in texts]
        said = normalize(torch.stack(read), dim=-1).double().numpy()
        logits = np.exp(module.logit_scale.item()) * seen @ said.T
    pictures = [np.log(np.exp(row).sum()) - row[number] for row, number in zip(logits, which, strict=True)]
    captions = []
    for number in range(3):
        column, own = logits[:, number], [row for row in range(6) if which[row] == number]
        captions.append(np.mean([np.log(np.exp(column).sum()) - column[row] for row in own]))
    assert found == pytest.approx((np.mean(pictures) + np.mean(captions)) / 2, rel=1e-4)


def test_no_public_pictures() -> None:
    with pytest.raises(InputError, match=r"tiny-clip is pretrained on a data set's public part, .* data\.public_clients"):
        opened(TWO_SETS)
