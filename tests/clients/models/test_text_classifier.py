"""A classification head on a language model's body, against the plain body and rows of the plain LM head."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import FREE, LABELLED, LABELS, SENTIMENT, TEXTS, loaded
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from clients.data.dataset import Dataset, LabelSet, Shard, fill
from clients.errors import InputError
from clients.settings import TuningSpec
from clients.work import tuning

Folder = Callable[[str], Path]
KINDS = ("gpt2", "llama", "t5")


@torch.no_grad()
def hidden(folder: Path, kind: str) -> torch.Tensor:
    """What the head sees of each text, read alone: [texts, width]."""
    tokenizer, rows = AutoTokenizer.from_pretrained(folder), []
    if kind == "t5":
        module = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
        for example in TEXTS:
            ids = torch.tensor([[*tokenizer.encode(example.prompt, add_special_tokens=False), tokenizer.eos_token_id]])
            read = module.encoder(ids).last_hidden_state
            start = torch.tensor([[module.config.decoder_start_token_id]])
            rows.append(module.decoder(start, encoder_hidden_states=read).last_hidden_state[0, 0])
    else:
        body = AutoModelForCausalLM.from_pretrained(folder).base_model.eval()
        rows = [body(torch.tensor([tokenizer.encode(e.prompt)])).last_hidden_state[0, -1] for e in TEXTS]
    return torch.stack(rows)


def label_rows(folder: Path, kind: str) -> torch.Tensor:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    module = (AutoModelForSeq2SeqLM if kind == "t5" else AutoModelForCausalLM).from_pretrained(folder)
    scale = module.config.d_model**-0.5 if kind == "t5" else 1.0  # tied T5 scales what its head is given
    ids = [tokenizer.encode(label, add_special_tokens=False) for label in LABELS]
    return torch.stack([module.lm_head.weight.detach()[one].mean(0) * scale for one in ids])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("head", ["fresh", "labels"])
def test_loss_accuracy_and_features_by_hand(folder_of_kind: Folder, kind: str, head: str) -> None:
    folder = folder_of_kind(kind)
    model = loaded(folder, LABELLED, head=head)
    rows = label_rows(folder, kind) if head == "labels" else model.module["head"].weight.detach()
    if head == "labels":
        np.testing.assert_allclose(model.module["head"].weight.detach(), rows, rtol=1e-6)
    seen = hidden(folder, kind)
    logs = (seen @ rows.T).log_softmax(1)
    right = torch.tensor([LABELS.index(e.answer) for e in TEXTS])
    batch = model.encode(TEXTS)
    assert model.loss(batch).item() == pytest.approx(-float(logs[range(9), right].mean()), rel=1e-5)
    assert model.values(TEXTS) == [float(logs[row].argmax() == right[row]) for row in range(9)]
    np.testing.assert_allclose(model.features(TEXTS), seen.mean(0), rtol=1e-4, atol=1e-5)
    assert model.weight(batch) == 9
    assert [e.label for e in batch] == right.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_head_is_tuned_and_a_head_of_labels_is_not(folder_of_kind: Folder, kind: str) -> None:
    shard, spec = Shard("a", TEXTS), TuningSpec(steps=6, lr=0.003)
    body = {"labels": set(), "fresh": {"head.weight"}}
    layouts: dict[str, set[str]] = {}
    for head, own in body.items():
        model = loaded(folder_of_kind(kind), LABELLED, head=head)
        layouts[head] = set(model.layout.names) - own
        assert own <= set(model.layout.names)
        before = model.module["head"].weight.detach().clone()
        start = model.loss(model.encode(TEXTS)).item()
        model.assign(model.theta0.numpy() + tuning.tune(model, shard, "plain", spec, 1).vector)
        assert torch.equal(model.module["head"].weight, before) == (head == "labels")
        assert model.loss(model.encode(TEXTS)).item() < start - 0.01
    assert layouts["fresh"] == layouts["labels"]
    assert not any("wte" in n or "embed" in n or "shared" in n or "lm_head" in n for n in layouts["labels"])


def test_patterns_and_adapters_leave_a_fresh_head_tunable(folder_of_kind: Folder) -> None:
    chosen = loaded(folder_of_kind("gpt2"), LABELLED, head="fresh", tune=["*.ln_f.*"]).layout.names
    assert chosen == ("body.ln_f.weight", "body.ln_f.bias", "head.weight")
    names = loaded(folder_of_kind("gpt2"), LABELLED, head="fresh", lora={"targets": ["c_attn"]}).layout.names
    adapters = [f"body.h.{i}.attn.c_attn.lora_{part}.default.weight" for i in (0, 1) for part in "AB"]
    assert names == (*adapters, "head.weight")


def test_a_fresh_head_is_the_same_for_all(folder_of_kind: Folder) -> None:
    torch.manual_seed(5)
    one = loaded(folder_of_kind("gpt2"), LABELLED, head="fresh")
    torch.manual_seed(6)
    other = loaded(folder_of_kind("gpt2"), LABELLED, head="fresh")
    assert one.digest == other.digest
    assert torch.equal(one.theta0, other.theta0)
    assert 0.01 < one.module["head"].weight.detach().std().item() < 0.03
    reordered = Dataset(LABELLED.shards, (), {"": LabelSet(LABELS[::-1], LABELS[::-1])})
    assert loaded(folder_of_kind("gpt2"), reordered, head="fresh").digest != one.digest


def test_heads_are_part_of_the_recipe(folder_of_kind: Folder) -> None:
    shard, spec = Shard("a", TEXTS), TuningSpec()
    models: list[Any] = [loaded(folder_of_kind("gpt2"), LABELLED, head=head) for head in ("own", "fresh", "labels")]
    assert len({tuning.recipe_digest(model, shard, "plain", spec, 1) for model in models}) == 3


@pytest.mark.parametrize("head", ["fresh", "labels"])
def test_free_text_has_no_classes(folder_of_kind: Folder, head: str) -> None:
    with pytest.raises(InputError, match=rf"model\.head: {head} needs labels, .* free text; set model\.head: own"):
        loaded(folder_of_kind("gpt2"), FREE, head=head)


def test_long_prompts_lose_the_beginnings_of_columns(folder_of_kind: Folder) -> None:
    model = loaded(folder_of_kind("gpt2"), Dataset(LABELLED.shards, (), SENTIMENT), head="fresh", max_length=16)
    tokenizer = model.tokenizer
    rows = [fill("Text:{text}\nLabel:{label}", {"text": "no cat " * n, "label": "good"}) for n in range(9)]
    read = [tokenizer.decode(e.ids) for e in model.encode(rows)]
    assert read[0] == "Text:\nLabel:"
    assert all(one.startswith("Text:") and one.endswith("\nLabel:") for one in read)
    assert all(example.prompt.endswith(one[5:]) for one, example in zip(read, rows, strict=True))
    whole = [len(tokenizer.encode(e.prompt)) for e in rows]
    assert [len(e.ids) == n for e, n in zip(model.encode(rows), whole, strict=True)] == [n <= 16 for n in whole]
    assert model.shortened(rows) == sum(n > 16 for n in whole) > 2
    with pytest.raises(InputError, match=r"too few tokens for 'Text:.*Label:': .* takes 12, and 4 are left"):
        loaded(folder_of_kind("gpt2"), Dataset(LABELLED.shards, (), SENTIMENT), head="fresh", max_length=4).encode(rows)


def test_a_blank_before_the_label_changes_nothing(folder_of_kind: Folder) -> None:
    """The head stands where the label would begin."""
    model = loaded(folder_of_kind("gpt2"), LABELLED, head="labels")
    spaced = [replace(example, prompt=example.prompt + " ") for example in TEXTS]
    assert model.encode(spaced) == model.encode(TEXTS)


def test_long_prompts_without_columns_lose_their_first_tokens(folder_of_kind: Folder) -> None:
    model = loaded(folder_of_kind("gpt2"), Dataset(LABELLED.shards, (), SENTIMENT), head="fresh", max_length=8)
    tokenizer = model.tokenizer
    assert [list(e.ids) for e in model.encode(TEXTS)] == [tokenizer.encode(e.prompt)[-8:] for e in TEXTS]
