"""Random models of a few thousand parameters in folders, with weights large enough that outputs differ, and small data."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoTokenizer,
    CLIPConfig,
    CLIPModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    ResNetConfig,
    ResNetForImageClassification,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
)

from clients.data.dataset import Dataset, Example, LabelSet, Shard
from clients.data.pictures import decoded
from clients.models import loaders as models
from clients.models.tiny_clip import close_texts, image_processor
from clients.models.tiny_gpt2 import train_tokenizer
from clients.settings import ModelSpec

LABELS = ("good", "rather bad, all in all", "so-so")
WORDS = ("the film was long", "a cat sat on the mat", "nobody came", "what a day", "rain again", "so it goes")
TEXTS = tuple(
    Example(f"Text:{' and '.join(WORDS[: 1 + number % 4])} {number}\nLabel:", LABELS[number % 3]) for number in range(9)
)
SENTIMENT = {"": LabelSet(LABELS, LABELS)}
ANIMALS = LabelSet(("cat", "dog", "owl"), ("a photo of a cat.", "a photo of a large dog.", "a photo of an owl."))
SHAPES = LabelSet(("disc", "square"), ("a drawing of a disc.", "a drawing of a square."))
SIDE = 8


def picture(seed: int, mode: str = "RGB") -> bytes:
    """A PNG of noise, 11×9."""
    values = np.random.default_rng(seed).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).convert(mode).save(file, format="PNG")
    return file.getvalue()


def pictures(kind: LabelSet, name: str, count: int, first: int = 0) -> tuple[Example, ...]:
    return tuple(Example("", kind.labels[i % len(kind.labels)], picture(first + i), name) for i in range(count))


ANIMAL_PICTURES = pictures(ANIMALS, "animals", 7)
SHAPE_PICTURES = pictures(SHAPES, "shapes", 5, 100)
ONE_SET = Dataset((Shard("a", ANIMAL_PICTURES),), (), {"animals": ANIMALS})
TWO_SETS = Dataset((Shard("a", ANIMAL_PICTURES), Shard("b", SHAPE_PICTURES)), (), {"shapes": SHAPES, "animals": ANIMALS})
LABELLED = Dataset((Shard("a", TEXTS),), (), SENTIMENT)
FREE = Dataset((Shard("a", TEXTS),), ())


def loaded(folder: Path, dataset: Dataset, **options: Any) -> Any:
    return models.load(ModelSpec.model_validate({"base": str(folder), "max_length": 96} | options), dataset.manifest, "cpu")


def save(kind: str, folder: Path) -> Path:
    """A model of one kind and what turns texts or pictures into its numbers."""
    torch.manual_seed(3)
    tokenizer = train_tokenizer(300, [*WORDS, *LABELS, *ANIMALS.captions, *SHAPES.captions])
    end = tokenizer.eos_token_id
    ids = {"vocab_size": len(tokenizer), "bos_token_id": end, "eos_token_id": end}
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    parts: list[Any] = []
    if kind == "gpt2":
        sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 128}
        parts = [GPT2LMHeadModel(GPT2Config(**ids, **sizes, initializer_range=0.3)), tokenizer]
    elif kind == "llama":
        config = LlamaConfig(
            **ids,
            **tower,
            num_key_value_heads=1,
            max_position_embeddings=128,
            initializer_range=0.3,
            tie_word_embeddings=False,
        )
        parts = [LlamaForCausalLM(config), tokenizer]
    elif kind == "t5":
        close_texts(tokenizer)
        sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "initializer_factor": 1.0}
        config = T5Config(**(ids | sizes | {"pad_token_id": 5, "decoder_start_token_id": 7}))
        parts = [T5ForConditionalGeneration(config), tokenizer]
    elif kind == "clip":
        close_texts(tokenizer)
        text = tower | ids | {"max_position_embeddings": 32, "pad_token_id": end}
        vision = tower | {"image_size": SIDE, "patch_size": 4}
        config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=12, initializer_factor=8.0)
        parts = [CLIPModel(config), tokenizer, image_processor(SIDE)]
    elif kind == "vit":
        config = ViTConfig(**tower, image_size=SIDE, patch_size=4, num_labels=3, initializer_range=0.3)
        parts = [ViTForImageClassification(config), image_processor(SIDE)]
    else:
        config = ResNetConfig(embedding_size=4, hidden_sizes=[4, 6], depths=[1, 1], layer_type="basic", num_labels=3)
        resnet = ResNetForImageClassification(config)
        for module in resnet.modules():  # running statistics as after some training
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
        parts = [resnet, image_processor(SIDE)]
    for part in parts:
        part.save_pretrained(folder)
    return folder


@torch.no_grad()
def clip_logits(folder: Path, example: Example) -> torch.Tensor:
    """CLIPModel's own logits of one picture against its own set's class prompts."""
    module, found = CLIPModel.from_pretrained(folder).eval(), TWO_SETS.label_sets[example.label_set]
    pixels = AutoImageProcessor.from_pretrained(folder, backend="pil")([decoded(example.image)], return_tensors="pt")
    words = AutoTokenizer.from_pretrained(folder)(list(found.captions), padding=True, return_tensors="pt")
    return module(input_ids=words.input_ids, attention_mask=words.attention_mask, **pixels).logits_per_image[0]
