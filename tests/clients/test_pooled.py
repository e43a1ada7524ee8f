"""Pooled training against plain fine-tuning of the saved module, on exactly the examples that each step was given."""

from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from test_tuning import plain_loss
from transformers import AutoModelForCausalLM, AutoTokenizer

from clients.data.dataset import Dataset, Example, LabelSet, Shard
from clients.data.source import Referred, ShardRef
from clients.errors import InputError
from clients.models.tiny_gpt2 import folder_of
from clients.settings import TuningSpec
from clients.work import tuning
from clients.work.pooled import Term, Trained, Training, _pool, train
from clients.work.site import Site

SPEC = TuningSpec(lr=0.01, betas=(0.8, 0.95), eps=1e-6)
LEFT, STAY = ("u2", "u5"), ("u0", "u1", "u7")


def pool(site: Site, clients: Sequence[str]) -> list[Example]:
    return [example for client in clients for example in site.shard(client).train]


def recorded(site: Site, training: Training, start: np.ndarray | None = None) -> tuple[Trained, list[list[Example]]]:
    """The result, and the examples of each batch in turn."""
    seen: list[list[Example]] = []
    whole = site.model.encode
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site.model, "encode", lambda examples: seen.append(list(examples)) or whole(examples))
        trained = train(site.model, site.source, training, SPEC, 5, start)
    assert torch.equal(site.model.flat, site.model.theta0)
    return trained, seen


def plain_training(
    site: Site,
    steps: list[list[tuple[float, list[Example]]]],
    rate: float = 1.0,
    l1: float = 0.0,
    mask: np.ndarray | None = None,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """Adam on Σ weight · loss + l1 · ‖θ − θ0‖₁ by autograd, tensor by tensor, gradients times the mask."""
    folder = folder_of(site.settings.model.tiny, site.manifest.public)
    module, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    tuned = [p for n, p in module.named_parameters() if "wte" not in n and "wpe" not in n and "lm_head" not in n]
    sizes = [p.numel() for p in tuned]
    base = [p.detach().clone() for p in tuned]
    if start is not None:
        for p, piece in zip(tuned, torch.from_numpy(start).split(sizes), strict=True):
            p.data += piece.view_as(p)
    before = [p.detach().clone() for p in tuned]
    moves = torch.ones(sum(sizes)) if mask is None else torch.from_numpy(mask.astype(np.float32))
    optimizer = torch.optim.Adam(tuned, lr=SPEC.lr * rate, betas=SPEC.betas, eps=SPEC.eps)
    for terms in steps:
        optimizer.zero_grad()
        for weight, batch in terms:
            (weight * plain_loss(module, tokenizer, batch)).backward()
        if l1:  # autograd's |x| has slope 0 at 0
            (l1 * torch.stack([(p - p0).abs().sum() for p, p0 in zip(tuned, base, strict=True)]).sum()).backward()
        for p, piece in zip(tuned, moves.split(sizes), strict=True):
            assert p.grad is not None
            p.grad *= piece.view_as(p)
        optimizer.step()
    return torch.cat([(p - p0).detach().flatten() for p, p0 in zip(tuned, before, strict=True)]).numpy()


def same(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal but for the order of floating sums, which Adam does not enlarge beyond a small part of a step."""
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-5)
    assert np.abs(expected).max() > 0.01


def test_a_pool_in_whole_batches_is_one_large_client(site: Site) -> None:
    """Bit for bit what ``tune`` makes of a shard with all their examples."""
    training = Training(terms=(Term(clients=STAY),), steps=3, batch=100)
    trained = train(site.model, site.source, training, SPEC, 5)
    spec = SPEC.model_copy(update={"steps": 3, "batch": "full"})
    one = tuning.tune(site.model, Shard("all", tuple(pool(site, STAY))), "plain", spec, 5)
    assert trained.vector.tobytes() == one.vector.tobytes()
    assert (trained.tokens, trained.loss) == (one.tokens, one.loss)
    assert training.gradients == 3


def test_batches_go_through_the_pool_and_follow_from_its_members(site: Site) -> None:
    training = Training(terms=(Term(clients=STAY),), steps=6, batch=3, rate=0.5)
    trained, seen = recorded(site, training)
    assert [len(batch) for batch in seen] == [3] * 6
    assert Counter(e for batch in seen for e in batch) == Counter(2 * pool(site, STAY))  # nine examples, two epochs
    same(trained.vector, plain_training(site, [[(1.0, batch)] for batch in seen], rate=0.5))
    turned = train(site.model, site.source, training.model_copy(update={"terms": (Term(clients=STAY[::-1]),)}), SPEC, 5)
    assert turned.vector.tobytes() == trained.vector.tobytes()
    for other in ({"order": 1}, {"terms": (Term(clients=(*STAY, "u3")),)}):
        _, differently = recorded(site, training.model_copy(update=other))
        assert differently[:3] != seen[:3]


@pytest.mark.parametrize("tensors", [(0, 2), (3, 7), (11, 12)])
def test_some_tensors_move_and_the_others_stay(site: Site, tensors: tuple[int, int]) -> None:
    """From a start, with weight decay, which would move all; against Adam on these tensors alone."""
    start = train(site.model, site.source, Training(terms=(Term(clients=LEFT),), steps=4, batch=4), SPEC, 5).vector
    training = Training(terms=(Term(clients=STAY),), steps=3, batch=4, tensors=tensors)
    trained, seen = recorded(site, training, start)
    bounds = site.model.layout.bounds
    mask = np.zeros(bounds[-1], dtype=bool)
    mask[bounds[tensors[0]] : bounds[tensors[1]]] = True
    same(trained.vector, plain_training(site, [[(1.0, batch)] for batch in seen], mask=mask, start=start))
    shrunk = train(site.model, site.source, training.model_copy(update={"decay": 0.5}), SPEC, 5, start).vector
    for vector in (trained.vector, shrunk):
        assert np.count_nonzero(vector[mask]) > 0.5 * mask.sum()
        assert not vector[~mask].any()
    assert not np.array_equal(shrunk, trained.vector)


def test_all_tensors_by_number_are_all_tensors(site: Site) -> None:
    count = len(site.model.layout.names)
    training = Training(terms=(Term(clients=STAY),), steps=2, batch=4)
    every = training.model_copy(update={"tensors": (0, count)})
    found = [train(site.model, site.source, each, SPEC, 5).vector.tobytes() for each in (training, every)]
    assert found[0] == found[1]
    for tensors in ((0, count + 1), (2, 2), (3, 1)):
        wrong = training.model_copy(update={"tensors": tensors})
        with pytest.raises(InputError, match=f"tensors {tensors[0]} to {tensors[1]} .* the model tunes {count}$"):
            train(site.model, site.source, wrong, SPEC, 5)


def test_ascent_from_a_start_climbs(site: Site) -> None:
    start = train(site.model, site.source, Training(terms=(Term(clients=LEFT),), steps=4, batch=4), SPEC, 5).vector
    training = Training(terms=(Term(clients=LEFT, weight=-1.0),), steps=5, batch=2)
    trained, seen = recorded(site, training, start)
    same(trained.vector, plain_training(site, [[(-1.0, batch)] for batch in seen], start=start))

    def loss(added: np.ndarray) -> float:
        site.model.assign(site.model.theta0.numpy() + added)
        with torch.no_grad():
            found = float(site.model.loss(site.model.encode(pool(site, LEFT))))
        site.model.reset()
        return found

    assert loss(start + trained.vector) > loss(start) + 0.1
    assert trained.loss < 0  # of what is minimised


def test_l1_pulls_towards_the_base_model(site: Site) -> None:
    start = train(site.model, site.source, Training(terms=(Term(clients=LEFT),), steps=4, batch=4), SPEC, 5).vector
    training = Training(terms=(Term(clients=STAY),), steps=4, batch=3, l1=0.05)
    trained, seen = recorded(site, training, start)
    expected = plain_training(site, [[(1.0, batch)] for batch in seen], l1=0.05, start=start)
    off = np.abs(trained.vector - expected) > 2e-5  # at θ0 itself rounding decides the sign of the subgradient
    assert off.mean() < 0.01
    assert np.abs(start + trained.vector).sum() < 0.5 * np.abs(start).sum()


def test_random_answers_by_salient_entries_alone(site: Site) -> None:
    start = train(site.model, site.source, Training(terms=(Term(clients=LEFT),), steps=4, batch=4), SPEC, 5).vector
    terms = (Term(clients=LEFT, relabelled=True), Term(clients=STAY, weight=0.5))
    training = Training(terms=terms, steps=4, batch=4, salient=0.3)
    trained, seen = recorded(site, training, start)
    assert training.gradients == 4 * 2 + 1
    first, rest = seen[:2], seen[2:]  # six examples of the leavers, four at a time, to find the salient entries
    assert [e for batch in first for e in batch] == pool(site, LEFT)
    forget, retain = rest[::2], rest[1::2]
    truth = {e.prompt: e.answer for e in pool(site, LEFT)}
    answers = {e.answer for e in pool(site, (*LEFT, *STAY))}
    for example in (e for batch in forget for e in batch):
        assert example.answer != truth[example.prompt]
        assert example.answer in answers
    assert all(e in pool(site, STAY) for batch in retain for e in batch)

    folder = folder_of(site.settings.model.tiny, site.manifest.public)
    module, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    tuned = [p for n, p in module.named_parameters() if "wte" not in n and "wpe" not in n and "lm_head" not in n]
    for p, piece in zip(tuned, torch.from_numpy(start).split([p.numel() for p in tuned]), strict=True):
        p.data += piece.view_as(p)
    sum(plain_loss(module, tokenizer, batch) * len(batch) / 6 for batch in first).backward()  # type: ignore[union-attr]
    gradient = torch.cat([p.grad.flatten() for p in tuned if p.grad is not None]).abs().numpy()
    mask = gradient >= np.sort(gradient[gradient > 0])[::-1][round(0.3 * np.count_nonzero(gradient)) - 1]
    moved = trained.vector != 0
    assert (moved & ~mask).sum() <= 2  # entries at the edge, where rounding decides
    assert moved.sum() > 0.95 * mask.sum()
    expected = plain_training(site, [[(1.0, f), (0.5, r)] for f, r in zip(forget, retain, strict=True)], 1, 0, moved, start)
    same(trained.vector, expected)


def test_random_labels_are_other_labels_of_the_same_set(site: Site) -> None:
    sets = {"a": LabelSet(("x", "y", "z"), ()), "b": LabelSet(("0", "1"), ()), "c": LabelSet(("only",), ())}
    examples = tuple(Example("?", label, label_set=name) for name, s in sets.items() for label in s.labels * 20)
    dataset = Dataset((Shard("u", examples), Shard("v", examples[:1])), (), sets)
    training = Training(terms=(Term(clients=("u",), relabelled=True), Term(clients=("v",))), steps=1, batch=1)
    found = _pool(dataset, training.terms[0], training, 3)
    assert found == _pool(dataset, training.terms[0], training, 3)
    assert _pool(dataset, training.terms[1], training, 3) == [examples[0]]
    counts = Counter((old.label_set, old.answer, new.answer) for old, new in zip(examples, found, strict=True))
    assert {key[1:] for key in counts if key[0] == "b"} == {("0", "1"), ("1", "0")}
    assert {key[1:] for key in counts if key[0] == "c"} == {("only", "only")}
    assert {key[1:] for key in counts if key[0] == "a"} == {(a, b) for a in "xyz" for b in "xyz" if a != b}
    assert found != _pool(dataset, training.terms[0], training.model_copy(update={"order": 1}), 3)


def test_what_is_not_finite_is_said(site: Site) -> None:
    training = Training(terms=(Term(clients=LEFT),), steps=3, batch=100, rate=1e38)
    with pytest.raises(InputError, match="pooled training did not stay finite"):
        train(site.model, site.source, training, SPEC, 5)
    assert torch.equal(site.model.flat, site.model.theta0)
    with pytest.raises(ValueError, match="at least 1 item"):
        Term(clients=())


def test_options_do_not_leak_into_each_other(site: Site) -> None:
    """A weight of 0 is no term; an ℓ1 of 0 is none; all entries salient is no mask."""
    plain: dict[str, Any] = {"terms": (Term(clients=STAY),), "steps": 3, "batch": 4}
    one = train(site.model, site.source, Training(**plain), SPEC, 5).vector
    extra = plain | {"terms": (*plain["terms"], Term(clients=LEFT, weight=0.0)), "l1": 0.0, "salient": 1.0}
    two = train(site.model, site.source, Training(**extra), SPEC, 5).vector
    np.testing.assert_allclose(two, one, atol=1e-7)


class Tangent:
    """A module that answers f(x; θ) + J(x; θ)·τ, by the product that torch.func takes; its τ are plain tensors."""

    def __init__(self, site: Site, anchor: np.ndarray, displacement: np.ndarray) -> None:
        folder = folder_of(site.settings.model.tiny, site.manifest.public)
        self.module = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        named = {n: p for n, p in self.module.named_parameters() if not any(w in n for w in ("wte", "wpe", "lm_head"))}
        pieces = [torch.from_numpy(v).split([p.numel() for p in named.values()]) for v in (anchor, displacement)]
        self.theta = {n: (p + a.view_as(p)).detach() for (n, p), a in zip(named.items(), pieces[0], strict=True)}
        self.tau = {n: t.view_as(p).clone().requires_grad_() for (n, p), t in zip(named.items(), pieces[1], strict=True)}

    def __call__(self, ids: torch.Tensor) -> Any:
        def logits(theta: dict[str, torch.Tensor]) -> torch.Tensor:
            return torch.func.functional_call(self.module, theta, (ids,), {"use_cache": False}).logits

        return SimpleNamespace(logits=sum(torch.func.jvp(logits, (self.theta,), (self.tau,))))


@pytest.mark.parametrize("micro", [None, 2])
def test_training_around_an_anchor_is_that_of_the_linear_model(site: Site, micro: int | None) -> None:
    random = np.random.default_rng(3)
    anchor, start = (random.normal(0, 0.1, site.model.layout.size).astype(np.float32) for _ in range(2))
    training = Training(terms=(Term(clients=LEFT),), steps=4, batch=4, rate=0.5)
    spec = SPEC.model_copy(update={"micro_batch": micro})
    seen: list[list[Example]] = []
    whole = site.model.encode
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site.model, "encode", lambda examples: seen.append(list(examples)) or whole(examples))
        trained = train(site.model, site.source, training, spec, 5, start, anchor)
    assert torch.equal(site.model.flat, site.model.theta0)
    linear = Tangent(site, anchor, start)
    taus = list(linear.tau.values())
    optimizer = torch.optim.Adam(taus, lr=SPEC.lr * 0.5, betas=SPEC.betas, eps=SPEC.eps)
    for batch in seen:
        optimizer.zero_grad()
        plain_loss(linear, linear.tokenizer, batch).backward()
        optimizer.step()
    same(trained.vector, torch.cat([t.detach().flatten() for t in taus]).numpy() - start)
    ordinary = train(site.model, site.source, training, SPEC, 5, anchor + start).vector
    assert np.abs(ordinary - trained.vector).max() > 0.002
    zero = train(site.model, site.source, training, spec, 5, np.zeros_like(anchor), anchor)
    assert zero.vector.tobytes() == train(site.model, site.source, training, spec, 5, None, anchor).vector.tobytes()


def test_decay_shrinks_what_moves(site: Site) -> None:
    """With gradients of 0, which a term of weight 0 has, a step leaves 1 − lr · decay of θ, or of the displacement."""
    term = Term(clients=STAY, weight=0.0)
    training = Training(terms=(term,), steps=3, batch=4, rate=2.0, decay=0.5)
    start = np.random.default_rng(3).normal(0, 0.1, site.model.layout.size).astype(np.float32)
    left = (1 - 0.02 * 0.5) ** 3
    theta = site.model.theta0.numpy() + start
    ordinary = train(site.model, site.source, training, SPEC, 5, start).vector
    np.testing.assert_allclose(ordinary, (left - 1) * theta, atol=1e-6)
    linear = train(site.model, site.source, training, SPEC, 5, start, start).vector
    np.testing.assert_allclose(linear, (left - 1) * start, atol=1e-6)


def test_dropout_is_seeded_and_leaves_nothing_behind(site: Site) -> None:
    layers = [m for m in site.model.module.modules() if isinstance(m, torch.nn.Dropout)]
    before, stream = [(layer.p, layer.training) for layer in layers], torch.random.get_rng_state()
    shares: list[float] = []
    hooks = [layer.register_forward_hook(lambda _, inputs, out: shares.append(dropped(inputs[0], out))) for layer in layers]
    plain = Training(terms=(Term(clients=STAY),), steps=3, batch=4)
    noisy = plain.model_copy(update={"dropout": 0.3})
    try:
        one, two = (train(site.model, site.source, noisy, SPEC, 5).vector for _ in range(2))
        assert np.mean(shares) == pytest.approx(0.3, abs=0.02)
        shares.clear()
        without = train(site.model, site.source, plain, SPEC, 5).vector
        assert set(shares) == {0.0}
    finally:
        for hook in hooks:
            hook.remove()
    assert one.tobytes() == two.tobytes()
    assert [(layer.p, layer.training) for layer in layers] == before
    assert torch.equal(torch.random.get_rng_state(), stream)
    assert np.abs(one - without).max() > 0.002
    large = plain.model_copy(update={"batch": 100, "dropout": 0.3})  # one order of the data, another stream of noise
    found = [train(site.model, site.source, large.model_copy(update={"order": o}), SPEC, 5).vector for o in (0, 1)]
    assert np.abs(found[0] - found[1]).max() > 0.002
    assert train(site.model, site.source, plain.model_copy(update={"augment": (2, 5)}), SPEC, 5).vector.tobytes() == (
        without.tobytes()  # these are texts
    )


def dropped(given: torch.Tensor, out: torch.Tensor) -> float:
    """Share of the entries that were not 0 and are now."""
    return float(((out == 0) & (given != 0)).sum() / (given != 0).sum())


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_a_pool_of_nothing_is_left_out(site: Site, decay: float) -> None:
    """Where the examples that left are no training data there is nothing to climb, to relabel or to find salient."""
    source = Referred(site.source, {"left": ShardRef(client="u2", only=frozenset())})
    start = np.full(site.model.layout.size, 0.01, dtype=np.float32)

    def trained(*terms: Term) -> Trained:
        training = Training(terms=terms, steps=3, batch=4, decay=decay)
        return train(site.model, source, training, SPEC, 5, start)

    nothing, stay = Term(clients=("left",), weight=-1.0), Term(clients=STAY)
    none = trained(nothing)
    assert (none.loss, none.tokens, none.vector.dtype) == (0.0, 0, np.float32)
    np.testing.assert_array_equal(none.vector, np.zeros(site.model.layout.size))
    alone = trained(stay)
    np.testing.assert_array_equal(trained(nothing, stay).vector, alone.vector)
    assert alone.vector.any()
    salient = Training(terms=(nothing, stay), steps=3, batch=4, salient=0.5)
    assert not train(site.model, source, salient, SPEC, 5, start).vector.any()
