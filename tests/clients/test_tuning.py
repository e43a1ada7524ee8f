from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from clients.data.dataset import Example, Shard
from clients.errors import InputError
from clients.exact import bits, digest
from clients.exact.determinism import deterministic
from clients.models import loaders as models
from clients.models.language import LanguageModel
from clients.models.tiny_gpt2 import folder_of
from clients.settings import LoraSpec, TuningSpec
from clients.work import tuning
from clients.work.rules import RULES
from clients.work.site import Site

KINDS = ("plain", "sign_fixed")


def plain_loss(module: Any, tokenizer: Any, examples: list[Example]) -> torch.Tensor:
    """Mean cross-entropy over answer and end tokens of examples padded on the right, straight from their texts."""
    rows = []
    for example in examples:
        prompt, answer = tokenizer.encode(example.prompt), [*tokenizer.encode(example.answer), tokenizer.eos_token_id]
        rows.append((prompt + answer, [-100] * len(prompt) + answer))
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in rows])
    targets = torch.tensor([targets + [-100] * (longest - len(targets)) for _, targets in rows])
    logits = module(ids).logits
    return torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), targets[:, 1:].reshape(-1))


def plain_tuning(site: Site, shard: Shard, rows: list[list[int]], spec: TuningSpec, signs: np.ndarray | None) -> np.ndarray:
    """Ordinary fine-tuning of the saved base model: no flat buffer, one tensor and one projection at a time."""
    folder = folder_of(site.settings.model.tiny, site.manifest.public)
    module, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    module.eval()
    tuned = [p for n, p in module.named_parameters() if "wte" not in n and "wpe" not in n and "lm_head" not in n]
    start = [p.detach().clone() for p in tuned]
    flat = signs if signs is not None else np.ones(sum(p.numel() for p in tuned), dtype=np.float32)
    pieces = torch.from_numpy(flat).split([p.numel() for p in tuned])
    optimizer = torch.optim.Adam(tuned, lr=spec.lr, betas=spec.betas, eps=spec.eps)
    for step in rows:
        optimizer.zero_grad()
        plain_loss(module, tokenizer, [shard.train[row] for row in step]).backward()
        optimizer.step()
        if signs is not None:
            with torch.no_grad():
                for p, p0, v in zip(tuned, start, pieces, strict=True):
                    wrong = torch.sign(p - p0) != v.view_as(p)
                    p[wrong] = p0[wrong]
    return torch.cat([(p - p0).detach().flatten() for p, p0 in zip(tuned, start, strict=True)]).numpy()


def rows_seen(model: LanguageModel, shard: Shard, spec: TuningSpec, seed: int) -> list[list[int]]:
    """Which examples each step was given."""
    index = {encoded.ids: row for row, encoded in enumerate(model.encode(shard.train))}
    assert len(index) == len(shard.train)
    seen, whole = [], model.loss
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "loss", lambda batch: seen.append([index[e.ids] for e in batch]) or whole(batch))
        tuning.tune(model, shard, "plain", spec, seed)
    return seen


def tuned_by(kind: str, site: Site, shard: Shard, spec: TuningSpec, seed: int) -> tuning.Tuned:
    """What the rule of that name makes of a shard."""
    return tuning.tune(site.model, shard, kind, spec, seed, RULES[kind].signs(seed, site.model.layout.size))


def numbered(client: str, examples: int, word: str = "item") -> Shard:
    return Shard(client, tuple(Example(f"{word} {i}:", f"value {i}") for i in range(examples)))


@pytest.mark.parametrize("batch", ["full", 2])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_plain_fine_tuning_bit_for_bit(site: Site, kind: Any, batch: Any) -> None:
    spec, shard = TuningSpec(steps=6, batch=batch, lr=0.01, betas=(0.8, 0.95), eps=1e-6), site.shard("u2")
    tuned = tuned_by(kind, site, shard, spec, 5)
    rows = rows_seen(site.model, shard, spec, 5) if batch == 2 else [[0, 1, 2]] * 6
    signs = bits.sign_vector(5, site.model.layout.size) if kind == "sign_fixed" else None
    expected = plain_tuning(site, shard, rows, spec, signs)
    assert tuned.vector.tobytes() == expected.tobytes()
    assert np.abs(expected).max() > 0.03  # six steps of 0.01 went somewhere
    lengths = [len(encoded.ids) for encoded in site.model.encode(shard.train)]
    assert (tuned.steps, tuned.tokens) == (6, sum(lengths[row] for step in rows for row in step))


@pytest.mark.parametrize("seed", [0, 1])
def test_sign_fixed_vectors_obey_the_signs(site: Site, seed: int) -> None:
    signs = bits.sign_vector(seed, site.model.layout.size)
    moved = np.zeros(site.model.layout.size, dtype=bool)
    for client in site.manifest.clients:
        spec = TuningSpec(steps=5, batch=2)
        vector = tuned_by("sign_fixed", site, site.shard(client), spec, seed).vector
        assert (vector * signs >= 0).all()
        assert 0.3 < (vector != 0).mean() < 0.9
        moved |= vector != 0
    plain = tuning.tune(site.model, site.shard("u0"), "plain", TuningSpec(steps=5, batch=2), seed).vector
    assert (plain * signs < 0).mean() > 0.3  # which plain tuning does not


def test_other_processes_give_the_same_bits(site: Site, elsewhere: dict[str, Any]) -> None:
    for kind in KINDS:
        for batch in ("full", 2):
            tuned = tuned_by(kind, site, site.shard("u3"), TuningSpec(steps=4, batch=batch), 11)
            here = [digest.of_array(tuned.vector), tuned.recipe]
            assert elsewhere[f"{kind}/{batch}"] == here


def test_memory_that_is_not_filled_beforehand_gives_the_same_bits(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Filling takes a twelfth of tuning; no kernel reads what it has not written."""

    @contextmanager
    def filling() -> Iterator[None]:
        with deterministic():
            assert not torch.utils.deterministic.fill_uninitialized_memory
            torch.utils.deterministic.fill_uninitialized_memory = True
            yield

    for kind in KINDS:
        unfilled = tuned_by(kind, site, site.shard("u2"), TuningSpec(steps=3), 5)
        with monkeypatch.context() as patch:
            patch.setattr(tuning, "deterministic", filling)
            filled = tuned_by(kind, site, site.shard("u2"), TuningSpec(steps=3), 5)
        assert digest.of_array(filled.vector) == digest.of_array(unfilled.vector)


def test_the_callers_settings_neither_matter_nor_change(site: Site) -> None:
    shard, spec, before = site.shard("u1"), TuningSpec(steps=3, batch=2), torch.get_num_threads()
    first = tuning.tune(site.model, shard, "plain", spec, 3).vector
    try:
        torch.set_num_threads(2)
        torch.manual_seed(99)
        state = torch.get_rng_state()
        second = tuning.tune(site.model, shard, "plain", spec, 3).vector
        assert torch.get_num_threads() == 2
        assert torch.equal(torch.get_rng_state(), state)
        assert not torch.are_deterministic_algorithms_enabled()
    finally:
        torch.set_num_threads(before)
    assert first.tobytes() == second.tobytes()


def test_recipe_digest_changes_with_everything_that_decides_the_vector(site: Site) -> None:
    shard, spec = site.shard("u0"), TuningSpec(steps=2)
    base = (shard, "plain", spec, 7)
    other = Shard(shard.client, (*shard.train[:-1], Example(shard.train[-1].prompt, "something else")))
    recipes = [tuning.recipe_digest(site.model, *base)]
    for changed in (
        (other, "plain", spec, 7),
        (Shard("u00", shard.train), "plain", spec, 7),
        (Shard(shard.client, shard.train[::-1]), "plain", spec, 7),
        (shard, "sign_fixed", spec, 7),
        (shard, "plain", spec, 8),
        *(
            (shard, "plain", TuningSpec.model_validate({"steps": 2} | change), 7)
            for change in (
                {"lr": 0.002},
                {"steps": 3},
                {"batch": 2},
                {"betas": (0.9, 0.99)},
                {"eps": 1e-7},
                {"micro_batch": 1},
            )
        ),
    ):
        recipes.append(tuning.recipe_digest(site.model, *changed))  # type: ignore[arg-type]
    for change in (
        {"tune": ["*.mlp.*"]},
        {"max_length": 64},
        {"dtype": "bfloat16"},
        {"gradient_checkpointing": True},
        {"lora": LoraSpec()},
        {"lora": LoraSpec(alpha=8)},
        {"tiny": site.settings.model.tiny.model_copy(update={"seed": 1})},
    ):
        model = models.load(site.settings.model.model_copy(update=change), site.manifest, "cpu")
        recipes.append(tuning.recipe_digest(model, *base))  # type: ignore[arg-type]
    assert len(set(recipes)) == len(recipes)
    assert tuning.recipe_digest(site.model, Shard("u0", tuple(shard.train)), "plain", TuningSpec(steps=2), 7) == recipes[0]


def test_order_of_minibatches_depends_on_seed_and_client_only(site: Site) -> None:
    spec = TuningSpec(steps=8, batch=3)
    order = rows_seen(site.model, numbered("a", 12), spec, 1)
    assert rows_seen(site.model, numbered("a", 12, "other words"), spec, 1) == order
    assert rows_seen(site.model, numbered("a", 12), TuningSpec(steps=8, batch=3, lr=0.1), 1) == order
    assert rows_seen(site.model, numbered("a", 12), TuningSpec(steps=4, batch=3), 1) == order[:4]
    assert rows_seen(site.model, numbered("b", 12), spec, 1) != order
    assert rows_seen(site.model, numbered("a", 12), spec, 2) != order


@pytest.mark.parametrize(("examples", "batch"), [(5, 2), (6, 3), (7, 6), (4, 1)])
def test_each_epoch_covers_every_row(site: Site, examples: int, batch: int) -> None:
    steps = -(-4 * examples // batch)
    seen = rows_seen(site.model, numbered("a", examples), TuningSpec(steps=steps, batch=batch), 3)
    assert [len(step) for step in seen] == [batch] * steps
    rows = [row for step in seen for row in step]
    epochs = [rows[start : start + examples] for start in range(0, 4 * examples, examples)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(examples))] * 4
    assert len({tuple(epoch) for epoch in epochs}) > 1  # shuffled anew


@pytest.mark.parametrize("batch", [5, 6, "full"])
def test_a_batch_as_large_as_the_shard_is_the_shard_in_order(site: Site, batch: Any) -> None:
    assert rows_seen(site.model, numbered("a", 5), TuningSpec(steps=2, batch=batch), 3) == [[0, 1, 2, 3, 4]] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_is_left_at_its_pretrained_values(site: Site, kind: Any) -> None:
    tuned = tuned_by(kind, site, site.shard("u0"), TuningSpec(steps=2), 1)
    assert torch.equal(site.model.flat, site.model.theta0)
    site.model.assign(site.model.theta0.numpy() + 1)  # what an earlier client may leave behind has no part in it
    site.model.grad.fill_(float("nan"))
    again = tuned_by(kind, site, site.shard("u0"), TuningSpec(steps=2), 1)
    assert again.vector.tobytes() == tuned.vector.tobytes()


def test_a_loss_that_is_not_finite_names_the_client(site: Site) -> None:
    with pytest.raises(InputError, match=r"client odd: .*lower tuning\.lr = 1e\+30"):
        tuning.tune(site.model, numbered("odd", 3), "plain", TuningSpec(steps=3, lr=1e30), 1)
    assert torch.equal(site.model.flat, site.model.theta0)
    fine = tuning.tune(site.model, site.shard("u0"), "plain", TuningSpec(steps=2), 1)
    assert 0 < np.abs(fine.vector).max() < 0.1


@pytest.mark.parametrize("block", [1, 7, 100, 1000])
def test_projection_in_blocks_is_the_projection(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(tuning, "PROJECTED_AT_ONCE", block)
    drawn = torch.Generator().manual_seed(3)
    theta0 = torch.randn(100, generator=drawn)
    flat = theta0 + torch.randn(100, generator=drawn) * (torch.rand(100, generator=drawn) > 0.2)
    signs = torch.where(torch.rand(100, generator=drawn) > 0.5, 1, -1).to(torch.int8)
    expected = [a if (a - b) * s > 0 else b for a, b, s in zip(flat.tolist(), theta0.tolist(), signs.tolist(), strict=True)]
    tuning._project(flat, theta0, signs)
    assert flat.tolist() == expected


def test_the_recipe_says_where_columns_stand_once_a_text_is_shortened(site: Site) -> None:
    """Texts that are the same are shortened in another way if other parts of them are columns."""
    for words, matters in (("who is it?", False), ("who is it? " * 20, True)):
        prompt = f"Question:{words}\nAnswer:"
        one, other = (Shard("a", (Example(prompt, "nobody", columns=at),)) for at in ((), ((9, 9 + len(words)),)))
        recipes = [tuning.recipe_digest(site.model, shard, "plain", TuningSpec(), 7) for shard in (one, other)]
        assert (recipes[0] != recipes[1]) == matters
        vectors = [tuning.tune(site.model, shard, "plain", TuningSpec(steps=1), 7).vector for shard in (one, other)]
        assert np.array_equal(*vectors) != matters
