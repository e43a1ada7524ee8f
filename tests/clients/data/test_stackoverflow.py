"""Stack Overflow: single tags in every notation, HTML to text, errors."""

import json
from pathlib import Path
from typing import Any

import pytest

from clients.data import loaders as data
from clients.data.dataset import Dataset, Example, LabelSet
from clients.data.specs import StackOverflowData
from clients.data.stackoverflow import plain_text
from clients.errors import InputError

POSTS: list[tuple[int | None, list[str], str]] = [  # user, tags, body
    (1, ["python"], "<p>How do I <b>sort</b> a list?</p>"),
    (1, ["c#"], "one"),
    (2, ["python", "list"], "two tags"),
    (2, ["python"], "if a < b and c > d"),
    (2, [".net"], "three"),
    (1, [], "none"),
    (3, ["python"], "four"),
    (None, ["python"], "nobody's"),
    (3, ["c#"], "five"),
    (2, ["c++"], "six"),
]
NOTATIONS = {
    "list": lambda tags: tags,
    "angles": lambda tags: "".join(f"<{tag}>" for tag in tags),
    "spaces": " ".join,
    "bars": "|".join,
    "commas": ", ".join,
}


def write(path: Path, notation: str = "list") -> str:
    rows = [{"OwnerUserId": user, "Tags": NOTATIONS[notation](tags), "Body": body} for user, tags, body in POSTS]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def loaded(source: str, **options: Any) -> Dataset:
    given = {"source": source, "clients": 3, "minimum": 1, "validation": 0, "test": 0, "tags": 2} | options
    return data.load(StackOverflowData.model_validate(given), 7)


@pytest.mark.parametrize("notation", NOTATIONS)
def test_posts_with_a_single_tag(tmp_path: Path, notation: str) -> None:
    dataset = loaded(write(tmp_path / "posts.jsonl", notation))
    assert {shard.client: set(shard.train) for shard in dataset.shards} == {
        "1": {Example("Post:How do I sort a list?\nTag:", "python"), Example("Post:one\nTag:", "c#")},
        "2": {Example("Post:if a < b and c > d\nTag:", "python")},
        "3": {Example("Post:four\nTag:", "python"), Example("Post:five\nTag:", "c#")},
    }
    assert dataset.label_sets == {"": LabelSet(("python", "c#"), ("python", "c#"))}
    assert dataset.notes == (
        "1 of 10 rows have no value in column 'OwnerUserId'; they are left out.",
        "7 of 9 posts have exactly one tag.",
        "5 of them have one of the 2 tags that are labels.",
    )


def test_a_list_of_tags_and_other_columns(tmp_path: Path) -> None:
    path = tmp_path / "other.jsonl"
    rows = [{"who": "ann", "about": "b", "title": "T<i>1</i>"}, {"who": "ann", "about": "a", "title": "T2"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = {"user_column": "who", "tags_column": "about", "prompt": "{title} by {who} is about {tag}", "clients": 1}
    dataset = loaded(str(path), tags=["b", "a"], **options)
    assert set(dataset.shards[0].train) == {Example("T1 by ann is about ", "b"), Example("T2 by ann is about ", "a")}
    assert dataset.label_sets[""].labels == ("b", "a")


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("no tags, a < b > c & d &amp; e", "no tags, a < b > c & d &amp; e"),
        ("List<String> of T", "List<String> of T"),
        ("<p>a</p><p>b</p>", "a b"),
        ("<p>x &lt; y &amp;&amp; z</p>\n\n<pre><code>for i in a:\n    f(i)</code></pre>", "x < y && z for i in a: f(i)"),
        ('<p>see <a href="https://example.org/?a=1&b=2">this</a>.<br>ok</p>', "see this. ok"),
        ("<ul><li>one</li><li>two</li></ul>", "one two"),
        ("<b>half", "half"),
    ],
)
def test_plain_text(text: str, plain: str) -> None:
    assert plain_text(text) == plain


def test_errors(tmp_path: Path) -> None:
    source = write(tmp_path / "posts.jsonl")
    for options, message in (
        ({"prompt": "{tag}: {Body}"}, r"data\.prompt: the last column is the label, {tag}, not {Body}"),
        ({"prompt": "{Title}{tag}"}, r"has no column 'Title'; its columns are OwnerUserId, Tags, Body"),
        ({"user_column": "user"}, r"has no column 'user'"),
        ({"tags_column": "tags"}, r"has no column 'tags'"),
        ({"tags": ["python", "list"]}, r"data\.tags: .*posts\.jsonl has no usable row of 'list'"),
        ({"tags": 5}, r"data\.tags: 5 asked for, .*posts\.jsonl has usable rows of 4"),
        (
            {"minimum": 2},
            r"data\.clients: 3 clients asked for, .* has 2\. .* 1 of 3 clients have fewer than data\.minimum = 2",
        ),
    ):
        with pytest.raises(InputError, match=message):
            loaded(source, **options)
