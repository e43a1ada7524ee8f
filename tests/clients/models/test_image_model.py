"""CLIP and image classifiers against plain passes of the plain modules."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import (
    ANIMAL_PICTURES,
    ANIMALS,
    LABELLED,
    ONE_SET,
    SHAPE_PICTURES,
    SHAPES,
    TWO_SETS,
    clip_logits,
    loaded,
    picture,
)
from transformers import AutoImageProcessor, AutoModelForImageClassification, AutoTokenizer, CLIPModel

from clients.data.dataset import Dataset, Example, LabelSet, Shard
from clients.data.pictures import decoded
from clients.errors import InputError
from clients.settings import TuningSpec
from clients.work import tuning

Folder = Callable[[str], Path]
ALL = (*ANIMAL_PICTURES, *SHAPE_PICTURES)


@pytest.fixture(scope="module")
def expected(folder_of_kind: Folder) -> list[torch.Tensor]:
    return [clip_logits(folder_of_kind("clip"), example) for example in ALL]


def test_class_prompts_are_clips_own_text_features(folder_of_kind: Folder) -> None:
    model, module = loaded(folder_of_kind("clip"), TWO_SETS), CLIPModel.from_pretrained(folder_of_kind("clip")).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder_of_kind("clip"))
    for row, caption in enumerate((*ANIMALS.captions, *SHAPES.captions)):
        with torch.no_grad():
            features = module.get_text_features(**tokenizer(caption, return_tensors="pt")).pooler_output[0]
        np.testing.assert_allclose(model.module.head.weight[row], features / features.norm(), rtol=1e-4, atol=1e-6)
    assert len(model.module.head.weight) == 5


def test_logits_loss_and_accuracy_are_clips_among_a_pictures_own_classes(
    folder_of_kind: Folder, expected: list[torch.Tensor]
) -> None:
    model = loaded(folder_of_kind("clip"), TWO_SETS)
    logits = model.logits(model.encode(ALL)).detach()
    losses, right = [], []
    for row, (example, own) in enumerate(zip(ALL, expected, strict=True)):
        kept = logits[row, :3] if example.label_set == "animals" else logits[row, 3:]
        np.testing.assert_allclose(kept, own, rtol=1e-4, atol=1e-4)
        assert torch.isinf(logits[row]).sum() == 5 - len(own)
        label = TWO_SETS.label_sets[example.label_set].labels.index(example.answer)
        losses.append(-float(own.log_softmax(0)[label]))
        right.append(float(own.argmax() == label))
    assert model.loss(model.encode(ALL)).item() == pytest.approx(np.mean(losses), rel=1e-4)
    assert model.values(ALL) == right
    assert 0 < sum(right) < len(ALL)
    embedded = model.module.embed(model._pixels(model.encode(ALL))).detach()
    np.testing.assert_allclose(model.features(ALL), embedded.double().mean(0), rtol=1e-5, atol=1e-6)
    assert model.encode(ALL)[0].tokens == 5  # four patches of 4×4 and the class token


def test_the_text_encoder_is_gone_and_position_embeddings_stay(folder_of_kind: Folder) -> None:
    model = loaded(folder_of_kind("clip"), TWO_SETS)
    named = dict(model.module.named_parameters())
    assert not any("text" in name or "logit_scale" in name for name in named)
    assert set(named) - set(model.layout.names) == {
        "clip.vision_model.embeddings.position_embedding.weight",
        "head.weight",
    }
    assert "clip.visual_projection.weight" in model.layout.names


def test_the_digest_depends_on_class_prompts(folder_of_kind: Folder) -> None:
    other = LabelSet(ANIMALS.labels, ("a photo of a cat.", "a photo of a large dog.", "a photo of an old owl."))
    digests = {
        loaded(folder_of_kind("clip"), dataset).digest
        for dataset in (ONE_SET, TWO_SETS, Dataset(ONE_SET.shards, (), {"animals": other}))
    }
    assert len(digests) == 3
    turned = Dataset(TWO_SETS.shards, (), dict(reversed(TWO_SETS.label_sets.items())))
    assert loaded(folder_of_kind("clip"), turned).digest in digests


@pytest.mark.parametrize("kind", ["clip", "vit", "resnet"])
def test_tuning_lowers_the_loss(folder_of_kind: Folder, kind: str) -> None:
    model = loaded(folder_of_kind(kind), ONE_SET)
    batch = model.encode(ANIMAL_PICTURES)
    start = model.loss(batch).item()
    shard, spec = Shard("a", ANIMAL_PICTURES), TuningSpec(steps=10, lr=0.01)
    vector = tuning.tune(model, shard, "plain", spec, 1).vector
    assert tuning.tune(model, shard, "plain", spec, 1).vector.tobytes() == vector.tobytes()
    model.assign(model.theta0.numpy() + vector)
    assert model.loss(batch).item() < 0.9 * start


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_a_classifier_is_its_plain_self(folder_of_kind: Folder, kind: str) -> None:
    folder = folder_of_kind(kind)
    model, module = loaded(folder, ONE_SET), AutoModelForImageClassification.from_pretrained(folder).eval()
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    seen: list[torch.Tensor] = []
    head = module.classifier if kind == "vit" else module.classifier[1]
    head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0]))
    with torch.no_grad():
        logits = torch.cat([module(**processor([decoded(e.image)], return_tensors="pt")).logits for e in ANIMAL_PICTURES])
    right = torch.tensor([ANIMALS.labels.index(e.answer) for e in ANIMAL_PICTURES])
    loss = -logits.log_softmax(1)[range(7), right].mean()
    assert model.loss(model.encode(ANIMAL_PICTURES)).item() == pytest.approx(loss.item(), rel=1e-4)
    assert model.values(ANIMAL_PICTURES) == (logits.argmax(1) == right).float().tolist()
    np.testing.assert_allclose(model.features(ANIMAL_PICTURES), torch.stack(seen).mean(0), rtol=1e-4, atol=1e-6)
    head_names = {name for name, _ in module.named_parameters() if name.startswith("classifier.")}
    assert len(head_names) == 2
    assert not {f"classifier.{name}" for name in head_names} & set(model.layout.names)


def test_batch_norms_keep_their_statistics(folder_of_kind: Folder) -> None:
    model = loaded(folder_of_kind("resnet"), ONE_SET)
    before = {name: value.clone() for name, value in model.module.named_buffers()}
    assert len(before) >= 6
    vector = tuning.tune(model, Shard("a", ANIMAL_PICTURES), "plain", TuningSpec(steps=3, batch=2), 1).vector
    model.assign(model.theta0.numpy() + vector)
    for name, value in model.module.named_buffers():
        assert torch.equal(value, before[name])
    encoded = model.encode(ANIMAL_PICTURES)
    with torch.no_grad():
        together = model.logits(encoded)
        alone = torch.cat([model.logits([one]) for one in encoded])
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_classes_that_do_not_fit_and_a_fresh_head(folder_of_kind: Folder, kind: str) -> None:
    with pytest.raises(InputError, match=r"tells 3 classes apart, the data have 5; set model\.head: fresh"):
        loaded(folder_of_kind(kind), TWO_SETS)
    with pytest.raises(InputError, match=r"model\.head: labels needs a text encoder or LM head"):
        loaded(folder_of_kind(kind), ONE_SET, head="labels")
    model, again = (loaded(folder_of_kind(kind), TWO_SETS, head="fresh") for _ in range(2))
    assert model.digest == again.digest
    (weight,) = [n for n, p in model.module.named_parameters() if p.shape[0] == 5 and p.ndim == 2]
    assert weight in model.layout.names
    start, stop = model.layout.bounds[model.layout.names.index(weight) :][:2]
    vector = tuning.tune(model, Shard("a", ALL), "plain", TuningSpec(steps=2), 1).vector
    assert (vector[start:stop] != 0).mean() > 0.2  # ReLU leaves some features at zero
    patterns = loaded(folder_of_kind(kind), TWO_SETS, head="fresh", tune=["*no*.bias", "*norm*.bias"])
    assert weight in patterns.layout.names


def test_classes_of_the_same_names_are_put_in_order(folder_of_kind: Folder, tmp_path: Path) -> None:
    shutil.copytree(folder_of_kind("vit"), tmp_path / "named")
    module = AutoModelForImageClassification.from_pretrained(folder_of_kind("vit")).eval()
    module.config.id2label = {0: "owl", 1: "cat", 2: "dog"}
    module.config.label2id = {"owl": 0, "cat": 1, "dog": 2}
    module.save_pretrained(tmp_path / "named")
    model = loaded(tmp_path / "named", ONE_SET)
    encoded = model.encode(ANIMAL_PICTURES)
    with torch.no_grad():
        own = module(pixel_values=torch.stack([one.pixels for one in encoded])).logits
        np.testing.assert_allclose(model.logits(encoded), own[:, [1, 2, 0]], rtol=1e-5, atol=1e-6)


def test_grey_pictures_and_pictures_that_do_not_decode(folder_of_kind: Folder) -> None:
    model = loaded(folder_of_kind("clip"), ONE_SET)
    grey = decoded(picture(4, "L"))
    assert (grey.mode, grey.size) == ("RGB", (11, 9))
    (one,) = model.encode([Example("", "dog", picture(4, "L"), "animals")])
    assert one.pixels.shape == (3, 8, 8)
    assert torch.equal(one.pixels[0], one.pixels[2])
    assert (one.label, one.rows) == (1, (0, 3))
    with pytest.raises(InputError, match=r"a picture does not decode .*PNG or JPEG bytes are expected"):
        model.encode([Example("", "dog", b"nothing of the kind", "animals")])
    with pytest.raises(InputError, match="a picture does not decode"):
        model.encode([Example("", "dog", picture(4)[:60], "animals")])


def test_kinds_that_do_not_fit_the_data(folder_of_kind: Folder) -> None:
    for base, dataset, message in (
        ("gpt2", ONE_SET, r"is a causal language model, which takes texts; the data are pictures"),
        ("t5", ONE_SET, r"is an encoder-decoder language model, which takes texts; the data are pictures"),
        ("clip", LABELLED, r"is a CLIP model, which takes pictures; the data are texts"),
        ("resnet", LABELLED, r"is an image classifier, which takes pictures; the data are texts"),
    ):
        with pytest.raises(InputError, match=message):
            loaded(folder_of_kind(base), dataset)
    for base, dataset, message in (
        ("tiny-clip", LABELLED, r"tiny-clip looks at pictures, and the data are texts; take tiny-gpt2"),
        ("resnet-18", LABELLED, r"resnet-18 looks at pictures, and the data are texts; take tiny-gpt2"),
        ("tiny-gpt2", ONE_SET, r"tiny-gpt2 reads texts, and the data are pictures; take tiny-clip or resnet-18"),
    ):
        with pytest.raises(InputError, match=message):
            loaded(Path(base), dataset)
    with pytest.raises(InputError, match=r"CLIP's head are its class prompts; set model\.head: own"):
        loaded(folder_of_kind("clip"), ONE_SET, head="fresh")
    assert loaded(folder_of_kind("clip"), ONE_SET, head="labels").digest == loaded(folder_of_kind("clip"), ONE_SET).digest


def test_a_folder_without_image_processor(folder_of_kind: Folder, tmp_path: Path) -> None:
    shutil.copytree(folder_of_kind("clip"), tmp_path / "bare")
    for path in (tmp_path / "bare").glob("*processor*"):
        path.unlink()
    with pytest.raises(InputError, match=r"cannot open .*bare as an image processor"):
        loaded(tmp_path / "bare", ONE_SET)
