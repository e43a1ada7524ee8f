"""Base models, flat: what is tuned, scored and masked. ``load`` opens the one that a scenario names.

flat             what every kind shares: tunable parameters as one buffer, gradients, precision
language         causal and encoder-decoder language models under their LM head
classifier       what models with a classification head share
text_classifier  language models under one
image            CLIP under class prompts, and image classifiers
library          a base model as the library has it, for use outside of the project
lora             low-rank adapters, for any of them
vision           which models see, and whose classes the rows of a classifier's head are
pretrained       models by hub id or folder
tiny_gpt2, tiny_clip, resnet   embedded ones, made by ``pretraining`` and kept in the ``cache``
"""

from dataclasses import asdict
from typing import Any

import torch

from clients.data.manifest import Manifest
from clients.errors import InputError
from clients.exact import digest
from clients.models import pretrained, resnet, tiny_clip, tiny_gpt2
from clients.models.flat import BaseModel, Layout
from clients.models.image import Classifier, ImageModel, clip_model
from clients.models.language import EncoderDecoder, LanguageModel
from clients.models.lora import add_adapters
from clients.models.text_classifier import TextClassifier
from clients.models.vision import heads_of, set_head
from clients.settings import EMBEDDED_BASES, RESNET_18, TINY_CLIP, TINY_GPT2, ModelSpec

__all__ = ["BaseModel", "Layout", "identity", "load", "place"]


def identity(spec: ModelSpec, manifest: Manifest, device: str, micro_batch: int | None = None) -> str:
    """Digest of what decides an open model: where it is the same, one model serves several data sets.

    Whose data there are decides nothing. Public examples matter to embedded bases alone, which are pretrained on them.
    """
    public = [example.facts() for example in manifest.public] if spec.base in EMBEDDED_BASES else None
    sets = [[name, asdict(labels)] for name, labels in manifest.label_sets.items()]
    return digest.of_json([spec.model_dump(mode="json"), device, manifest.pictures, sets, public, micro_batch])


def load(spec: ModelSpec, manifest: Manifest, device: str, micro_batch: int | None = None) -> BaseModel:
    """The base model of a scenario.

    Args:
        micro_batch: the most examples that a pass may have, whatever it is for; None: a gradient step's, or 64 in scoring.

    Raises:
        InputError: it cannot be opened, or does not fit the data or the scenario.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("workers.gpus: PyTorch finds no GPU here; set workers.gpus: 0")
    if spec.base in (TINY_CLIP, RESNET_18) and not manifest.pictures:
        raise InputError(
            f"model.base: {spec.base} looks at pictures, and the data are texts; take {TINY_GPT2} or another LM"
        )
    if spec.base == TINY_GPT2 and manifest.pictures:
        raise InputError(f"model.base: {TINY_GPT2} reads texts, and the data are pictures; take {TINY_CLIP} or {RESNET_18}")
    where = place(spec, manifest)
    kind = pretrained.kind_of(where, spec)
    pictures = kind in ("clip", "classifier")
    if pictures != manifest.pictures:
        wants, has = ("pictures", "texts") if pictures else ("texts", "pictures")
        raise InputError(f"model.base: {spec.base} is {pretrained.SAID[kind]}, which takes {wants}; the data are {has}")
    opened = _image_model if pictures else _text_model
    model = opened(where, kind, spec, manifest, device)
    model.micro_batch = micro_batch
    return model


def place(spec: ModelSpec, manifest: Manifest) -> str:
    """Folder or hub id; an embedded model is made now if it is not in the cache."""
    if spec.base == TINY_GPT2:
        return str(tiny_gpt2.tiny_gpt2(spec.tiny, manifest.public, bool(manifest.label_sets)))
    if spec.base == TINY_CLIP:
        return str(tiny_clip.tiny_clip(spec.tiny_clip, manifest))
    if spec.base == RESNET_18:
        return str(resnet.resnet_18(spec.resnet, manifest))
    return pretrained.located(spec.base)


def _text_model(where: str, kind: pretrained.Kind, spec: ModelSpec, manifest: Manifest, device: str) -> BaseModel:
    if spec.head != "own" and not manifest.label_sets:
        raise InputError(
            f"model.head: {spec.head} needs labels, and the answers of these data are free text; set model.head: own"
        )
    tokenizer = pretrained.open_tokenizer(where, spec)
    module = pretrained.open_module(where, kind, spec)
    pretrained.check_text(module, tokenizer, spec, manifest.label_sets)
    _adapt(module, spec, module.get_output_embeddings())
    if spec.head != "own":
        return TextClassifier(module, tokenizer, spec, device, manifest.label_sets)
    model = EncoderDecoder if kind == "encoder-decoder" else LanguageModel
    return model(module, tokenizer, spec, device, manifest.label_sets)


def _image_model(where: str, kind: pretrained.Kind, spec: ModelSpec, manifest: Manifest, device: str) -> BaseModel:
    processor = pretrained.open_processor(where, spec)
    module = pretrained.open_module(where, kind, spec)
    if kind == "clip":
        if spec.head == "fresh":
            raise InputError(
                "model.head: CLIP's head are its class prompts; set model.head: own, or take an image classifier"
            )
        tokenizer = pretrained.open_tokenizer(where, spec)
        made = clip_model(module, tokenizer, manifest.label_sets)
        _adapt(made.clip.vision_model, spec, None)
        return ImageModel(made, processor, tokenizer, spec, device, manifest.label_sets)
    if spec.head == "labels":
        raise InputError("model.head: labels needs a text encoder or LM head; an image classifier takes own or fresh")
    notes = set_head(module, spec.base, spec.head == "fresh", manifest.label_sets)
    _adapt(module, spec, torch.nn.ModuleList(heads_of(module)))
    model = ImageModel(Classifier(module), processor, None, spec, device, manifest.label_sets)
    model.notes = tuple(notes)
    return model


def _adapt(module: Any, spec: ModelSpec, head: torch.nn.Module | None) -> None:
    if spec.lora is not None:
        if spec.dtype == "bfloat16":  # what is not tuned needs no float32
            module.to(torch.bfloat16)
        add_adapters(module, spec.lora, head)
