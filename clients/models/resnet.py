"""``resnet-18``: a ResNet-18 (He et al., 2016; basic blocks) built from its configuration, trained on the public pictures.

Its head has the classes of the data set. After this supervised pretraining the batch norms keep their running statistics.
"""

from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from clients.data.manifest import Manifest
from clients.errors import InputError
from clients.exact.determinism import deterministic
from clients.models.cache import PRETRAINING_THREADS, made_once, recipe_digest
from clients.models.image import pixels_of
from clients.models.pretraining import pretrain, write
from clients.models.tiny_clip import image_processor
from clients.settings import RESNET_18, TinyResNet


def resnet_18(spec: TinyResNet, manifest: Manifest) -> Path:
    """Folder of the pretrained model, made now if it is not in the cache.

    Raises:
        InputError: the public part is empty, or the data are of several image sets.
    """
    if (sets := len(manifest.label_sets)) > 1:
        raise InputError(f"model.base: {RESNET_18} has one head, and data.sets has {sets} sets; take one, or tiny-clip")
    (labels,) = (found.labels for found in manifest.label_sets.values())

    def make(folder: Path) -> None:
        processor = image_processor(spec.pixels)
        pixels = pixels_of(processor, [example.image for example in manifest.public])
        targets = torch.tensor([labels.index(example.answer) for example in manifest.public])
        with deterministic(PRETRAINING_THREADS):
            model = _pretrain(spec, pixels, targets, labels)
        write(folder, spec, processor, model)

    return made_once(RESNET_18, recipe_digest(spec, manifest.public, list(labels)), manifest.public, make)


def _pretrain(spec: TinyResNet, pixels: torch.Tensor, targets: torch.Tensor, labels: tuple[str, ...]) -> Any:
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(spec.seed)
    model = ResNetForImageClassification(
        ResNetConfig(
            layer_type="basic",
            depths=list(spec.depths),
            hidden_sizes=list(spec.widths),
            embedding_size=spec.widths[0],
            id2label=dict(enumerate(labels)),
            label2id={label: number for number, label in enumerate(labels)},
        )
    ).train()

    def loss(rows: torch.Tensor) -> torch.Tensor:
        return cross_entropy(model(pixel_values=pixels[rows]).logits, targets[rows])

    pretrain(model, spec, len(targets), loss, weight_decay=0.05)
    return model.eval()
