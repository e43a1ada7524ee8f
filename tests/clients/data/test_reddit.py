"""Reddit: who is a bot, which comments are used, dealing as ClAMU does, errors, the real sample."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from clients.data import loaders as data
from clients.data.dataset import Dataset, LabelSet
from clients.data.reddit import BOT
from clients.data.specs import RedditData
from clients.errors import InputError

COMMENTS = [  # author, subreddit, body
    ("ann", "tea", "ann on tea"),
    ("bob", "tea", "bob on tea"),
    ("ann", "cats", "ann on cats"),
    ("ann", "maps", "ann on maps"),
    ("cid", "cats", "cid on cats"),
    ("cid", "cats", "[removed]"),
    ("bob", "tea", " [deleted]\n"),
    ("bob", "cats", "  "),
    ("[deleted]", "tea", "who"),
    ("AutoModerator", "maps", "rules"),
    ("RemindMeBot", "maps", "remember"),
    ("RemindMeBot", "maps", "remember again"),
    ("cid", "maps", "cid on maps"),
    ("cid", "tea", "cid on tea"),
    ("bob", "boats", "bob on boats"),
]


def write(path: Path, comments: list[tuple[str, str, str]]) -> str:
    rows = [{"author": author, "subreddit": where, "body": body, "score": 1} for author, where, body in comments]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def source(tmp_path: Path) -> str:
    return write(tmp_path / "comments.jsonl", COMMENTS)


def loaded(source: str, **options: Any) -> Dataset:
    given = {"source": source, "clients": 3, "minimum": 1, "validation": 0, "test": 0, "subreddits": 3} | options
    return data.load(RedditData.model_validate(given), 7)


def bodies(dataset: Dataset) -> dict[str, list[str]]:
    return {
        shard.client: sorted(example.prompt.removeprefix("Comment:").removesuffix("\nSubreddit:") for example in shard.train)
        for shard in dataset.shards
    }


BOTS = """AutoModerator automoderator [deleted] RemindMeBot x_bot xbot bot-y y-bot bot Bot42 xbot2 haikubots TheBotOfAll
    BotOfAll SOME_BOT sneakpeekbot tweet_bot_v2 GrabBot autobot"""
PEOPLE = """Abbott abbot JohnAbbot talbot Talbot7 turbot robothead RobotHead botany bottle Bottleneck McBotface sabotage
    bothered moderator automoderator2 deleted ann u71fa409e2956"""


@pytest.mark.parametrize("name", BOTS.split())
def test_bots(name: str) -> None:
    assert BOT.search(name)


@pytest.mark.parametrize("name", PEOPLE.split())
def test_people(name: str) -> None:
    assert not BOT.search(name)


def test_comments_of_people_in_the_most_frequent_subreddits(source: str) -> None:
    dataset = loaded(source)
    assert bodies(dataset) == {
        "ann": ["ann on cats", "ann on maps", "ann on tea"],
        "bob": ["bob on tea"],
        "cid": ["cid on cats", "cid on maps", "cid on tea"],
    }
    for example in dataset.shard("ann").train:
        assert f"ann on {example.answer}" in example.prompt
    # of people, tea 3, cats 2, maps 2, boats 1: ties by name; those of bots would have put maps first
    assert dataset.label_sets == {"": LabelSet(("tea", "cats", "maps"), ("tea", "cats", "maps"))}
    assert dataset.notes == (
        "3 of 15 comments are deleted, removed or empty; they are left out.",
        "4 comments of 3 authors whose names are those of bots or deleted accounts are left out "
        "(data.bots: true keeps them).",
        "7 of 8 comments are in the 3 subreddits that are labels.",
    )


def test_bots_where_asked_for(source: str) -> None:
    dataset = loaded(source, bots=True, clients=6)
    assert dataset.manifest.clients == ("AutoModerator", "RemindMeBot", "[deleted]", "ann", "bob", "cid")
    assert dataset.label_sets[""].labels == ("maps", "tea", "cats")  # maps 5, tea 4, cats 2
    assert len(dataset.notes) == 2


def test_a_list_of_subreddits(source: str) -> None:
    dataset = loaded(source, subreddits=["boats", "tea"])
    assert bodies(dataset) == {"ann": ["ann on tea"], "bob": ["bob on boats", "bob on tea"], "cid": ["cid on tea"]}
    assert dataset.label_sets[""].labels == ("boats", "tea")


def test_dealt_as_clamu_does(tmp_path: Path) -> None:
    comments = [(f"author {i % 37}", f"sub {i % 5}", f"comment {i}") for i in range(400)]
    path = write(tmp_path / "many.jsonl", comments)
    options = {"partitioner": {"name": "pathological", "classes": 2}, "maximum": 30, "clients": 8, "subreddits": 5}
    dataset = loaded(path, **options)
    assert dataset.manifest.clients == tuple(f"u{i}" for i in range(8))
    assert [len({example.answer for example in shard.train}) for shard in dataset.shards] == [2] * 8
    assert all(len(shard.train) <= 30 for shard in dataset.shards)
    every = [example for shard in dataset.shards for example in shard.train]
    assert len(set(every)) == len(every)
    for example in every:
        number = int(example.prompt.removeprefix("Comment:comment ").removesuffix("\nSubreddit:"))
        assert example.answer == f"sub {number % 5}"
    assert loaded(path, **options) == dataset


def test_errors(source: str, tmp_path: Path) -> None:
    for options, message in (
        ({"subreddits": ["tea", "dogs"]}, r"data\.subreddits: .*comments\.jsonl has no usable row of 'dogs'"),
        ({"subreddits": 5}, r"data\.subreddits: 5 asked for, .*comments\.jsonl has usable rows of 4"),
        ({"prompt": "{subreddit}: {body}"}, r"data\.prompt: the last column is the label, {subreddit}, not {body}"),
        ({"prompt": "{title}{subreddit}"}, r"has no column 'title'; its columns are author, subreddit, body, score"),
        (
            {"minimum": 2},
            r"data\.clients: 3 clients asked for, .* has 2\. .* 1 of 3 clients have fewer than data\.minimum = 2",
        ),
        ({"partitioner": {"name": "pathological", "classes": 4}}, r"data\.partitioner: pathological cannot deal 7 rows"),
        ({"source": "forum", "subreddits": 10, "clients": 261}, r"data\.clients: 261 clients asked for, forum has 260\."),
        ({"source": "forum", "config": "main"}, r"data\.config: of forum it is how many people write, .*not 'main'"),
    ):
        with pytest.raises(InputError, match=message):
            loaded(**{"source": source} | options)


def test_the_real_sample(shared_folder: Path) -> None:
    folder = shared_folder / "data" / "reddit"
    if not folder.is_dir():
        pytest.skip("no Reddit in ../shared/data/reddit")
    rows = pq.read_table(folder / "comments" / "train.parquet").to_pylist()
    assert sum(count >= 5 for count in Counter(row["author"] for row in rows).values()) == 87
    used = [row for row in rows if row["body"].strip() not in ("", "[deleted]", "[removed]")]
    where = Counter(row["subreddit"] for row in used)
    labels = sorted(where, key=lambda name: (-where[name], name))[:10]
    counts = Counter(row["author"] for row in used if row["subreddit"] in labels)
    authors = sorted(author for author, count in counts.items() if count >= 5)
    dataset = loaded(str(folder), config="comments", subreddits=10, minimum=5, clients=len(authors))
    assert dataset.label_sets[""].labels == tuple(labels)
    assert dataset.manifest.clients == tuple(authors)
    assert [len(shard.train) for shard in dataset.shards] == [counts[author] for author in authors]
    every = loaded(str(folder), config="comments", subreddits=len(where), minimum=5, clients=87)
    assert len(every.shards) == 87
