"""Which vision models open, where their heads are, and that every row of a head is the class that it is called."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import ANIMAL_PICTURES, ANIMALS, ONE_SET, SHAPES, SIDE, TWO_SETS, loaded, pictures

from clients.data.dataset import Dataset, LabelSet, Shard
from clients.errors import InputError
from clients.models.tiny_clip import image_processor
from clients.models.vision import heads_of, plain, rows_of
from clients.settings import LoraSpec, TuningSpec
from clients.work import tuning

TOWER = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
SIDES = {"image_size": SIDE, "patch_size": 4}
TEXT = TOWER | {"vocab_size": 20}
SWIN = {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "image_size": SIDE, "patch_size": 2, "window_size": 2}
SIZES: dict[str, dict[str, Any]] = {
    "ViT": TOWER | SIDES,
    "ViTMAE": TOWER | SIDES,
    "DeiT": TOWER | SIDES,
    "Beit": TOWER | SIDES,
    "Dinov2": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2} | SIDES,
    "Swin": SWIN,
    "ConvNext": {"hidden_sizes": [4, 8], "depths": [1, 1], "num_stages": 2, "patch_size": 2},
    "ResNet": {"embedding_size": 4, "hidden_sizes": [4, 6], "depths": [1, 1], "layer_type": "basic"},
    "CLIP": {"text_config": TEXT, "vision_config": TOWER | SIDES},
    "CLIPVision": TOWER | SIDES,
    "Siglip": {"text_config": TEXT, "vision_config": TOWER | SIDES},
}


def saved(folder: Path, family: str, what: str, names: list[str] | None = None, **options: Any) -> Path:
    """A random model of a family, with an image processor."""
    if names is not None:
        options |= {"id2label": dict(enumerate(names)), "label2id": {name: row for row, name in enumerate(names)}}
    config = getattr(transformers, f"{family}Config")(**SIZES[family], initializer_range=0.3, **options)
    torch.manual_seed(5)
    module = getattr(transformers, f"{family}{what}")(config)
    for head in heads_of(module) if names is not None else ():
        torch.nn.init.normal_(head.bias)
    module.save_pretrained(folder)
    image_processor(SIDE).save_pretrained(folder)
    return folder


def own_logits(folder: Path, model: Any, what: str = "ViTForImageClassification") -> torch.Tensor:
    module = getattr(transformers, what).from_pretrained(folder).eval()
    with torch.no_grad():
        return module(pixel_values=torch.stack([one.pixels for one in model.encode(ANIMAL_PICTURES)])).logits


# -- whose classes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "own", "rows"),
    [
        (["airport", "sea ice"], ["sea_ice", "airport"], [1, 0]),
        (["airport", "sea ice"], ["SEA-ICE", " Airport"], [1, 0]),
        (["Sea Ice", "AIRPORT"], ["LABEL_airport", "Label_SeaIce"], [1, 0]),
        (["0", "1", "10", "2"], ["LABEL_0", "LABEL_1", "LABEL_2", "LABEL_10"], [0, 1, 3, 2]),
        (["tench", "chain saw"], ["crane", "chain saw, chainsaw", "tench, Tinca tinca"], [2, 1]),
        (["crane"], ["crane, machine", "crane, bird"], [None]),  # of two that are called so, neither
        (["Pos", "pos"], ["pos", "Pos"], [1, 0]),  # as they are, before anything is made alike
        (["Pos", "POS"], ["pos", "neg"], [None, None]),
        (["label"], ["label"], [0]),
        (["café"], ["cafe\N{COMBINING ACUTE ACCENT}"], [0]),  # as some file systems write it
        (["cat", "dog"], ["cat", "wolf"], [0, None]),
    ],
)
def test_classes_find_the_rows_that_are_called_like_them(labels: list[str], own: list[str], rows: list[int | None]) -> None:
    assert rows_of(labels, own) == rows


NAMES = st.lists(st.text("abC _-0", min_size=1, max_size=4), min_size=1, max_size=6, unique=True)


@given(NAMES, st.randoms())
def test_a_head_whose_names_are_the_datas_is_only_put_in_order(labels: list[str], random: Any) -> None:
    own = random.sample(labels, len(labels))
    found = rows_of(labels, own)
    assert found == [own.index(label) for label in labels]


@given(NAMES, NAMES)
def test_no_row_is_two_classes_and_every_match_is_one_of_name(labels: list[str], own: list[str]) -> None:
    rows = [row for row in rows_of(labels, own) if row is not None]
    assert len(set(rows)) == len(rows)
    for label, row in zip(labels, rows_of(labels, own), strict=True):
        assert row is None or plain(label) == plain(own[row])


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        (["owl", "cat", "dog"], [1, 2, 0]),
        (["LABEL_Owl", "LABEL_cat", "LABEL_DOG"], [1, 2, 0]),
        (["wolf", "dog", "bear", "owl, a bird", "cat"], [4, 1, 3]),
    ],
)
def test_a_head_gives_the_logits_of_the_classes_that_it_names(tmp_path: Path, names: list[str], rows: list[int]) -> None:
    model = loaded(saved(tmp_path, "ViT", "ForImageClassification", names), ONE_SET)
    expected = own_logits(tmp_path, model)[:, rows]
    np.testing.assert_allclose(model.logits(model.encode(ANIMAL_PICTURES)).detach(), expected, rtol=1e-5, atol=1e-6)
    right = torch.tensor([ANIMALS.labels.index(example.answer) for example in ANIMAL_PICTURES])
    assert model.values(ANIMAL_PICTURES) == (expected.argmax(1) == right).float().tolist()
    assert model.notes == ()


def test_several_sets_share_the_rows_that_they_both_name(tmp_path: Path) -> None:
    others = LabelSet(("cat", "square"), ("", ""))
    data = Dataset((Shard("a", ANIMAL_PICTURES),), (), {"animals": ANIMALS, "others": others})
    model = loaded(saved(tmp_path, "ViT", "ForImageClassification", ["square", "owl", "dog", "cat"]), data)
    expected = own_logits(tmp_path, model)
    logits = model.logits(model.encode(ANIMAL_PICTURES)).detach()
    np.testing.assert_allclose(logits[:, :3], expected[:, [3, 2, 1]], rtol=1e-5, atol=1e-6)
    shown = pictures(others, "others", 7)
    logits = model.logits(model.encode(shown)).detach()
    np.testing.assert_allclose(logits[:, 3:], expected[:, [3, 0]], rtol=1e-5, atol=1e-6)
    assert torch.isinf(logits[:, :3]).all()


def test_a_class_without_a_row_is_named(tmp_path: Path) -> None:
    saved(tmp_path, "ViT", "ForImageClassification", ["cat", "owl", "wolf"])
    with pytest.raises(
        InputError,
        match=r"model\.head: own: .* called 'dog'; its own are 'cat', 'owl', 'wolf'\. Rename them.*set model\.head: fresh",
    ):
        loaded(tmp_path, ONE_SET)
    with pytest.raises(InputError, match=r"tells 3 classes apart, the data have 5; .* called 'dog', 'disc', 'square'"):
        loaded(tmp_path, TWO_SETS)
    assert len(loaded(tmp_path, ONE_SET, head="fresh").layout.names)


def test_numbers_that_fit_in_part_are_refused_and_names_that_are_missing_are_told(tmp_path: Path) -> None:
    numbers = Dataset((Shard("a", ANIMAL_PICTURES),), (), {"n": LabelSet(("1", "2", "3"), ("", "", ""))})
    saved(tmp_path, "ViT", "ForImageClassification", ["LABEL_0", "LABEL_1", "LABEL_2"])
    with pytest.raises(InputError, match=r"has no class, or more than one, that is called '3'"):
        loaded(tmp_path, numbers)
    model = loaded(tmp_path, ONE_SET)
    assert len(model.notes) == 1
    assert "does not name its classes" in model.notes[0]
    assert "(LABEL_0 is cat, LABEL_1 is dog, LABEL_2 is owl)" in model.notes[0]
    expected = own_logits(tmp_path, model)
    np.testing.assert_allclose(model.logits(model.encode(ANIMAL_PICTURES)).detach(), expected, rtol=1e-5, atol=1e-6)
    assert loaded(tmp_path, ONE_SET, head="fresh").notes == ()


# -- which models ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["ViT", "Dinov2", "DeiT", "Beit", "Swin", "ConvNext", "ResNet"])
def test_a_body_opens_with_a_fresh_head(tmp_path: Path, family: str) -> None:
    folder = saved(tmp_path, family, "Model")
    with pytest.raises(InputError, match=rf"is a {family}Model, which has no classification head; set model\.head: fresh"):
        loaded(folder, ONE_SET)
    model = loaded(folder, ONE_SET, head="fresh")
    body = getattr(transformers, f"{family}Model").from_pretrained(folder)
    prefix = model.module.classifier.base_model_prefix
    there = dict(model.module.classifier.named_parameters())
    assert all(torch.equal(there[f"{prefix}.{n}"], p) for n, p in body.named_parameters() if f"{prefix}.{n}" in there)
    heads = [name for name in model.layout.names if ".classifier." in name]
    assert [there[name.removeprefix("classifier.")].shape[0] for name in heads] == [3, 3]
    vector = tuning.tune(model, Shard("a", ANIMAL_PICTURES), "plain", TuningSpec(steps=2), 1).vector
    start, stop = model.layout.bounds[model.layout.names.index(heads[0]) :][:2]
    assert (vector[start:stop] != 0).any()


def test_what_the_head_sees_are_its_own_inputs(tmp_path: Path) -> None:
    """DINOv2's head sees the class token beside the mean of the patches."""
    model = loaded(saved(tmp_path, "Dinov2", "ForImageClassification", list(ANIMALS.labels)), ONE_SET)
    head = model.module.classifier.classifier
    seen = torch.from_numpy(model.features(ANIMAL_PICTURES[:1]))
    assert seen.shape == (32,)
    logits = model.logits(model.encode(ANIMAL_PICTURES[:1])).detach()[0]
    np.testing.assert_allclose(head(seen).detach(), logits, rtol=1e-4, atol=1e-5)


def test_both_heads_of_a_distilled_model(tmp_path: Path) -> None:
    saved(tmp_path, "DeiT", "ForImageClassificationWithTeacher", ["owl", "cat", "dog", "wolf"])
    model = loaded(tmp_path, ONE_SET)
    expected = own_logits(tmp_path, model, "DeiTForImageClassificationWithTeacher")[:, [1, 2, 0]]
    np.testing.assert_allclose(model.logits(model.encode(ANIMAL_PICTURES)).detach(), expected, rtol=1e-5, atol=1e-6)
    assert not [name for name in model.layout.names if "_classifier" in name]
    fresh = loaded(tmp_path, ONE_SET, head="fresh")
    assert len([name for name in fresh.layout.names if "_classifier" in name]) == 4
    adapted = loaded(tmp_path, ONE_SET, lora=LoraSpec().model_dump())
    assert not [name for name in adapted.layout.names if "_classifier" in name]


@pytest.mark.parametrize(("family", "names"), [("CLIP", ["owl", "cat", "dog"]), ("Siglip", ["dog", "owl", "cat"])])
def test_the_vision_half_of_a_pair_under_a_head(tmp_path: Path, family: str, names: list[str]) -> None:
    model = loaded(saved(tmp_path, family, "ForImageClassification", names), ONE_SET)
    expected = own_logits(tmp_path, model, f"{family}ForImageClassification")
    rows = [names.index(label) for label in ANIMALS.labels]
    np.testing.assert_allclose(model.logits(model.encode(ANIMAL_PICTURES)).detach(), expected[:, rows], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("family", "what", "options"),
    [
        ("ViT", "ForMaskedImageModeling", {"encoder_stride": 4}),
        ("ViTMAE", "Model", {}),
        ("CLIPVision", "Model", {}),
        ("Siglip", "Model", {}),
    ],
)
def test_other_kinds_are_named(tmp_path: Path, family: str, what: str, options: dict[str, Any]) -> None:
    name = "CLIPVisionModel" if family == "CLIPVision" else f"{family}{what}"
    config = getattr(transformers, f"{family}Config")(**SIZES[family], **options, architectures=[name])
    config.save_pretrained(tmp_path)
    for head in ("own", "fresh"):
        with pytest.raises(InputError, match=rf"is a {name}, which is not supported; of models that see pictures, CLIP and"):
            loaded(tmp_path, ONE_SET, head=head)


def test_sets_that_were_told_apart_before_are_still(tmp_path: Path) -> None:
    """As many unnamed rows as both sets have classes: in the order of the sets' names."""
    model = loaded(saved(tmp_path, "ViT", "ForImageClassification", [f"LABEL_{i}" for i in range(5)]), TWO_SETS)
    assert "LABEL_3 is disc, LABEL_4 is square)" in model.notes[0]
    logits = model.logits(model.encode(pictures(SHAPES, "shapes", 2))).detach()
    assert torch.isinf(logits).tolist() == [[True] * 3 + [False] * 2] * 2
