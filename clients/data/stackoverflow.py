"""Stack Overflow: posts with a single tag, users as clients, the tag as label.

The hub's ``mikex86/stackoverflow-posts``, or a folder or file with such columns; which ones hold user and tags is said
in the scenario. A post is used if it has exactly one tag in all and that tag is a label: with several, none of them would
be *the* answer. HTML in a post is reduced to its text; text without tags stays as it is, ``a < b`` included.
"""

import re
from collections.abc import Sequence
from html.parser import HTMLParser

from clients.data.dataset import Dataset, columns
from clients.data.population import Population
from clients.data.specs import StackOverflowData
from clients.data.texts import Rows, asked_labels, dataset_of, read, with_column
from clients.errors import InputError

TAG = "tag"
HTML = re.compile(  # tags that posts have; List<String> in a text without HTML is none
    r"</?(?:a|b|blockquote|br|code|del|div|dd|dl|dt|em|h[1-6]|hr|i|img|kbd|li|ol|p|pre|s|span|strike|strong|su[bp]|table|"
    r"tbody|t[dhr]|thead|ul)\b[^<>]*>",
    re.I,
)
BLOCKS = {"p", "br", "li", "ul", "ol", "pre", "div", "tr", "td", "th", "hr", "blockquote", *(f"h{n}" for n in range(1, 7))}


def load(spec: StackOverflowData, seed: int, known: Population | None = None) -> Dataset:
    """Clients are users, named as in the data.

    Raises:
        InputError: source or column missing, a prompt that does not end with ``tag``, or a tag that no post has alone.
    """
    *used, answer = columns(spec.prompt)
    if answer != TAG:
        raise InputError(f"data.prompt: the last column is the label, {{{TAG}}}, not {{{answer}}}")
    table, _, _, notes, count = read(spec, [*used, spec.tags_column], [spec.user_column])
    tags = [_tags(value) for value in table[spec.tags_column].to_pylist()]
    single = [row for row, mine in enumerate(tags) if len(mine) == 1]
    notes.append(f"{len(single)} of {len(tags)} posts have exactly one tag.")
    labels = asked_labels([tags[row][0] for row in single], spec.tags, "data.tags", spec.source, known)
    chosen = set(labels)
    rows = [row for row in single if tags[row][0] in chosen]
    notes.append(f"{len(rows)} of them have one of the {len(labels)} tags that are labels.")
    table = with_column(table.take(rows), TAG, [tags[row][0] for row in rows])
    owners, inferred = table[spec.user_column].to_pylist(), isinstance(spec.tags, int)
    return dataset_of(Rows(table, owners, labels, inferred, notes, count, plain_text), spec, seed, known)


def plain_text(text: str) -> str:
    """The text of a piece of HTML, white space joined; a text without HTML tags stays as it is."""
    if not HTML.search(text):
        return text
    reader = _Reader()
    reader.feed(text)
    reader.close()
    return " ".join("".join(reader.pieces).split())


class _Reader(HTMLParser):
    """Collects text; where a block begins or ends, words are kept apart."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in BLOCKS:
            self.pieces.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in BLOCKS:
            self.pieces.append(" ")

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)


def _tags(value: str | Sequence[str]) -> list[str]:
    """Tags of a post: a list of them, or one text as in ``<a><b>``, ``a b``, ``a|b`` or ``a,b``."""
    return [tag for tag in re.split(r"[<>|,\s]+", value) if tag] if isinstance(value, str) else list(value)
