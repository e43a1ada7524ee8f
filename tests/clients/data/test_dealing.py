"""Dealing: by column as flwr-datasets does it, by partitioner, disjoint subsets of labels, who is chosen."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.data.dealing import by_column, by_partitioner, choose, label_subsets
from clients.data.specs import Dealt, Partitioner
from clients.errors import InputError

LABELS = [f"label {row // 20}" for row in range(120)]  # six labels, sorted


def dealt(name: str, parts: int = 6, minimum: int = 1, seed: int = 3, **options: Any) -> list[list[int]]:
    return by_partitioner(LABELS, Partitioner(name=name, **options), parts, minimum, seed)  # type: ignore[arg-type]


def test_by_column_is_what_flwr_datasets_makes_of_it() -> None:
    import datasets
    from flwr_datasets.partitioner import NaturalIdPartitioner

    users = ["ann", "bob", "ann", "cid", "bob", "ann", "dee"]
    natural = NaturalIdPartitioner("user")
    natural.dataset = datasets.Dataset.from_dict({"user": users, "row": list(range(7))})
    made = [natural.load_partition(part)["row"][:] for part in range(natural.num_partitions)]
    parts = {natural.partition_id_to_natural_id[part]: rows for part, rows in enumerate(made)}
    assert by_column(users) == parts == {"ann": [0, 2, 5], "bob": [1, 4], "cid": [3], "dee": [6]}


def test_by_column_names_numbers_as_text() -> None:
    assert by_column([7, 10, 7]) == {"7": [0, 2], "10": [1]}


@pytest.mark.parametrize(
    ("name", "options", "sizes"),
    [
        ("iid", {}, [20] * 6),
        ("shard", {"shards": 4}, [20] * 6),
        pytest.param(
            "sizes",
            {"sizes": (5, 4, 3, 2, 1, 50)},
            [5, 4, 3, 2, 1, 50],
            marks=pytest.mark.filterwarnings("ignore:The sum of partition sizes"),
        ),
        ("linear", {}, [5, 11, 17, 22, 28, 37]),  # 120 · i / 21 rounded down; the last one takes what is left
        ("square", {}, [1, 5, 11, 21, 32, 50]),  # 120 · i² / 91
        ("label_subsets", {"classes": 2}, [20] * 6),
    ],
)
def test_sizes(name: str, options: dict[str, Any], sizes: list[int]) -> None:
    parts = dealt(name, **options)
    assert [len(part) for part in parts] == sizes
    assert len({row for part in parts for row in part}) == sum(sizes)
    assert dealt(name, **options) == parts
    assert dealt(name, seed=4, **options) != parts


def test_exponential_sizes() -> None:
    sizes = [len(part) for part in dealt("exponential", parts=4)]
    assert sizes == [3, 10, 28, 79]  # 120 · eⁱ / (e + e² + e³ + e⁴), rounded down


def test_iid_is_shuffled_first() -> None:
    """The table is sorted by label; a part that were a contiguous piece would have one label."""
    assert all(len({LABELS[row] for row in part}) > 3 for part in dealt("iid"))


def test_pathological_parts_have_so_many_labels() -> None:
    assert [len({LABELS[row] for row in part}) for part in dealt("pathological", classes=3)] == [3] * 6


def test_dirichlet_heeds_the_minimum() -> None:
    assert min(len(part) for part in dealt("dirichlet", minimum=12, alpha=5.0)) >= 12
    assert sum(len(part) for part in dealt("dirichlet", minimum=12, alpha=5.0)) == 120


@given(
    labels=st.lists(st.sampled_from("abcdefghijk"), min_size=1, max_size=60),
    classes=st.integers(1, 5),
    seed=st.integers(0, 5),
)
def test_label_subsets_are_a_partition(labels: list[str], classes: int, seed: int) -> None:
    if len(set(labels)) < classes:
        with pytest.raises(ValueError, match=f"subsets of {classes} labels, but there are only {len(set(labels))}"):
            label_subsets(labels, classes, seed)
        return
    subsets = label_subsets(labels, classes, seed)
    assert sorted(label for subset in subsets for label in subset) == sorted(set(labels))
    assert all(len(subset) == classes for subset in subsets[:-1])
    assert classes <= len(subsets[-1]) <= 2 * classes - 1


def test_parts_of_label_subsets() -> None:
    """Six labels in subsets of four make one subset; of two, three subsets; seven parts of those are 3 + 2 + 2."""
    assert label_subsets(LABELS, 4, 0) == [label_subsets(LABELS, 6, 0)[0]]
    subsets = [set(subset) for subset in label_subsets(LABELS, 2, seed=3)]
    parts = dealt("label_subsets", parts=7, classes=2)
    assert [{LABELS[row] for row in part} for part in parts] == [subsets[part % 3] for part in range(7)]
    assert [len(part) for part in parts] == [14, 20, 20, 13, 20, 20, 13]
    assert sorted(row for part in parts for row in part) == list(range(120))
    few = dealt("label_subsets", parts=2, classes=2)  # the third subset is in no part
    assert [{LABELS[row] for row in part} for part in few] == subsets[:2]
    assert label_subsets(LABELS, 2, seed=3) != label_subsets(LABELS, 2, seed=4)


@pytest.mark.filterwarnings("ignore:The specified min_partition_size")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "iid", "parts": 121}, r"data\.clients: 121 clients cannot be made of 120 rows"),
        (
            {"name": "pathological", "classes": 7},
            r"data\.partitioner: pathological cannot deal 120 rows to 6 clients: .*=7 is",
        ),
        ({"name": "dirichlet", "minimum": 20}, r"data\.partitioner: dirichlet cannot deal 120 rows to 6 clients"),
        (
            {"name": "sizes", "sizes": (3, 4)},
            r"sizes cannot deal 120 rows to 6 clients: data\.partitioner\.sizes has 2 sizes",
        ),
        ({"name": "sizes", "sizes": (60, 61), "parts": 2}, r"data\.partitioner: sizes cannot deal 120 rows to 2 clients"),
        ({"name": "exponential", "parts": 20}, r"data\.partitioner: exponential cannot deal 120 rows to 20 clients"),
        ({"name": "label_subsets", "classes": 7}, r"subsets of 7 labels, but there are only 6 labels"),
        (
            {"name": "shard", "parts": 70},
            r"data\.partitioner: shard cannot deal 120 rows to 70 clients: that would be 140 shards",
        ),
    ],
)
def test_what_cannot_be_dealt(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dealt(**options)


def test_a_subset_with_too_few_rows() -> None:
    rows = ["a"] * 2 + ["b"] * 10
    with pytest.raises(InputError, match=r"label_subsets cannot deal 12 rows to 6 clients: 2 rows of a for 3 of them"):
        by_partitioner(rows, Partitioner(name="label_subsets", classes=1), 6, 1, 0)


def test_choose() -> None:
    rows = {"a": range(5), "b": range(9), "c": range(5), "d": range(2), "e": range(7), "f": range(1)}
    assert choose(rows, Dealt(clients=2, minimum=3)) == (
        [],
        ["b", "e"],
        ["2 of 6 clients have fewer than data.minimum = 3 examples."],
    )
    assert choose(rows, Dealt(clients=9, minimum=1, public_clients=2)) == (
        ["b", "e"],
        ["a", "c", "d", "f"],
        ["2 of 6 clients are set aside as public."],
    )
    assert choose(rows, Dealt(clients=1, minimum=1, public_clients=2))[1] == ["a"]  # of a and c, as large, the first by name
