"""Adapters: what is tuned, from which values, and that tuning is what a plain peft loop does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny_models import ANIMAL_PICTURES, FREE, LABELLED, ONE_SET, TEXTS, TWO_SETS, clip_logits, loaded
from torch.nn.functional import cross_entropy, normalize
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    CLIPModel,
)

from clients.data.dataset import Dataset, Shard
from clients.errors import InputError
from clients.exact import bits
from clients.models.lora import add_adapters
from clients.settings import LoraSpec, TuningSpec
from clients.work import tuning
from clients.work.rules import RULES

Folder = Callable[[str], Path]
SHARDS = {"clip": Shard("a", ANIMAL_PICTURES), "vit": Shard("a", ANIMAL_PICTURES)}
TARGETS = {
    "gpt2": ("c_attn", "mlp.c_proj"),
    "llama": ("q_proj", "v_proj"),
    "t5": ("q", "wo"),
    "clip": ("q_proj", "fc1"),
    "vit": ("q_proj", "v_proj"),
}
ADAPTED = {"gpt2": 2 * 2, "llama": 2 * 2, "t5": 2 + 4 + 4, "clip": 2 * 2, "vit": 2 * 2}
LINEAR = {"gpt2": 2 * 4, "llama": 2 * 7, "t5": 2 * 6 + 2 * 10, "clip": 2 * 6, "vit": 2 * 6}


def data_of(kind: str) -> Dataset:
    return ONE_SET if kind in SHARDS else FREE


def adapted(folder_of_kind: Folder, kind: str, targets: tuple[str, ...] | None = None, **more: Any) -> Any:
    lora = {"rank": 2, "alpha": 6, "targets": targets} | more
    return loaded(folder_of_kind(kind), data_of(kind), lora=lora)


def examples_of(kind: str) -> Any:
    return SHARDS.get(kind, Shard("a", TEXTS))


@pytest.mark.parametrize("kind", TARGETS)
def test_only_adapters_are_tuned_and_they_change_nothing_at_first(folder_of_kind: Folder, kind: str) -> None:
    base = loaded(folder_of_kind(kind), data_of(kind))
    for targets, count in ((TARGETS[kind], ADAPTED[kind]), (None, LINEAR[kind])):
        model = adapted(folder_of_kind, kind, targets)
        names = model.layout.names
        assert len(names) == 2 * count
        assert sorted(n for n in names if n.endswith("lora_A.default.weight")) == sorted(names[::2])
        assert sorted(n.replace("lora_B", "lora_A") for n in names if "lora_B" in n) == sorted(names[::2])
        for name, start, stop in zip(names, model.layout.bounds, model.layout.bounds[1:], strict=False):
            assert model.theta0[start:stop].any().item() == ("lora_A" in name)
        batch = model.encode(examples_of(kind).train)
        assert model.loss(batch).item() == base.loss(batch).item()
        assert model.values(examples_of(kind).train) == base.values(examples_of(kind).train)


def test_logits_at_first_are_the_base_models(folder_of_kind: Folder) -> None:
    model = loaded(folder_of_kind("clip"), TWO_SETS, lora={})
    for example, row in zip(ANIMAL_PICTURES, model.logits(model.encode(ANIMAL_PICTURES)).detach(), strict=True):
        np.testing.assert_allclose(row[:3], clip_logits(folder_of_kind("clip"), example), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", TARGETS)
def test_seeds_decide_the_adapters(folder_of_kind: Folder, kind: str) -> None:
    torch.manual_seed(1)
    one = adapted(folder_of_kind, kind)
    torch.manual_seed(2)
    again = adapted(folder_of_kind, kind)
    other = adapted(folder_of_kind, kind, seed=1)
    assert one.digest == again.digest != other.digest
    assert torch.equal(one.theta0, again.theta0)
    assert not torch.equal(one.theta0, other.theta0)


def test_the_callers_generator_stays_as_it_was(folder_of_kind: Folder) -> None:
    module, state = plain_module(folder_of_kind("gpt2"), "gpt2"), torch.get_rng_state()
    add_adapters(module, LoraSpec(seed=4), None)
    assert torch.equal(torch.get_rng_state(), state)


def plain_module(folder: Path, kind: str) -> Any:
    opened = {"t5": AutoModelForSeq2SeqLM, "clip": CLIPModel, "vit": AutoModelForImageClassification}
    return opened.get(kind, AutoModelForCausalLM).from_pretrained(folder).eval()


def plain_loss(folder: Path, kind: str, module: Any, model: Any) -> torch.Tensor:
    """The loss of all examples, from texts or pixels, one example at a time."""
    encoded = model.encode(examples_of(kind).train)
    if kind in SHARDS:
        pixels, right = torch.stack([p.pixels for p in encoded]), torch.tensor([p.label for p in encoded])
        if kind == "vit":
            return cross_entropy(module(pixel_values=pixels).logits, right)
        words = AutoTokenizer.from_pretrained(folder)(
            list(ONE_SET.label_sets["animals"].captions), padding=True, return_tensors="pt"
        )
        with torch.no_grad():
            prompts = normalize(module.get_text_features(**words).pooler_output, dim=-1)
        seen = module.visual_projection(module.vision_model(pixel_values=pixels).pooler_output)
        return cross_entropy(module.logit_scale.exp().detach() * normalize(seen, dim=-1) @ prompts.T, right)
    logs = []
    for e in encoded:
        prompt, answer = list(e.ids[: -e.answer]), list(e.ids[-e.answer :])
        if kind == "t5":
            decoder = torch.tensor([[module.config.decoder_start_token_id, *answer[:-1]]])
            logits = module(input_ids=torch.tensor([prompt]), decoder_input_ids=decoder).logits[0]
        else:
            logits = module(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        logs.append(logits.log_softmax(-1)[range(len(answer)), answer])
    return -torch.cat(logs).mean()


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
@pytest.mark.parametrize(
    ("kind", "tuned"), [*((kind, "plain") for kind in TARGETS), ("gpt2", "sign_fixed"), ("clip", "sign_fixed")]
)
def test_tuning_is_a_plain_peft_loop(folder_of_kind: Folder, kind: str, tuned: Any) -> None:
    model, shard, spec = adapted(folder_of_kind, kind, TARGETS[kind]), examples_of(kind), TuningSpec(steps=4, lr=0.01)
    vector = tuning.tune(model, shard, tuned, spec, 5, RULES[tuned].signs(5, model.layout.size)).vector

    module = plain_module(folder_of_kind(kind), kind)
    target = module.vision_model if kind == "clip" else module
    peft = get_peft_model(target, LoraConfig(r=2, lora_alpha=6, lora_dropout=0.0, target_modules=list(TARGETS[kind])))
    peft.eval()
    parameters = [p for n, p in peft.named_parameters() if "lora_" in n]
    pieces = model.theta0.split([p.numel() for p in parameters])
    with torch.no_grad():
        for p, piece in zip(parameters, pieces, strict=True):
            p.copy_(piece.view_as(p))
    start = [p.detach().clone() for p in parameters]
    sizes = [p.numel() for p in parameters]
    signs = torch.from_numpy(bits.sign_vector(5, model.layout.size)).split(sizes)
    optimizer = torch.optim.Adam(parameters, lr=spec.lr)
    losses = []
    for _ in range(spec.steps):
        optimizer.zero_grad()
        loss = plain_loss(folder_of_kind(kind), kind, module, model)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if tuned == "sign_fixed":
            with torch.no_grad():
                for p, p0, v in zip(parameters, start, signs, strict=True):
                    wrong = (p - p0) * v.view_as(p) <= 0
                    p[wrong] = p0[wrong]
    expected = torch.cat([(p - p0).detach().flatten() for p, p0 in zip(parameters, start, strict=True)]).numpy()
    moved = np.abs(expected) > 1e-3  # where a gradient is nothing but rounding Adam still takes whole steps
    assert moved.mean() > (0.4 if tuned == "plain" else 0.2)
    assert (np.abs(vector - expected) < 2e-4).mean() > 0.98
    model.assign(model.theta0.numpy() + vector)
    after = model.loss(model.encode(shard.train)).item()
    assert after == pytest.approx(plain_loss(folder_of_kind(kind), kind, module, model).item(), rel=2e-3)
    assert after < losses[0]
    if tuned == "sign_fixed":
        assert (vector * bits.sign_vector(5, model.layout.size) >= 0).all()


@pytest.mark.parametrize("kind", ["gpt2", "t5", "vit"])
def test_heads_get_no_adapter(folder_of_kind: Folder, kind: str) -> None:
    dataset = ONE_SET if kind == "vit" else LABELLED
    heads = ("own", "fresh") if kind == "vit" else ("own", "fresh", "labels")
    for head in heads:
        model = loaded(folder_of_kind(kind), dataset, head=head, lora={"rank": 2})
        rest = [name for name in model.layout.names if "lora_" not in name]
        fresh = ["classifier.classifier.weight", "classifier.classifier.bias"] if kind == "vit" else ["head.weight"]
        assert rest == (fresh if head == "fresh" else [])
        assert len(model.layout.names) - len(rest) == 2 * LINEAR[kind]


def test_rank_and_alpha_are_part_of_the_recipe(folder_of_kind: Folder) -> None:
    shard, spec = Shard("a", TEXTS), TuningSpec(steps=2, lr=0.01)
    models = [adapted(folder_of_kind, "gpt2", **more) for more in ({}, {"rank": 3}, {"alpha": 7}, {"seed": 2})]
    models += [adapted(folder_of_kind, "gpt2", ("c_attn",)), loaded(folder_of_kind("gpt2"), FREE)]
    assert len({tuning.recipe_digest(model, shard, "plain", spec, 1) for model in models}) == len(models)
    one, other = (tuning.tune(model, shard, "plain", spec, 1).vector for model in (models[0], models[2]))
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("kind", "targets", "called"),
    [
        ("gpt2", ("q_proj",), r"c_attn, c_fc, c_proj"),
        ("gpt2", ("c_attn", "attn_c"), r"c_attn, c_fc, c_proj"),
        ("gpt2", ("lm_head",), r"c_attn, c_fc, c_proj"),
        ("llama", ("c_attn",), r"down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"),
        ("t5", ("q_proj",), r"k, o, q, v, wi, wo"),
        ("clip", ("embeddings",), r"fc1, fc2, k_proj, out_proj, q_proj, v_proj"),
    ],
)
def test_targets_that_do_not_exist(folder_of_kind: Folder, kind: str, targets: tuple[str, ...], called: str) -> None:
    wrong = targets[-1]
    with pytest.raises(InputError, match=rf"targets: no linear layer is called {wrong}; the model's are called {called}$"):
        adapted(folder_of_kind, kind, targets)


def test_a_model_without_linear_layers(folder_of_kind: Folder) -> None:
    with pytest.raises(InputError, match=r"model\.lora: the model has no linear layer besides its head"):
        loaded(folder_of_kind("resnet"), ONE_SET, lora={})
