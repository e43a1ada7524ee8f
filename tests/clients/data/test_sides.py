"""Which examples are drawn, and which side each is on."""

import hashlib
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from clients.data.shards import SIDES, Example, LabelSet, Shard, Sides
from clients.data.sides import draw, shard
from clients.data.specs import Dealt, ImageData, TableData
from clients.data.telling import notes
from clients.errors import InputError

SHARES = st.sampled_from([0.0, 0.1, 0.2, 0.45])


def examples(count: int) -> list[Example]:
    return [Example(f"prompt {i}", "answer") for i in range(count)]


def number(purpose: str, example: Example, client: str = "ann", seed: int = 7) -> float:
    """Independent: the digest's first 16 digits as a fraction."""
    text = f"{purpose}/{seed}/{client}/{example.key}"
    return int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) / 16**16


def test_sides_by_hand() -> None:
    some = examples(60)
    made = shard("ann", some, Dealt(validation=0.3, test=0.25), 7)
    order = sorted(some, key=lambda example: number("draw", example))
    test = [e for e in order if number("test", e) < 0.25]
    validation = [e for e in order if e not in test and number("validation", e) < 0.3 / 0.75]
    assert made.test == tuple(test)
    assert made.validation == tuple(validation)
    assert min(len(test), len(validation)) > 5
    assert made.train == tuple(e for e in order if e not in test and e not in validation)
    assert made.examples == (*made.train, *made.validation, *made.test)


@given(st.integers(1, 40), st.none() | st.integers(1, 40), SHARES, SHARES, st.integers(0, 3), st.randoms())
def test_the_order_of_rows_plays_no_part(
    count: int, maximum: int | None, validation: float, test: float, seed: int, random: Any
) -> None:
    some = examples(count)
    spec = Dealt(maximum=maximum, validation=validation, test=test)
    made = shard("ann", some, spec, seed)
    random.shuffle(some)
    assert shard("ann", some, spec, seed) == made
    lowest = sorted(some, key=lambda e: number("draw", e, seed=seed))[:maximum]
    assert set(made.examples) == set(lowest)
    assert len(made.examples) == len(lowest)


@given(st.integers(1, 12), SHARES, SHARES, st.integers(0, 50), st.data())
def test_removing_a_row_moves_no_other(count: int, validation: float, test: float, seed: int, data: Any) -> None:
    """Unless it was the only one on its side: another takes its place."""
    some, spec = examples(count), Dealt(validation=validation, test=test)
    before = shard("ann", some, spec, seed)
    removed = data.draw(st.sampled_from(some))
    after = shard("ann", [e for e in some if e != removed], spec, seed)
    sides = {e: side for side in SIDES for e in before.side(side)}
    moved = [e for side in SIDES for e in after.side(side) if sides[e] != side]
    alone = len(before.side(sides[removed])) == 1
    assert not moved or alone


@given(st.integers(1, 12), SHARES, SHARES, st.integers(0, 50))
def test_every_side_that_is_asked_for_has_an_example_if_there_are_enough(
    count: int, validation: float, test: float, seed: int
) -> None:
    made = shard("ann", examples(count), Dealt(validation=validation, test=test), seed)
    wanted = ["train", *(["test"] if test else []), *(["validation"] if validation else [])]
    assert [bool(made.side(side)) for side in wanted] == [place < count for place in range(len(wanted))]  # type: ignore[arg-type]
    assert validation or not made.validation
    assert test or not made.test


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), SHARES | st.integers(1, 9), st.integers(0, 9))
def test_equal_rows_are_on_one_side(copies: list[int], test: float, seed: int) -> None:
    some = [Example(f"prompt {i}", "answer") for i, count in enumerate(copies) for _ in range(count)]
    made = shard("ann", some, Dealt(test=test), seed)
    assert Counter(made.examples) == Counter(some)
    on = [side for example in set(some) for side in SIDES if example in made.side(side)]
    assert len(on) == len(copies)


def test_numbers_of_examples() -> None:
    """The first ones in an order that has nothing to do with drawing; validation after test, and one is trained on."""
    some = examples(30)
    made = shard("ann", some, Dealt(maximum=25, validation=5, test=8), 7)
    assert [len(made.side(side)) for side in SIDES] == [12, 5, 8]
    drawn = draw("ann", some, 25, 7)
    assert set(made.test) == set(sorted(drawn, key=lambda e: number("test", e))[:8])
    few = shard("ann", examples(6), Dealt(validation=5, test=4), 7)
    assert [len(few.side(side)) for side in SIDES] == [1, 2, 3]
    assert [len(shard("ann", examples(2), Dealt(validation=5, test=4), 7).side(side)) for side in SIDES] == [1, 0, 1]
    copies = [Example("same", "answer")] * 3 + examples(4)
    assert len(shard("ann", copies, Dealt(validation=0, test=1), 1).test) in (1, 3)


def test_a_sorted_table_gives_both_classes() -> None:
    """Forty rows of one label and then forty of the other, thirty used."""
    rows = [Example(f"text {i}", label) for label in ("neg", "pos") for i in range(40)]
    counts = [Counter(e.answer for e in shard(f"u{u}", rows, Dealt(maximum=30), 7).examples) for u in range(4)]
    assert all(5 < count["neg"] < 25 and count.total() == 30 for count in counts)


def test_splits_differ_between_clients_and_seeds() -> None:
    made = {shard(client, examples(20), Dealt(), seed).train for client in ("ann", "bob") for seed in (1, 2)}
    assert len(made) == 4


def test_the_papers_split_is_a_preset() -> None:
    spec = Dealt.model_validate({"preset": "papers"})
    assert (spec.minimum, spec.maximum, spec.validation, spec.test) == (110, 110, 0, 10)
    made = shard("ann", examples(150), spec, 7)
    assert [len(made.side(side)) for side in SIDES] == [100, 0, 10]
    table = {"source": "x.csv", "prompt": "{a}:{b}", "client_column": "c", "preset": "papers", "test": 20, "minimum": 8}
    mine = TableData.model_validate(table)
    assert (mine.minimum, mine.maximum, mine.validation, mine.test) == (8, 110, 0, 20)
    assert ImageData.model_validate({"preset": "papers"}).validation == 0
    with pytest.raises(ValidationError, match="preset"):
        Dealt.model_validate({"preset": "clamu"})


def test_shares_leave_something_to_train_on() -> None:
    with pytest.raises(ValidationError, match="together less than 1"):
        Dealt(validation=0.5, test=0.5)
    assert Dealt(validation=0.5, test=30).test == 30


def test_what_is_reported_and_what_settings_are_chosen_on() -> None:
    told = {(v, t): (Sides(v, t).reported, Sides(v, t).chosen_on, Sides(v, t).halved) for v in (0, 1) for t in (0, 1)}
    assert told == {
        (0, 0): ("train", "train", True),
        (0, 1): ("test", "test", True),
        (1, 0): ("validation", "validation", True),
        (1, 1): ("test", "validation", False),
    }


LABELS = {"": LabelSet(("a", "b"), ("a", "b"))}


def test_what_a_user_is_told() -> None:
    e = [Example(f"{i}", "ab"[i % 2]) for i in range(8)]
    shards = (
        Shard("ann", (e[0], e[0], e[1]), (e[2],), (e[3],)),
        Shard("bob", (e[1], e[4]), (), (e[5],)),
        Shard("cid", (e[6],), (), ()),
    )
    assert notes(shards, LABELS, Sides(True, True)) == [
        "3 clients of 1 to 5 examples (median 3): 6 train, 1 validation, 2 test.",
        "2 labels: a 5, b 4.",
        "1 of 9 examples repeat one of the same client; equal ones are on one side.",
        "2 of 9 examples are with more than one client: what is learned of them stays when one of these is forgotten, so "
        "scores of the forgotten stay up. That is no leak.",
        "2 of 3 clients have no validation examples and are not asked where settings are chosen: bob, cid.",
        "1 of 3 clients have no test examples and are in no mean of scores: cid.",
    ]
    assert notes((Shard("ann", (e[0],)),), {}, Sides()) == ["1 client of 1 to 1 examples (median 1): 1 train."]


def test_many_without_a_side_are_counted() -> None:
    e = [Example(f"{i}", "a") for i in range(30)]
    shards = [Shard("z", (e[0],), (), (e[1],)), *(Shard(f"u{i}", (e[i],)) for i in range(2, 9))]
    assert notes(shards, {}, Sides(tested=True))[-1] == (
        "7 of 8 clients have no test examples and are in no mean of scores: u2, u3, u4, u5, u6 and 2 more."
    )
    with pytest.raises(InputError, match="no client has examples for test"):
        notes(shards[1:], {}, Sides(tested=True))
