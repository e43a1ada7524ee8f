"""The embedded tables: sizes, what gives a label away and what does not, the same in every process."""

import math
import os
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from clients.data import forum, microblog
from clients.data import loaders as data
from clients.data.specs import RedditData, Sent140Data

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def messages() -> list[dict[str, Any]]:
    return microblog.rows(None)


@pytest.fixture(scope="module")
def comments() -> list[dict[str, Any]]:
    return forum.rows(None)


def polarity(rows: list[dict[str, Any]], words: list[str]) -> dict[str, set[int]]:
    """For each word, the sentiments of the messages that it is in."""
    found = defaultdict(set)
    for row in rows:
        for word in set(row["text"].split()) & set(words):
            found[word].add(row["sentiment"])
    return dict(found)


def test_sizes_of_microblog(messages: list[dict[str, Any]]) -> None:
    counts = Counter(row["user"] for row in messages)
    assert len(counts) == 260
    assert (min(counts.values()), max(counts.values())) == (12, 70)
    assert {len(row["text"].split()) for row in messages} == set(range(4, 9))
    assert 0.45 < sum(row["sentiment"] == 4 for row in messages) / len(messages) < 0.55
    assert list(messages[0]) == ["text", "date", "user", "sentiment", "query"]


@pytest.mark.parametrize(("source", "who", "what"), [(microblog, "user", "text"), (forum, "author", "body")])
def test_more_people_write_beside_those_of_before(source: Any, who: str, what: str) -> None:
    def written(config: str | None) -> dict[str, Counter[str]]:
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for row in source.rows(config):
            found[row[who]][row[what]] += 1
        return found

    few, usual, many = written("7"), written(None), written("700")
    assert (len(few), len(usual), len(many)) == (7, 260, 700)
    assert few.items() <= usual.items() <= many.items()
    assert usual == written("260")
    assert sum(name[-1] == "2" for name in many) == min(700 - {"user": 400, "author": 360}[who], 360)
    assert len(data.load(Sent140Data(source="microblog", config=600, clients=500, public_clients=16), 1).shards) == 500


def test_words_are_told_apart() -> None:
    """No word is in two roles, so that a word means what the text above says of its role."""
    chatter = {word for phrase in microblog.PHRASES for word in phrase}
    roles = [*microblog.SLANG.values(), *microblog.OPINIONS.values(), microblog.LISTS["topics"], list(chatter)]
    every = [word for words in roles for word in words]
    assert len(set(every)) == len(every)
    assert [len(words) for words in microblog.SLANG.values()] == [75, 75]
    topics = [word for words in forum.SUBREDDITS.values() for word in words]
    assert len(set(topics)) == len(topics) == 300
    assert not set(topics) & {word for phrase in forum.PHRASES for word in phrase}


def test_slang_is_everybodys_and_habits_are_ones_own(messages: list[dict[str, Any]]) -> None:
    for good, value in ((True, 4), (False, 0)):
        words = microblog.SLANG[good] + microblog.OPINIONS[good]
        assert polarity(messages, words) == {word: {value} for word in words}
    topics = microblog.LISTS["topics"]
    assert polarity(messages, topics) == {word: {0, 4} for word in topics}
    users = defaultdict(list)
    for row in messages:
        users[row["user"]].append(row)
    for mine in users.values():
        habits = polarity(mine, topics)
        assert 1 <= len(habits) <= 4
        assert all(len(values) == 1 for values in habits.values())
        slang = polarity(mine, microblog.SLANG[True] + microblog.SLANG[False])
        assert len(slang) <= 24


def test_heavy_users_keep_to_old_slang(messages: list[dict[str, Any]]) -> None:
    counts = Counter(row["user"] for row in messages)
    for good in (True, False):
        new = set(microblog.SLANG[good][30:])
        users = {row["user"] for row in messages if new & set(row["text"].split())}
        assert max(counts[user] for user in users) < 60
        assert len(users) > 150


def test_forum_authors_write_in_two_subreddits(comments: list[dict[str, Any]]) -> None:
    counts = Counter(row["author"] for row in comments)
    where = defaultdict(set)
    for row in comments:
        where[row["author"]].add(row["subreddit"])
    assert len(counts) == 260
    assert (min(counts.values()), max(counts.values())) == (15, 60)
    assert {len(mine) for mine in where.values()} == {2}
    assert len({frozenset(mine) for mine in where.values()}) > 40  # of 45 pairs
    topics = [word for words in forum.SUBREDDITS.values() for word in words]
    assert {len(set(row["body"].split()) & set(topics)) for row in comments} == {1, 2, 3}
    assert {len(row["body"].split()) for row in comments} == set(range(5, 11))


def test_two_subreddits_are_told_apart_and_ten_are_not(comments: list[dict[str, Any]]) -> None:
    """The best that can be done with known word frequencies: two labels are much easier than ten."""
    names = list(forum.SUBREDDITS)
    place = {word: names.index(name) for name, words in forum.SUBREDDITS.items() for word in words}
    where = defaultdict(set)
    for row in comments:
        where[row["author"]].add(row["subreddit"])

    def share_right(choices: Any) -> float:
        right = 0.0
        for row in comments:
            steps = [place[word] for word in row["body"].split() if word in place]
            chances = {}
            for name in choices(row):
                odds = [dict(enumerate(forum.BORROWED)).get((step - names.index(name)) % 10, 0.0) for step in steps]
                chances[name] = math.prod(odds)
            right += chances[row["subreddit"]] / sum(chances.values())
        return right / len(comments)

    assert share_right(lambda row: where[row["author"]]) > 0.92
    assert share_right(lambda row: names) < 0.72


def test_every_process_makes_the_same_tables(messages: list[dict[str, Any]], comments: list[dict[str, Any]]) -> None:
    script = (
        "import json; from clients.data import forum, microblog; print(json.dumps([microblog.rows(None), forum.rows(None)]))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "5", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    import json

    assert json.loads(done.stdout) == [messages, comments]


def test_they_are_loaded_like_any_others() -> None:
    tweets = Sent140Data(source="microblog", clients=24, public_clients=40, maximum=40)
    one, other = data.load(tweets, 1), data.load(tweets, 2)
    assert len(one.shards) == 24
    assert {len(shard.examples) for shard in one.shards} == {40}
    assert one.public == other.public
    assert one.manifest.clients == other.manifest.clients
    assert not {shard.digest() for shard in one.shards} & {shard.digest() for shard in other.shards}
    posts = data.load(RedditData(source="forum", subreddits=10, clients=200, public_clients=40), 1)
    assert set(posts.label_sets[""].labels) == set(forum.SUBREDDITS)
    assert all(len({example.answer for example in shard.train}) == 2 for shard in posts.shards)
    assert posts.notes[-1] == "40 of 260 clients are set aside as public."
