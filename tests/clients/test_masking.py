import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from clients.models.tiny_gpt2 import folder_of
from clients.work import masking
from clients.work.site import Site


def independent(site: Site, clients: list[str], direction: np.ndarray, scale: float, steps: int, lr: float) -> np.ndarray:
    """Scores that steps of Adam lead to, the straight-through gradient left to autograd.

    The mask enters as 1{s > 0} + (σ(s) − σ(s) held constant): its value is the mask, its derivative that of σ.
    """
    folder = folder_of(site.settings.model.tiny, site.manifest.public)
    module, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    named = {n: p.detach() for n, p in module.named_parameters()}
    tuned = [n for n in named if "wte" not in n and "wpe" not in n and "lm_head" not in n]
    sizes = [named[n].numel() for n in tuned]
    theta0 = torch.cat([named[n].flatten() for n in tuned])
    delta = torch.tensor(scale * direction.astype(np.float64), dtype=torch.float32)
    scores = torch.zeros_like(delta, requires_grad=True)
    optimizer = torch.optim.Adam([scores], lr=lr)
    for _ in range(steps):
        gate = torch.sigmoid(scores)
        theta = theta0 + ((scores > 0).float() + (gate - gate.detach())) * delta
        pieces = theta.split(sizes)
        live = named | {n: piece.view(named[n].shape) for n, piece in zip(tuned, pieces, strict=True)}
        client_losses = []
        for client in clients:
            surprise = []
            for example in site.shard(client).train:
                prompt = tokenizer.encode(example.prompt)
                ids = torch.tensor([[*prompt, *tokenizer.encode(example.answer), tokenizer.eos_token_id]])
                logs = torch.func.functional_call(module, live, (ids,)).logits[0].log_softmax(-1)
                surprise += [-logs[at - 1, ids[0, at]] for at in range(len(prompt), ids.shape[1])]
            client_losses.append(torch.stack(surprise).mean())
        optimizer.zero_grad()
        torch.stack(client_losses).mean().backward()
        optimizer.step()
    return scores.detach().numpy()


@pytest.mark.parametrize(("clients", "scale", "steps"), [(["u0"], 1.0, 1), (["u1"], 0.5, 4), (["u0", "u4", "u5"], 2.0, 4)])
def test_against_autograd_through_the_formula(site: Site, clients: list[str], scale: float, steps: int) -> None:
    direction = np.random.default_rng(steps).normal(0, 0.05, site.model.layout.size).astype(np.float32)
    shards = [site.shard(client) for client in clients]
    mask = masking.learn_mask(site.model, shards, direction, scale, steps, 0.3, None)
    scores = independent(site, clients, direction, scale, steps, 0.3)
    clear = np.abs(scores) > 1e-3  # elsewhere rounding decides: the order of sums differs between the two
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(mask[clear], scores[clear] > 0)
    assert 0.2 < mask.mean() < 0.8
    assert torch.equal(site.model.flat, site.model.theta0)


def test_the_first_step_is_taken_at_the_base_model(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores of zero are a mask of zeros; Adam's first step then moves each score against its gradient's sign."""
    model, shards = site.model, [site.shard("u6"), site.shard("u7")]
    seen, whole = [], model.loss
    monkeypatch.setattr(model, "loss", lambda batch: seen.append(model.flat.clone()) or whole(batch))
    direction = np.random.default_rng(1).normal(0, 0.05, model.layout.size).astype(np.float32)
    direction[:100] = 0  # no direction, no gradient: the score stays at the tie
    mask = masking.learn_mask(model, shards, direction, 1.0, 1, 0.1, None)
    assert len(seen) == 2
    assert all(torch.equal(flat, model.theta0) for flat in seen)
    model.grad.zero_()
    for shard in shards:
        (whole(model.encode(shard.train)) / 2).backward()  # type: ignore[no-untyped-call]
    np.testing.assert_array_equal(mask, model.grad.numpy() * direction < 0)
    assert not mask[:100].any()


def test_the_second_step_is_taken_at_the_masked_model(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    model, shards = site.model, [site.shard("u6")]
    direction = np.random.default_rng(2).normal(0, 0.05, model.layout.size).astype(np.float32)
    first = masking.learn_mask(model, shards, direction, 0.7, 1, 0.1, None)
    seen, whole = [], model.loss
    monkeypatch.setattr(model, "loss", lambda batch: seen.append(model.flat.numpy().copy()) or whole(batch))
    masking.learn_mask(model, shards, direction, 0.7, 2, 0.1, None)
    delta = direction * np.float32(0.7)
    assert seen[1].tobytes() == (model.theta0.numpy() + np.where(first, delta, np.float32(0))).tobytes()


def test_a_learned_mask_lowers_the_loss(site: Site) -> None:
    model, shard = site.model, site.shard("u0")
    direction = np.random.default_rng(3).normal(0, 0.05, model.layout.size).astype(np.float32)
    mask = masking.learn_mask(model, [shard], direction, 1.0, 15, 0.3, None)
    batch = model.encode(shard.train)
    losses = []
    with torch.no_grad():
        for theta in (0 * direction, direction, np.where(mask, direction, 0)):
            model.assign(model.theta0.numpy() + theta.astype(np.float32))
            losses.append(model.loss(batch).item())
    model.reset()
    assert losses[2] < min(losses[:2]) - 0.05
