"""``tiny-gpt2``: a small GPT-2 with its own tokenizer, pretrained on a data set's public part at first use.

The result is cached under the user's cache folder by the digest of its recipe (sizes, public texts, library versions), so
a second run finds it there. Pretraining is deterministic: the same recipe gives the same weights.
"""

import json
import os
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from clients import digest, text
from clients.data.dataset import Example
from clients.determinism import deterministic, environment
from clients.errors import InputError
from clients.settings import TinyGPT2

END = "<|endoftext|>"
PRETRAINING_THREADS = 2  # part of the recipe: fixed whatever the machine has


def cache_folder() -> Path:
    """``$UNMERGE_CACHE``, or ``unmerge`` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("UNMERGE_CACHE") or Path(base) / "unmerge")


def recipe_digest(spec: TinyGPT2, public: tuple[Example, ...]) -> str:
    """Digest of everything that decides the base model's bits."""
    texts = [asdict(example) for example in public]
    return digest.of_json([spec.model_dump(mode="json"), texts, environment("cpu"), PRETRAINING_THREADS])


def cached(spec: TinyGPT2, public: tuple[Example, ...]) -> Path:
    """Where the base model of this recipe lies, or will lie."""
    return cache_folder() / "tiny-gpt2" / recipe_digest(spec, public)[:24]


def tiny_gpt2(spec: TinyGPT2, public: tuple[Example, ...]) -> Path:
    """Folder of the pretrained model, made now if it is not in the cache.

    Raises:
        InputError: the public part is empty.
    """
    folder = cached(spec, public)
    if (folder / "model.safetensors").exists():
        return folder
    if not public:
        raise InputError(
            "model.base: tiny-gpt2 is pretrained on a data set's public part, and this one has none; "
            "set data.public_clients, or give model.base a pretrained model"
        )
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
    try:
        tokenizer = _train_tokenizer(spec, public)
        with deterministic(PRETRAINING_THREADS):
            model = _pretrain(spec, tokenizer, public)
        tokenizer.save_pretrained(partial)
        model.save_pretrained(partial)
        (partial / "recipe.json").write_text(json.dumps(spec.model_dump(mode="json"), indent=1))
        try:
            partial.rename(folder)
        except OSError:  # another process made the same model meanwhile
            if not (folder / "model.safetensors").exists():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _train_tokenizer(spec: TinyGPT2, public: tuple[Example, ...]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=spec.vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((t for example in public for t in (example.prompt, example.answer)), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END)


def _pretrain(spec: TinyGPT2, tokenizer: Any, public: tuple[Example, ...]) -> Any:
    """AdamW with a short warm-up and a cosine to zero, on whole texts (prompt and answer alike)."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(spec.seed)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer),
            n_positions=spec.positions,
            n_embd=spec.width,
            n_layer=spec.layers,
            n_head=spec.heads,
            activation_function="gelu_pytorch_tanh",  # GPT-2's own formula in one kernel
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=tokenizer.eos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    encoded = [text.encode(tokenizer, example, spec.positions) for example in public]
    whole = [text.Encoded(e.ids, len(e.ids) - 1) for e in encoded]
    optimizer = torch.optim.AdamW(model.parameters(), lr=spec.lr, weight_decay=0.01)
    warmup = max(1, spec.steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warmup, 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * step / spec.steps))))),
    )
    order = torch.Generator().manual_seed(spec.seed)
    for _ in range(spec.steps):
        rows = torch.randint(len(whole), (spec.batch,), generator=order).tolist()
        ids, targets = text.collate([whole[row] for row in rows], "cpu")
        logits = model(input_ids=ids).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets[:, 1:].flatten(), ignore_index=text.IGNORED)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model
