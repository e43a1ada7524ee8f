"""A base model as the library has it: a module of transformers, for use outside of the project.

language models     as they are
text classifiers    ``...ForSequenceClassification`` around the same body and head; an encoder-decoder has no such class
CLIP                whole again: its text encoder, which is never tuned, comes from the base model's files
image classifiers   as they are, with the data's classes by name

Adapters (LoRA) stay adapters.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from clients.data.dataset import LabelSet
from clients.errors import InputError
from clients.models import pretrained
from clients.models.flat import BaseModel
from clients.models.image import Clip, ImageModel
from clients.models.language import LanguageModel
from clients.models.text_classifier import TextClassifier
from clients.models.vision import heads_of
from clients.settings import ModelSpec

HEAD = "score"
"""The head of a ``...ForSequenceClassification`` that is one linear layer without a bias, on the last token."""


@dataclass(frozen=True)
class Library:
    """A module of transformers, and what makes its inputs.

    Attributes:
        module: has its own copy of every parameter, and takes no gradient.
        auto: the class of transformers that opens it.
        task: what peft calls its task; None where it has no name for it.
        parts: tokenizer and image processor, those that there are.
        heads: names of its classification heads.
    """

    module: Any
    auto: str
    task: str | None
    parts: tuple[Any, ...]
    heads: tuple[str, ...] = ()


def as_library(model: BaseModel, where: str, spec: ModelSpec) -> Library:
    """The model with its parameters as they stand; it is copied.

    Args:
        where: folder or hub id of the base model, as ``loaders.place`` says.

    Raises:
        InputError: transformers has no module that would do the same.
    """
    if isinstance(model, TextClassifier):
        made = _text_classifier(model, spec)
    elif isinstance(model, LanguageModel):
        written = model.module.config.is_encoder_decoder
        auto, task = ("AutoModelForSeq2SeqLM", "SEQ_2_SEQ_LM") if written else ("AutoModelForCausalLM", "CAUSAL_LM")
        made = Library(copy.deepcopy(model.module), auto, task, (model.tokenizer,))
    elif isinstance(model, ImageModel) and isinstance(model.module, Clip):
        module = _clip(model.module, where, spec, model.layout.names)
        made = Library(module, "CLIPModel", None, (pretrained.open_tokenizer(where, spec), model.processor))
    elif isinstance(model, ImageModel):
        module = copy.deepcopy(model.module.classifier)
        _name_classes(module.config, model.label_sets)
        heads = tuple(name for name, part in module.named_modules() if any(part is head for head in heads_of(module)))
        made = Library(module, "AutoModelForImageClassification", None, (model.processor,), heads)
    else:
        raise InputError(f"model.base: {spec.base} is a {type(model).__name__}, which transformers has no module for")
    made.module.config._name_or_path = ""  # where the files of the base model lie is nobody's business
    made.module.requires_grad_(False)
    return made


def _clip(mine: Clip, where: str, spec: ModelSpec, tuned: tuple[str, ...]) -> Any:
    if any(name.startswith("head.") for name in tuned):
        raise InputError(
            "model.tune: the class prompts' embeddings were tuned too, and CLIP has no place for them beside its text "
            "encoder; leave out head.weight, as model.tune: all-but-embeddings-and-head does"
        )
    whole = pretrained.open_module(where, "clip", spec).eval()
    whole.vision_model = copy.deepcopy(mine.clip.vision_model)
    whole.visual_projection = copy.deepcopy(mine.clip.visual_projection)
    whole.logit_scale.data = mine.temperature.detach().clone()
    return whole


def _text_classifier(model: TextClassifier, spec: ModelSpec) -> Library:
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING as KNOWN

    config, body, head = copy.deepcopy(model.config), model.module["body"], model.module["head"]
    _name_classes(config, {"": model.label_set})
    if config.pad_token_id is None:  # it finds the last token of a prompt by what comes after it
        config.pad_token_id = model.tokenizer.pad_token_id or model.tokenizer.eos_token_id
    made = None
    if type(config) in KNOWN and not config.is_encoder_decoder:
        with torch.device("meta"):
            made = KNOWN[type(config)](config).eval()
    if made is None or not isinstance(getattr(made, HEAD, None), nn.Linear) or made.score.bias is not None:
        raise InputError(
            f"model.head: {spec.head}: transformers has no classifier that puts a linear head on a {config.model_type} as "
            "this run does; model.head: own can be exported"
        )
    setattr(made, made.base_model_prefix, copy.deepcopy(body))
    setattr(made, HEAD, copy.deepcopy(head))
    return Library(made, "AutoModelForSequenceClassification", "SEQ_CLS", (model.tokenizer,), (HEAD,))


def _name_classes(config: Any, label_sets: Mapping[str, LabelSet]) -> None:
    """Write down which row of the head is which class of the data."""
    names = [label for key in sorted(label_sets) for label in label_sets[key].labels]
    config.id2label = dict(enumerate(names))
    config.label2id = {label: row for row, label in enumerate(names)}
