"""Image models: CLIP's vision encoder under class prompts, or an image classifier with its own or a fresh head.

CLIP (Radford et al., 2021): logits are exp(t) · cos(image, class prompt), the class prompts read once by the text encoder,
which is then let go; tuned are vision encoder and projection, without the position embeddings. An example is told apart
from the classes of its own data set only. Batch norms keep the running statistics of pretraining, so that a prediction
does not depend on who else is in a batch.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import nn
from torch.nn.functional import normalize

from clients.data.dataset import Example, LabelSet
from clients.data.pictures import decoded
from clients.models import text
from clients.models.classifier import HeadedModel
from clients.models.flat import config_facts, tunable
from clients.models.language import tokenizer_facts
from clients.models.tangent import expanded
from clients.models.vision import heads_of
from clients.settings import ModelSpec


@dataclass(frozen=True)
class Picture:
    """Pixels [channels, height, width] as the model takes them, the class's row in the head, and the rows of its set."""

    pixels: torch.Tensor
    label: int
    rows: tuple[int, int]
    tokens: int


class Clip(nn.Module):
    """CLIP with its class prompts as a linear head; embeddings and prompts are normalised."""

    def __init__(self, clip: Any, prompts: torch.Tensor) -> None:
        super().__init__()
        self.clip = clip
        self.head = nn.Linear(prompts.shape[1], len(prompts), bias=False)
        self.head.weight.data.copy_(prompts)
        self.temperature: torch.Tensor
        self.register_buffer("temperature", clip.logit_scale.detach().clone())
        del clip.text_model, clip.text_projection, clip.logit_scale

    def embed(self, pixels: torch.Tensor) -> torch.Tensor:
        """Unit image embeddings [batch, width]."""
        return normalize(self.clip.get_image_features(pixel_values=pixels).pooler_output.float(), dim=-1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        embedded = self.embed(pixels)
        with torch.autocast(embedded.device.type, enabled=False):  # exp(t) is up to 100: bfloat16's cosines are too coarse
            return self.temperature.exp() * self.head(embedded)


class Classifier(nn.Module):
    """An image classifier of transformers."""

    def __init__(self, classifier: Any) -> None:
        super().__init__()
        self.classifier = classifier

    def embed(self, pixels: torch.Tensor) -> torch.Tensor:
        """What the head sees, [batch, width]; of several heads the first one."""
        seen: list[torch.Tensor] = []
        watch = heads_of(self.classifier)[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            self.classifier(pixel_values=pixels)
        finally:
            watch.remove()
        return seen[-1].flatten(1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.classifier(pixel_values=pixels).logits


class ImageModel(HeadedModel):
    """``Clip`` or ``Classifier``, flat."""

    def __init__(
        self,
        module: Clip | Classifier,
        processor: Any,
        tokenizer: Any | None,
        spec: ModelSpec,
        device: str,
        label_sets: Mapping[str, LabelSet],
    ) -> None:
        self.processor = processor
        self.rows, self.label_sets = _rows(label_sets), label_sets
        config = (module.clip if isinstance(module, Clip) else module.classifier).config
        vision = getattr(config, "vision_config", config)
        self.patch = patch if isinstance(patch := getattr(vision, "patch_size", None), int) else None
        facts = [
            config_facts(config),
            processor.to_json_string(),
            version("pillow"),
            {n: list(s.captions) for n, s in label_sets.items()},
        ]
        facts += tokenizer_facts(tokenizer) if tokenizer is not None else []
        head = module.head if isinstance(module, Clip) else nn.ModuleList(heads_of(module.classifier))
        fresh = head if spec.head == "fresh" else None
        chosen = tunable(module, spec, [head if fresh is None else None], fresh)
        super().__init__(module, chosen, facts, spec, device)

    def encode(self, examples: Sequence[Example]) -> list[Picture]:
        pixels = pixels_of(self.processor, [example.image for example in examples])
        patches = [1] if self.patch is None else [side // self.patch for side in pixels.shape[2:]]
        tokens = math.prod(patches) + (self.patch is not None)  # and the class token
        found = []
        for one, example in zip(pixels, examples, strict=True):
            start, labels = self.rows[example.label_set]
            found.append(Picture(one, start + labels.index(example.answer), (start, start + len(labels)), tokens))
        return found

    def shown(self, example: Example) -> tuple[str, str]:
        (picture,) = self.encode([example])
        caption = self.label_sets[example.label_set].captions[self.rows[example.label_set][1].index(example.answer)]
        return " × ".join(map(str, picture.pixels.shape)) + " values, as channels × height × width", caption

    def seen(self, batch: list[Picture]) -> torch.Tensor:
        return self.module.embed(self._pixels(batch))

    def _pixels(self, batch: list[Picture]) -> torch.Tensor:
        return torch.stack([picture.pixels for picture in batch]).to(self.device)

    def logits(self, batch: list[Picture]) -> torch.Tensor:
        logits = expanded(self.module(self._pixels(batch))).float()
        bounds = torch.tensor([picture.rows for picture in batch], device=self.device)
        row = torch.arange(logits.shape[1], device=self.device)
        return logits.masked_fill((row < bounds[:, :1]) | (row >= bounds[:, 1:]), float("-inf"))


def clip_model(clip: Any, tokenizer: Any, label_sets: Mapping[str, LabelSet]) -> Clip:
    """CLIP with the class prompts of all data sets as its head, in the order of their names."""
    captions = [caption for name in sorted(label_sets) for caption in label_sets[name].captions]
    for found in label_sets.values():
        read = [tuple(ids) for ids in prompt_tokens(clip, tokenizer, found.captions).input_ids]
        for caption, ids in zip(found.captions, read, strict=True):
            text.check_known(tokenizer, ids, clip.config.text_config.vocab_size, caption)
        most = max(map(len, read))
        text.check_apart(found.captions, read, f"the text encoder reads the same tokens of both, {most} at most")
    return Clip(clip, class_prompts(clip, tokenizer, captions))


def prompt_tokens(clip: Any, tokenizer: Any, captions: Sequence[str], **options: Any) -> Any:
    """Class prompts as the tokenizer gives them, no longer than the text encoder reads."""
    most = min(tokenizer.model_max_length, clip.config.text_config.max_position_embeddings)
    return tokenizer(list(captions), truncation=True, max_length=most, **options)


@torch.no_grad()
def class_prompts(clip: Any, tokenizer: Any, captions: Sequence[str]) -> torch.Tensor:
    """Unit text embeddings of class prompts, fp32 [captions, width]."""
    clip.eval()
    words = prompt_tokens(clip, tokenizer, captions, padding=True, return_tensors="pt")
    found = clip.get_text_features(input_ids=words.input_ids, attention_mask=words.attention_mask)
    return normalize(found.pooler_output.float(), dim=-1)


def pixels_of(processor: Any, images: Sequence[bytes]) -> torch.Tensor:
    """Stored pictures as the model's own image processor gives them, fp32 [images, channels, height, width].

    Raises:
        InputError: one does not decode.
    """
    return processor([decoded(image) for image in images], return_tensors="pt").pixel_values


def _rows(label_sets: Mapping[str, LabelSet]) -> dict[str, tuple[int, tuple[str, ...]]]:
    """First row in the head and labels of each set, in the order of their names."""
    rows, start = {}, 0
    for name in sorted(label_sets):
        rows[name] = (start, label_sets[name].labels)
        start += len(label_sets[name].labels)
    return rows
