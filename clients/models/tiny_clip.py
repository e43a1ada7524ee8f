"""``tiny-clip``: a small CLIP with its own tokenizer, pretrained contrastively on a data set's public pictures.

The text of a picture is its class prompt. Many pictures of a batch share one, so the loss is taken over the distinct
prompts of a batch: each picture against them (one is right), and each of them against the pictures (several are right).
"""

from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy, log_softmax

from clients.data.manifest import Manifest
from clients.data.shards import Example
from clients.exact.determinism import deterministic
from clients.models.cache import PRETRAINING_THREADS, made_once, recipe_digest
from clients.models.image import pixels_of
from clients.models.pretraining import pretrain, write
from clients.models.tiny_gpt2 import train_tokenizer
from clients.settings import TINY_CLIP, TinyCLIP


def tiny_clip(spec: TinyCLIP, manifest: Manifest) -> Path:
    """Folder of the pretrained model, made now if it is not in the cache.

    Raises:
        InputError: the public part is empty.
    """
    captions = [caption_of(manifest, example) for example in manifest.public]

    def make(folder: Path) -> None:
        tokenizer = train_tokenizer(spec.vocabulary, captions)
        close_texts(tokenizer)
        processor = image_processor(spec.pixels)
        pixels = pixels_of(processor, [example.image for example in manifest.public])
        with deterministic(PRETRAINING_THREADS):
            model = _pretrain(spec, tokenizer, pixels, captions)
        write(folder, spec, tokenizer, processor, model)

    return made_once(TINY_CLIP, recipe_digest(spec, manifest.public, captions), manifest.public, make)


def caption_of(manifest: Manifest, example: Example) -> str:
    """The class prompt of a picture."""
    found = manifest.label_sets[example.label_set]
    return found.captions[found.labels.index(example.answer)]


def close_texts(tokenizer: Any) -> None:
    """Let a tokenizer put its end token after every text, where CLIP's text encoder reads."""
    from tokenizers.processors import TemplateProcessing

    end = tokenizer.eos_token
    closing = TemplateProcessing(single=f"$A {end}", special_tokens=[(end, tokenizer.eos_token_id)])
    tokenizer.backend_tokenizer.post_processor = closing


def image_processor(pixels: int) -> Any:
    """CLIP's image processor for square pictures of ``pixels``, on PIL."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    side = {"height": pixels, "width": pixels}
    half = [0.5, 0.5, 0.5]
    return CLIPImageProcessorPil(size=side, crop_size=side, do_center_crop=False, image_mean=half, image_std=half)


def _pretrain(spec: TinyCLIP, tokenizer: Any, pixels: torch.Tensor, captions: list[str]) -> Any:
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(spec.seed)
    end = tokenizer.eos_token_id
    words = tokenizer(captions, padding=True, return_tensors="pt")
    tower = {
        "hidden_size": spec.width,
        "intermediate_size": 4 * spec.width,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
    }
    ids = {"vocab_size": len(tokenizer), "bos_token_id": end, "eos_token_id": end, "pad_token_id": end}
    model = CLIPModel(
        CLIPConfig(
            text_config=tower | ids | {"max_position_embeddings": max(32, words.input_ids.shape[1])},
            vision_config=tower | {"image_size": spec.pixels, "patch_size": spec.patch},
            projection_dim=spec.width,
        )
    )

    def loss(rows: torch.Tensor) -> torch.Tensor:
        return _contrast(model, pixels[rows], words.input_ids[rows], words.attention_mask[rows])

    pretrain(model, spec, len(captions), loss)
    return model


def _contrast(model: Any, pixels: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """CLIP's symmetric loss over the distinct texts of a batch, a scalar."""
    distinct, which = torch.unique(ids, dim=0, return_inverse=True)
    first = torch.stack([(which == text).nonzero()[0, 0] for text in range(len(distinct))])
    logits = model(pixel_values=pixels, input_ids=distinct, attention_mask=mask[first]).logits_per_image
    right = torch.nn.functional.one_hot(which, len(distinct)).float()
    shares = right / right.sum(0)
    return (cross_entropy(logits, which) - (shares * log_softmax(logits, dim=0)).sum(0).mean()) / 2
