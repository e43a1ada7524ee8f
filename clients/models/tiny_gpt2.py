"""``tiny-gpt2``: a small GPT-2 with its own tokenizer, pretrained on a data set's public part at first use.

The result is cached under the user's cache folder by the digest of its recipe (sizes, public texts, library versions), so
a second run finds it there. Pretraining is deterministic: the same recipe gives the same weights.
"""

from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from clients.data.dataset import Example
from clients.exact.determinism import deterministic
from clients.models import text
from clients.models.cache import PRETRAINING_THREADS, cached, made_once, recipe_digest
from clients.models.pretraining import pretrain, write
from clients.settings import TINY_GPT2, TinyGPT2

END = "<|endoftext|>"


def folder_of(spec: TinyGPT2, public: tuple[Example, ...], labelled: bool = False) -> Path:
    """Where the base model of this recipe lies, or will lie."""
    return cached(TINY_GPT2, recipe_digest(spec, public, _reading(spec, public, labelled)))


def tiny_gpt2(spec: TinyGPT2, public: tuple[Example, ...], labelled: bool = False) -> Path:
    """Folder of the pretrained model, made now if it is not in the cache.

    Args:
        labelled: answers are labels; they then count as much as all the text before them.

    Raises:
        InputError: the public part is empty.
    """

    def make(folder: Path) -> None:
        tokenizer = train_tokenizer(spec.vocabulary, [t for e in public for t in (e.prompt, e.answer)])
        with deterministic(PRETRAINING_THREADS):
            model = _pretrain(spec, tokenizer, public, labelled)
        write(folder, spec, tokenizer, model)

    return made_once(TINY_GPT2, recipe_digest(spec, public, _reading(spec, public, labelled)), public, make)


def _reading(spec: TinyGPT2, public: tuple[Example, ...], labelled: bool) -> object:
    """How the texts are read, as JSON values: where columns stand decides where a text may be too long, a token per byte.

    That blanks go to answers is said where there are some; other recipes are older than that, and keep their digests.
    """
    long = any(len((example.prompt + example.answer).encode()) >= spec.positions for example in public)
    blank = any(example.prompt.endswith(" ") or example.answer[:1].isspace() for example in public)
    if not long and not blank:
        return labelled
    return [labelled, "blanks go to answers", [example.columns for example in public] if long else None]


def train_tokenizer(vocabulary: int, texts: list[str]) -> Any:
    """A byte-level BPE tokenizer of at most ``vocabulary`` tokens; its one special token ends and pads."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END)


def _pretrain(spec: TinyGPT2, tokenizer: Any, public: tuple[Example, ...], labelled: bool) -> Any:
    """Pretrained on whole texts.

    Prompt and answer count alike, token by token, except that labels, of one token among thirty, get a loss of their own:
    without it a model this small learns to write prompts and hardly to label them.
    """
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
    encoded = [text.encode(tokenizer, example, spec.positions, limit="model.tiny.positions") for example in public]
    whole = [text.Encoded(e.ids, len(e.ids) - 1) for e in encoded]

    def loss(rows: torch.Tensor) -> torch.Tensor:
        drawn = rows.tolist()
        ids, targets = text.collate([whole[row] for row in drawn], "cpu")
        logits = model(input_ids=ids).logits[:, :-1].flatten(0, 1)
        value = cross_entropy(logits, targets[:, 1:].flatten(), ignore_index=text.IGNORED)
        if not labelled:
            return value
        _, answers = text.collate([encoded[row] for row in drawn], "cpu")
        return value + cross_entropy(logits, answers[:, 1:].flatten(), ignore_index=text.IGNORED)

    pretrain(model, spec, len(whole), loss)
    return model
