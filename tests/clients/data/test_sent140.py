"""Sent140: a small table by hand, errors, the real sample."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from clients.data import loaders as data
from clients.data.dataset import Dataset, Example, LabelSet
from clients.data.sides import draw
from clients.data.specs import Sent140Data
from clients.errors import InputError

TWEETS = [  # user, sentiment, text
    ("ann", 0, "a0"),
    ("bob", 4, "b0"),
    ("ann", 4, "a1"),
    ("ann", 2, "a2 is neutral"),
    ("cid", 0, "c0"),
    ("bob", 0, "b1"),
    ("ann", 0, "a3"),
    (None, 0, "nobody's"),
    ("bob", 4, None),
]


def write(path: Path, tweets: list[tuple[Any, ...]]) -> str:
    rows = [{"text": text, "date": "today", "user": user, "sentiment": value} for user, value, text in tweets]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def loaded(source: str, **options: Any) -> Dataset:
    given = {"source": source, "clients": 3, "minimum": 1, "validation": 0, "test": 0} | options
    return data.load(Sent140Data.model_validate(given), 7)


def test_tweets_of_users(tmp_path: Path) -> None:
    dataset = loaded(write(tmp_path / "t.jsonl", TWEETS))
    assert dataset.manifest.clients == ("ann", "bob", "cid")
    assert {shard.client: {e.prompt: e.answer for e in shard.train} for shard in dataset.shards} == {
        "ann": {
            "Tweet:a0\nSentiment:": "negative",
            "Tweet:a1\nSentiment:": "positive",
            "Tweet:a3\nSentiment:": "negative",
        },
        "bob": {"Tweet:b0\nSentiment:": "positive", "Tweet:b1\nSentiment:": "negative"},
        "cid": {"Tweet:c0\nSentiment:": "negative"},
    }
    assert dataset.label_sets == {"": LabelSet(("negative", "positive"), ("negative", "positive"))}
    assert dataset.notes == (
        "1 of 9 rows have no value in column 'text'; they are left out.",
        "1 of 9 rows have no value in column 'user'; they are left out.",
        "1 of 7 tweets are neutral; they are left out.",
    )


def test_the_users_with_most_tweets(tmp_path: Path) -> None:
    source = write(tmp_path / "t.jsonl", TWEETS)
    dataset = loaded(source, clients=1, public_clients=1, maximum=1)
    assert dataset.manifest.clients == ("bob",)
    mine = [Example("Tweet:b0\nSentiment:", "positive"), Example("Tweet:b1\nSentiment:", "negative")]
    assert dataset.shards[0].train == (draw("bob", mine, 1, 7)[0],)
    assert [example.prompt[6:8] for example in dataset.public] == ["a0", "a1", "a3"]


def test_errors(tmp_path: Path) -> None:
    source = write(tmp_path / "t.jsonl", TWEETS)
    strange = write(tmp_path / "strange.jsonl", [*TWEETS, ("eve", 3, "what")])
    texts = write(tmp_path / "texts.jsonl", [("eve", "positive", "what")])
    for options, message in (
        ({"source": strange}, r"column 'sentiment' of .*strange\.jsonl holds '3'; a sentiment is 0 \(negative\)"),
        ({"source": texts}, r"column 'sentiment' of .*texts\.jsonl holds 'positive'; a sentiment is 0"),
        ({"source": source, "prompt": "{text}{mood}"}, r"has no column 'mood'; its columns are text, date, user, sentiment"),
        (
            {"source": source, "minimum": 2},
            r"data\.clients: 3 clients asked for, .*t\.jsonl has 2\. .*1 of 3 clients have fewer than data\.minimum = 2",
        ),
        (
            {"source": "microblog", "clients": 261},
            r"data\.clients: 261 clients asked for, microblog has 260\. .*data\.config is how many",
        ),
        ({"source": "microblog", "config": "main"}, r"data\.config: of microblog it is how many people write, .*not 'main'"),
        ({"source": "microblog", "config": 0}, r"data\.config: of microblog it is how many people write, .*not '0'"),
        ({"source": "microblog", "split": "test"}, r"data\.split: microblog has no split 'test', only 'train'"),
    ):
        with pytest.raises(InputError, match=message):
            loaded(**options)


def test_the_real_sample(shared_folder: Path) -> None:
    folder = shared_folder / "data" / "sentiment140"
    if not folder.is_dir():
        pytest.skip("no Sentiment140 in ../shared/data/sentiment140")
    rows = pq.read_table(folder / "sentiment140" / "train.parquet").to_pylist()
    counts = Counter(row["user"] for row in rows)
    assert sum(count >= 5 for count in counts.values()) == 311
    dataset = loaded(str(folder), config="sentiment140", clients=311, minimum=5)
    assert dataset.manifest.clients == tuple(sorted(user for user, count in counts.items() if count >= 5))
    user = max(counts, key=counts.__getitem__)
    mine = [row for row in rows if row["user"] == user]
    assert Counter(dataset.shard(user).train) == Counter(
        Example(f"Tweet:{row['text']}\nSentiment:", {0: "negative", 4: "positive"}[row["sentiment"]]) for row in mine
    )
    with pytest.raises(InputError, match=r"data\.clients: 312 clients asked for, .* has 311\."):
        loaded(str(folder), config="sentiment140", clients=312, minimum=5)
