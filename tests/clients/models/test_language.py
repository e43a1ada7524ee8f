"""Losses, rankings and features of language models against plain passes of the plain module."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import FREE, LABELLED, LABELS, SENTIMENT, TEXTS, loaded
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from clients.data import loaders as data
from clients.data.dataset import Dataset, Example, LabelSet, Shard
from clients.errors import InputError
from clients.jobs import perform, score_job, tune_job
from clients.models import loaders as models
from clients.models import text
from clients.settings import Settings, TuningSpec
from clients.work import tuning
from clients.work.contributions import SUM, VECTOR, Wanted
from clients.work.served import Masked
from clients.work.site import Site

Folder = Callable[[str], Path]
KINDS = ("gpt2", "llama", "t5")
TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}{% endfor %}"
GENERATING = "{% if add_generation_prompt %}<|assistant|>{% endif %}"


def plain(folder: Path, kind: str) -> Any:
    return (AutoModelForSeq2SeqLM if kind == "t5" else AutoModelForCausalLM).from_pretrained(folder).eval()


@torch.no_grad()
def answer_loss(module: Any, prompt: list[int], answer: list[int]) -> float:
    """Summed −log p of an answer's tokens, one sequence at a time, without padding, mask or cache; float64."""
    if module.config.is_encoder_decoder:
        decoder = torch.tensor([[module.config.decoder_start_token_id, *answer[:-1]]])
        logits = module(input_ids=torch.tensor([prompt]), decoder_input_ids=decoder).logits[0]
    else:
        logits = module(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
    logs = logits.double().log_softmax(-1)
    return -sum(float(logs[at, token]) for at, token in enumerate(answer))


def tokens_of(folder: Path, kind: str) -> tuple[Callable[[str], list[int]], Callable[[str], list[int]]]:
    """How prompts and answers become ids."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    end = [tokenizer.eos_token_id]
    return (
        lambda prompt: tokenizer.encode(prompt, add_special_tokens=False) + (end if kind == "t5" else []),
        lambda answer: tokenizer.encode(answer, add_special_tokens=False) + end,
    )


def expected_losses(folder: Path, kind: str, examples: Sequence[Example], labels: Sequence[str], room: int) -> np.ndarray:
    module, (prompt, answer) = plain(folder, kind), tokens_of(folder, kind)
    return np.array([[answer_loss(module, prompt(e.prompt)[-room:], answer(label)) for label in labels] for e in examples])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dataset", [LABELLED, FREE])
def test_every_label_is_scored_as_on_its_own(folder_of_kind: Folder, kind: str, dataset: Dataset) -> None:
    folder = folder_of_kind(kind)
    found = loaded(folder, dataset).label_losses(TEXTS, LABELS)
    expected = expected_losses(folder, kind, TEXTS, LABELS, 99)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.ptp(expected, axis=0).min() > 0.1  # prompts matter, which they would not in a model that knows nothing
    assert len({len(text.encode_answer(loaded(folder, dataset).tokenizer, label)) for label in LABELS}) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_more_prompts_and_labels_than_are_scored_at_once(folder_of_kind: Folder, kind: str) -> None:
    folder = folder_of_kind(kind)
    few, many = [f"no {n}" for n in range(9)], [f"label {n * n}" for n in range(66)]
    for examples, labels in ((TEXTS[:8], few), (TEXTS[:1], many)):  # 72 pairs, and 66 for one prompt
        found = loaded(folder, FREE).label_losses(examples, labels)
        np.testing.assert_allclose(found, expected_losses(folder, kind, examples, labels, 99), rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_one_token(folder_of_kind: Folder, kind: str) -> None:
    model = loaded(folder_of_kind(kind), FREE)
    model.tokenizer.eos_token_id, end = 9, model.tokenizer.eos_token_id
    try:
        assert len(text.encode_answer(model.tokenizer, "")) == 1
        found = model.label_losses(TEXTS[:3], ("",))
    finally:
        model.tokenizer.eos_token_id = end
    module, (prompt, _) = plain(folder_of_kind(kind), kind), tokens_of(folder_of_kind(kind), kind)
    np.testing.assert_allclose(found[:, 0], [answer_loss(module, prompt(e.prompt), [9]) for e in TEXTS[:3]], rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_lose_their_beginnings_in_training_as_in_scoring(folder_of_kind: Folder, kind: str) -> None:
    """All labels are read after the same prompt, the one that leaves room for the longest."""
    folder = folder_of_kind(kind)
    model = loaded(folder, LABELLED, max_length=24)
    longest = max(len(text.encode_answer(model.tokenizer, label)) for label in LABELS)
    expected = expected_losses(folder, kind, TEXTS, LABELS, 24 - longest)
    np.testing.assert_allclose(model.label_losses(TEXTS, LABELS), expected, rtol=1e-5)
    assert np.abs(expected - expected_losses(folder, kind, TEXTS, LABELS, 99)).max() > 0.1
    module, (prompt, answer) = plain(folder, kind), tokens_of(folder, kind)
    sums, counts = model.answer_losses(model.encode(TEXTS))
    for example, total, count in zip(TEXTS, sums, counts, strict=True):
        ids = answer(example.answer)
        assert count == len(ids)
        assert total == pytest.approx(answer_loss(module, prompt(example.prompt)[-(24 - longest) :], ids), rel=1e-5)
    assert model.shortened(TEXTS) == sum(len(prompt(e.prompt)) > 24 - longest for e in TEXTS) == len(TEXTS)
    assert loaded(folder, LABELLED).shortened(TEXTS) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_accuracy_and_answer_probability(folder_of_kind: Folder, kind: str) -> None:
    folder = folder_of_kind(kind)
    losses = expected_losses(folder, kind, TEXTS, LABELS, 99)
    best = losses.argmin(1)
    examples = [Example(e.prompt, LABELS[best[row] if row % 2 else losses[row].argmax()]) for row, e in enumerate(TEXTS)]
    assert loaded(folder, LABELLED).values(examples) == [float(row % 2) for row in range(len(TEXTS))]
    module, (prompt, answer) = plain(folder, kind), tokens_of(folder, kind)
    means = [answer_loss(module, prompt(e.prompt), answer(e.answer)) / len(answer(e.answer)) for e in TEXTS]
    np.testing.assert_allclose(loaded(folder, FREE).values(TEXTS), np.exp(-np.array(means)), rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_loss_is_the_mean_over_answer_tokens(folder_of_kind: Folder, kind: str) -> None:
    folder = folder_of_kind(kind)
    model, module, (prompt, answer) = loaded(folder, FREE), plain(folder, kind), tokens_of(folder, kind)
    answers = [answer(e.answer) for e in TEXTS]
    total = sum(answer_loss(module, prompt(e.prompt), ids) for e, ids in zip(TEXTS, answers, strict=True))
    batch = model.encode(TEXTS)
    assert model.loss(batch).item() == pytest.approx(total / sum(map(len, answers)), rel=1e-5)
    assert model.weight(batch) == sum(map(len, answers))
    assert [e.tokens for e in batch] == [len(prompt(e.prompt)) + len(ids) for e, ids in zip(TEXTS, answers, strict=True)]


def test_t5_loss_is_its_own(folder_of_kind: Folder) -> None:
    module, (prompt, answer) = plain(folder_of_kind("t5"), "t5"), tokens_of(folder_of_kind("t5"), "t5")
    prompts, answers = [prompt(e.prompt) for e in TEXTS], [answer(e.answer) for e in TEXTS]
    wide, long = max(map(len, prompts)), max(map(len, answers))
    ids = torch.tensor([p + [5] * (wide - len(p)) for p in prompts])
    mask = torch.tensor([[1] * len(p) + [0] * (wide - len(p)) for p in prompts])
    targets = torch.tensor([a + [-100] * (long - len(a)) for a in answers])
    own = module(input_ids=ids, attention_mask=mask, labels=targets).loss.item()
    model = loaded(folder_of_kind("t5"), FREE)
    assert model.loss(model.encode(TEXTS)).item() == pytest.approx(own, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_what_the_head_sees_at_the_last_answer_token(folder_of_kind: Folder, kind: str) -> None:
    module, (prompt, answer) = plain(folder_of_kind(kind), kind), tokens_of(folder_of_kind(kind), kind)
    seen: list[torch.Tensor] = []
    module.lm_head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0, -1]))
    for example in TEXTS:
        with torch.no_grad():
            if kind == "t5":
                decoder = [module.config.decoder_start_token_id, *answer(example.answer)[:-1]]
                module(input_ids=torch.tensor([prompt(example.prompt)]), decoder_input_ids=torch.tensor([decoder]))
            else:
                module(torch.tensor([prompt(example.prompt) + answer(example.answer)[:-1]]))
    expected = torch.stack(seen).mean(0)
    if kind == "t5":
        expected = expected / module.config.d_model**-0.5  # the head is given them scaled
    np.testing.assert_allclose(loaded(folder_of_kind(kind), FREE).features(TEXTS), expected, rtol=1e-4, atol=1e-5)


def test_t5_tunes_neither_embeddings_nor_head(folder_of_kind: Folder) -> None:
    model = loaded(folder_of_kind("t5"), FREE)
    named = dict(model.module.named_parameters())
    assert set(named) - set(model.layout.names) == {
        "shared.weight",
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
    }
    before = {name: p.detach().clone() for name, p in named.items()}
    vector = tuning.tune(model, Shard("a", TEXTS), "plain", TuningSpec(steps=3), 1).vector
    model.assign(model.theta0.numpy() + vector)
    for name, p in named.items():
        assert torch.equal(p, before[name]) == (name not in model.layout.names)
    assert model.loss(model.encode(TEXTS)) < loaded(folder_of_kind("t5"), FREE).loss(model.encode(TEXTS))


@pytest.mark.parametrize("kind", ["plain", "sign_fixed"])
def test_t5_through_jobs(folder_of_kind: Folder, tmp_path: Path, kind: Any) -> None:
    """Tuned and averaged as strategies do it, on a table."""
    rows = [{"who": f"c{n % 3}", "text": e.prompt, "label": LABELS[n % 2]} for n, e in enumerate(TEXTS * 4)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = {"family": "table", "source": str(tmp_path / "rows.jsonl"), "prompt": "{text}{label}", "client_column": "who"}
    settings = Settings.model_validate(
        {
            "data": table | {"clients": 3, "minimum": 4, "validation": 0, "test": 4},
            "model": {"base": str(folder_of_kind("t5")), "max_length": 96},
            "tuning": {"steps": 4, "lr": 0.01},
        }
    )
    dataset = data.load(settings.data, settings.seed)
    site = Site(settings, dataset, models.load(settings.model, dataset.manifest, "cpu"))
    wants = [SUM, VECTOR, Wanted(what="features")]
    reply = perform(site, tune_job(site.manifest.clients, kind, wants), {})
    assert reply.error is None
    vectors = [reply.arrays[f"vector/{client}"] for client in site.manifest.clients]
    merged = np.mean(vectors, axis=0, dtype=np.float64).astype(np.float32)
    scores = perform(site, score_job([(c, Masked("m")) for c in site.manifest.clients]), {"m": merged}).facts["scores"]
    for client, (score,) in zip(site.manifest.clients, scores, strict=True):
        site.model.assign(site.model.theta0.numpy() + merged)
        held = site.shard(client).test
        best = site.model.label_losses(held, site.manifest.label_sets[""].labels).argmin(1)
        named = [site.manifest.label_sets[""].labels[number] for number in best]
        assert score == sum(n == e.answer for n, e in zip(named, held, strict=True)) / len(held)
    assert np.abs(merged).max() > 0.005


def with_template(folder: Path, copy: Path, template: str) -> Path:
    shutil.copytree(folder, copy)
    tokenizer = AutoTokenizer.from_pretrained(copy)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|user|>", "<|assistant|>"]})
    tokenizer.chat_template = template
    tokenizer.save_pretrained(copy)
    model = AutoModelForCausalLM.from_pretrained(copy)
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(copy)
    return copy


def test_chat_templates(folder_of_kind: Folder, tmp_path: Path) -> None:
    folder = with_template(folder_of_kind("gpt2"), tmp_path / "chat", TEMPLATE + GENERATING)
    model, tokenizer = loaded(folder, LABELLED, chat=True), AutoTokenizer.from_pretrained(folder)
    module = plain(folder, "gpt2")
    rows = []
    for example, encoded in zip(TEXTS, model.encode(TEXTS), strict=True):
        said = [{"role": "user", "content": example.prompt}]
        answered = [*said, {"role": "assistant", "content": example.answer}]
        whole = tokenizer.apply_chat_template(answered, tokenize=True, return_dict=False)
        prompt = tokenizer.apply_chat_template(said, tokenize=True, add_generation_prompt=True, return_dict=False)
        assert list(encoded.ids) == whole
        assert whole[: -encoded.answer] == prompt
        rows.append([answer_loss(module, prompt, text.encode_answer(tokenizer, label)) for label in LABELS])
    np.testing.assert_allclose(model.label_losses(TEXTS, LABELS), rows, rtol=1e-5)
    plainly = loaded(folder, LABELLED)
    assert plainly.encode(TEXTS)[0].ids != model.encode(TEXTS)[0].ids
    spec, shard = TuningSpec(), Shard("a", TEXTS)
    assert tuning.recipe_digest(plainly, shard, "plain", spec, 1) != tuning.recipe_digest(model, shard, "plain", spec, 1)


def test_a_tokenizer_without_a_chat_template(folder_of_kind: Folder) -> None:
    with pytest.raises(InputError, match=r"model\.chat: the tokenizer of .* has no chat template; set model\.chat: false"):
        loaded(folder_of_kind("gpt2"), LABELLED, chat=True)


def test_a_tokenizer_without_a_pad_token(folder_of_kind: Folder, tmp_path: Path) -> None:
    shutil.copytree(folder_of_kind("llama"), tmp_path / "bare")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "bare")
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path / "bare")
    bare, padded = loaded(tmp_path / "bare", LABELLED), loaded(folder_of_kind("llama"), LABELLED)
    assert (bare.tokenizer.pad_token_id, padded.tokenizer.pad_token_id) == (None, 0)
    assert bare.label_losses(TEXTS, LABELS).tobytes() == padded.label_losses(TEXTS, LABELS).tobytes()
    vectors = [tuning.tune(m, Shard("a", TEXTS), "plain", TuningSpec(steps=2), 1).vector for m in (bare, padded)]
    assert vectors[0].tobytes() == vectors[1].tobytes()


def test_labels_longer_than_the_model_reads(folder_of_kind: Folder) -> None:
    with pytest.raises(
        InputError, match=r"model\.max_length: 8 tokens leave no room .* 'rather bad, all in all', which takes"
    ):
        loaded(folder_of_kind("gpt2"), Dataset(LABELLED.shards, (), SENTIMENT), max_length=8)
    longest = LabelSet(("x" * 200,), ("x" * 200,))
    with pytest.raises(InputError, match="leave no room"):
        loaded(folder_of_kind("t5"), Dataset(LABELLED.shards, (), {"": longest}))
