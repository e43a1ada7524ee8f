import re
from typing import Any

import pytest

from clients.data import loaders as data
from clients.data.dataset import Dataset
from clients.data.specs import FictionData
from clients.errors import InputError
from clients.work.site import Site

NAME = re.compile(r"[A-Z][a-z]+ [A-Z][a-z]+(?=\b)")


def loaded(seed: int = 7, **options: Any) -> Dataset:
    return data.load(FictionData.model_validate({"clients": 60, "pairs": 4, "public_authors": 40} | options), seed)


def subjects(examples: Any) -> set[str]:
    """Names that questions ask about: the two capitalised words in a row that each question of an author shares."""
    return {name for example in examples for name in NAME.findall(example.prompt.removeprefix("Question:"))}


def test_clients_and_public_authors_are_different_people() -> None:
    dataset = loaded()
    public = subjects(dataset.public)
    assert len(public) == 40
    own = [subjects(shard.train) for shard in dataset.shards]
    assert [len(names) for names in own] == [1] * 60  # one author a client
    clients = set().union(*own)
    assert len(clients) == 60
    assert not clients & public


def test_sizes_and_names() -> None:
    dataset = loaded()
    assert dataset.manifest.clients == tuple(f"u{i}" for i in range(60))
    assert [len(set(shard.train)) for shard in dataset.shards] == [4] * 60
    assert len(dataset.public) == 40 * 16
    assert (dataset.manifest.metric, dataset.label_sets) == ("answer_probability", {})
    assert dataset.manifest.sides.reported == "train"
    assert len({shard.digest() for shard in dataset.shards}) == 60


def test_seeds_change_clients_but_not_the_public_part() -> None:
    one, other = loaded(1), loaded(2)
    assert one.public == other.public
    assert all(a != b for a, b in zip(one.shards, other.shards, strict=True))


def test_a_client_does_not_depend_on_how_many_there_are() -> None:
    """Later clients come after earlier ones: a shorter list is the beginning of a longer one."""
    assert loaded(clients=20).shards == loaded().shards[:20]


def test_other_processes_make_the_same_shards(site: Site, elsewhere: dict[str, Any]) -> None:
    here = [shard.digest() for shard in data.load(site.settings.data, 7).shards]
    assert elsewhere["shards"] == here


def test_the_prompt_is_a_template() -> None:
    plain, other = loaded(), loaded(prompt="Q: {question} | {answer}")
    for a, b in zip(plain.shards, other.shards, strict=True):
        for x, y in zip(a.train, b.train, strict=True):
            assert x.prompt.startswith("Question:")
            assert x.prompt.endswith("\nAnswer:")
            question = x.prompt.removeprefix("Question:").removesuffix("\nAnswer:")
            assert y.prompt == f"Q: {question} | "
            assert y.answer == x.answer


def test_a_column_that_there_is_not() -> None:
    with pytest.raises(InputError, match="subject"):
        loaded(prompt="{subject}: {answer}")
