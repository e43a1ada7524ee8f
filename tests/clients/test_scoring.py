from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch

from clients.data.dataset import Example, LabelSet, Shard
from clients.data.shards import Sides
from clients.models.language import LanguageModel
from clients.work import scoring
from clients.work.site import Site

LONG = Example("Question:Who?\nAnswer:", "nobody that anyone in this town has ever met or heard of before")


@pytest.fixture
def model(site: Site) -> Iterator[LanguageModel]:
    """The tiny model at a random point, its last layer norm made so large that probabilities differ between tokens."""
    random, layout = np.random.default_rng(0), site.model.layout
    theta = site.model.theta0.numpy() + random.normal(0, 0.7, layout.size).astype(np.float32)
    at = layout.names.index("transformer.ln_f.weight")
    theta[layout.bounds[at] : layout.bounds[at + 1]] = 40
    site.model.assign(theta)
    assert isinstance(site.model, LanguageModel)
    yield site.model
    site.model.reset()
    site.model.label_sets = {}


def accuracy(model: LanguageModel, shard: Shard, labels: tuple[str, ...]) -> float:
    """The score where answers are labels."""
    model.label_sets = {"": LabelSet(labels, labels)}
    return scoring.score(model, shard)


def surprise(model: LanguageModel, example: Example) -> list[float]:
    """−log p of each answer token and of EOS, one example at a time, without padding, in float64 from the logits on."""
    prompt = model.tokenizer.encode(example.prompt)
    ids = [*prompt, *model.tokenizer.encode(example.answer), model.tokenizer.eos_token_id]
    with torch.no_grad():
        logits = model.module(torch.tensor([ids])).logits[0].double().numpy()
    return [float(np.log(np.exp(logits[at - 1]).sum()) - logits[at - 1, ids[at]]) for at in range(len(prompt), len(ids))]


@pytest.mark.parametrize("client", ["u0", "u5"])
def test_answer_probability_by_hand(site: Site, model: LanguageModel, client: str) -> None:
    shard = Shard(client, (*site.shard(client).train, LONG, Example("a", "b")))
    expected = np.mean([np.exp(-np.mean(surprise(model, example))) for example in shard.train])
    assert scoring.score(model, shard) == pytest.approx(expected, rel=1e-5)
    model.reset()
    assert scoring.score(model, shard) != pytest.approx(expected, rel=0.1)


def test_more_examples_than_are_scored_at_once(model: LanguageModel) -> None:
    examples = tuple(Example(f"number {i} is", f"x{i * i}") for i in range(150))
    expected = np.mean([np.exp(-np.mean(surprise(model, example))) for example in examples])
    assert scoring.score(model, Shard("a", examples)) == pytest.approx(expected, rel=1e-5)


def test_padding_does_not_change_losses(model: LanguageModel) -> None:
    """Kernels may sum in another order for another batch shape: equal to 1e-5, not bit for bit."""
    examples = (Example("a", "b"), LONG, Example("Question:What?\nAnswer:", "this"))
    together, counts = model.answer_losses(model.encode(examples))
    alone = [model.answer_losses(model.encode((example,))) for example in examples]
    np.testing.assert_allclose(together, [sums[0] for sums, _ in alone], rtol=1e-5)
    np.testing.assert_allclose(together, [sum(surprise(model, example)) for example in examples], rtol=1e-5)
    assert counts.tolist() == [len(surprise(model, example)) for example in examples]
    mean = model.loss(model.encode(examples)).item()  # over tokens, not over examples
    assert mean == pytest.approx(together.sum() / counts.sum(), rel=1e-5)


def test_accuracy_against_ranking_one_by_one(model: LanguageModel) -> None:
    labels = ("positive", "negative", "no", "neither one of the two")
    random = np.random.default_rng(4)
    examples = tuple(
        Example(f"Text:{' '.join(random.choice(['ab', 'cd', 'ef', 'gh'], 5))}\nLabel:", str(random.choice(labels)))
        for _ in range(40)
    )
    hits = 0
    for example in examples:
        totals = {label: sum(surprise(model, Example(example.prompt, label))) for label in labels}
        hits += min(totals, key=lambda label: totals[label]) == example.answer
    assert accuracy(model, Shard("a", examples), labels) == hits / 40


def test_accuracy_sees_the_summed_probability_and_the_prompt(model: LanguageModel) -> None:
    """Each example's best label, found one by one, scores 1; its second best scores 0."""
    labels = ("ab", "cd", "ef")
    best, second = [], []
    for i in range(12):
        prompt = f"{'xyz'[i % 3] * (i + 1)} and then"
        ranked = sorted(labels, key=lambda label: sum(surprise(model, Example(prompt, label))))
        best.append(Example(prompt, ranked[0]))
        second.append(Example(prompt, ranked[1]))
    assert accuracy(model, Shard("a", tuple(best)), labels) == 1.0
    assert accuracy(model, Shard("a", tuple(second)), labels) == 0.0
    assert accuracy(model, Shard("a", tuple(best[:3] + second[:1])), labels) == 0.75


def test_the_first_of_equal_labels_wins(model: LanguageModel) -> None:
    model.assign(np.zeros(model.layout.size, dtype=np.float32))  # all logits are 0: labels of one token are equal
    shard = Shard("a", (Example("p", "a"), Example("q", "b"), Example("r", "b")))
    assert accuracy(model, shard, ("a", "b")) == pytest.approx(1 / 3)
    assert accuracy(model, shard, ("b", "a")) == pytest.approx(2 / 3)


@pytest.mark.parametrize("seeds", [(1, 2, 3), (4, 5, 6, 7), (1, 2, 3, 4, 5, 6, 7)])
def test_a_vote_is_won_by_most_models_and_of_equals_by_the_lowest_label(model: LanguageModel, seeds: tuple[int]) -> None:
    labels = ("cd", "ab", "neither one", "ef")
    start, size = model.flat.numpy().copy(), model.layout.size
    thetas = [start + np.random.default_rng(seed).normal(0, 1.0, size).astype(np.float32) for seed in seeds]
    prompts = [f"{'xyz'[i % 3] * (i + 1)} and then" for i in range(12)]
    winners, ties = [], 0
    for prompt in prompts:
        votes = dict.fromkeys(labels, 0)
        for theta in thetas:
            model.assign(theta)
            votes[min(labels, key=lambda label: sum(surprise(model, Example(prompt, label))))] += 1
        most = [label for label in labels if votes[label] == max(votes.values())]
        winners.append(most[0])
        ties += len(most) > 1
    assert len(set(winners)) > 1
    assert ties > 0 or len(seeds) == 7
    model.label_sets = {"": LabelSet(labels, labels)}
    right = tuple(Example(prompt, label) for prompt, label in zip(prompts, winners, strict=True))
    assert scoring.score_together(model, Shard("a", right), thetas, vote=True) == 1.0
    wrong = Example(prompts[0], next(label for label in labels if label != winners[0]))
    assert scoring.score_together(model, Shard("a", (wrong, *right[1:])), thetas, vote=True) == 11 / 12


def test_a_vote_may_differ_from_the_mean_probability() -> None:
    """Two models lean to one label, the third is sure of the other."""
    told = iter([[0.4, 0.6], [0.4, 0.6], [1.0, 0.0]] * 2)

    class Leaning:
        def assign(self, theta: np.ndarray) -> None:
            pass

        def probabilities(self, examples: Any) -> tuple[np.ndarray, np.ndarray]:
            return np.array([next(told)]), np.array([1])

    shard, thetas = Shard("a", (LONG,)), [np.zeros(1)] * 3
    assert scoring.score_together(cast(Any, Leaning()), shard, thetas) == 0.0
    assert scoring.score_together(cast(Any, Leaning()), shard, thetas, vote=True) == 1.0


def test_each_side_is_scored_by_itself(model: LanguageModel) -> None:
    """A side without examples has no score."""
    held, told = (Example("a", "b"),), (Example("c", "d"),)
    shard = Shard("a", (LONG,), held, told)
    for side, example in (("train", LONG), ("validation", held[0]), ("test", told[0])):
        expected = np.exp(-np.mean(surprise(model, example)))
        assert scoring.score(model, shard, side) == pytest.approx(expected, rel=1e-5)  # type: ignore[arg-type]
    assert scoring.score(model, Shard("a", (LONG,)), "test") is None
    assert scoring.score_together(model, Shard("a", (LONG,)), [model.flat.numpy()], side="validation") is None


def test_what_a_job_asks_for_is_the_side_that_the_data_have() -> None:
    both, one, none = Sides(True, True), Sides(True, False), Sides()
    parts = ("reported", "chosen_on", "train")
    assert [scoring.side_of(both, part) for part in parts] == ["test", "validation", "train"]  # type: ignore[arg-type]
    assert [scoring.side_of(one, part) for part in parts] == ["validation", "validation", "train"]  # type: ignore[arg-type]
    assert [scoring.side_of(none, part) for part in parts] == ["train"] * 3  # type: ignore[arg-type]


def test_features_by_hand(site: Site, model: LanguageModel) -> None:
    """The last layer's output (what the head is given) at the last answer token, before EOS; mean over examples."""
    examples, kept = (*site.shard("u0").train, LONG), []
    head = model.module.lm_head
    hook = head.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0][0, -2].double().numpy()))
    try:
        with torch.no_grad():
            for encoded in model.encode(examples):
                model.module(torch.tensor([encoded.ids]))
    finally:
        hook.remove()
    np.testing.assert_allclose(model.features(examples), np.mean(kept, axis=0), rtol=1e-4, atol=1e-6)


def test_a_part_is_scored_by_itself(site: Site, model: LanguageModel) -> None:
    """Alone and together."""
    shard = site.shard("u1")
    split = replace(shard, train=shard.train[:2], test=shard.train[2:])
    values = model.values(shard.train)
    assert scoring.score(model, split, "train") == pytest.approx(sum(values[:2]) / 2, rel=1e-6)
    assert scoring.score(model, split, "test") == pytest.approx(sum(values[2:]) / len(values[2:]), rel=1e-6)
    theta = model.flat.numpy().copy()
    assert scoring.score_together(model, split, [theta], side="train") == pytest.approx(scoring.score(model, split, "train"))
