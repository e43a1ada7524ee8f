"""Reddit (LEAF's, or any dump of comments): comments with their subreddit, authors as clients.

A folder, file or hub id with the columns ``author``, ``subreddit`` and ``body``, or the embedded stand-in ``forum``.
Left out are comments that were deleted or removed or are empty, those of bots and of deleted accounts (unless asked
for), and those outside the subreddits that are labels. With a partitioner, comments are dealt instead of authors, as
ClAMU's experiments do (two subreddits for each client, 100 comments).

A bot is told by its name only: AutoModerator, [deleted], [removed]; "bot" or "bots" that no letter follows
(``RemindMeBot``, ``x_bot``, ``xbot2``, ``bot-y``); or Bot where a capital begins a word (``TheBotOfAll``). Abbot, Talbot
and turbot are people, as are ``Abbott``, ``robothead`` and ``botany``. A person called ``mr_robot`` is taken for a bot.
"""

import re

from clients.data.dataset import Dataset, columns
from clients.data.population import Population
from clients.data.specs import RedditData
from clients.data.texts import Rows, asked_labels, dataset_of, read
from clients.errors import InputError

AUTHOR, SUBREDDIT, BODY = "author", "subreddit", "body"
GONE = ("[deleted]", "[removed]")
BOT = re.compile(
    r"^(automoderator|\[deleted\]|\[removed\])$|(?<!ab)(?<!tal)(?<!tur)bots?(?![a-z])|(?-i:(?<![A-Z])Bots?(?![a-z]))", re.I
)


def load(spec: RedditData, seed: int, known: Population | None = None) -> Dataset:
    """Clients are authors, named as in the data, or ``u0, u1, ...`` by a partitioner.

    Raises:
        InputError: source or column missing, or a subreddit that has no comment.
    """
    if columns(spec.prompt)[-1] != SUBREDDIT:
        raise InputError(f"data.prompt: the last column is the label, {{{SUBREDDIT}}}, not {{{columns(spec.prompt)[-1]}}}")
    table, _, _, notes, count = read(spec, [*columns(spec.prompt), BODY], [AUTHOR, SUBREDDIT])
    bodies = table[BODY].to_pylist()
    rows = [row for row, body in enumerate(bodies) if body.strip() and body.strip() not in GONE]
    if len(rows) < len(bodies):
        notes.append(
            f"{len(bodies) - len(rows)} of {len(bodies)} comments are deleted, removed or empty; they are left out."
        )
    if not spec.bots:
        authors = table[AUTHOR].to_pylist()
        bots = {author for author in set(authors) if BOT.search(author)}
        people = [row for row in rows if authors[row] not in bots]
        if len(people) < len(rows):
            found = len({authors[row] for row in rows} & bots)
            notes.append(
                f"{len(rows) - len(people)} comments of {found} authors whose names are those of bots or deleted accounts "
                "are left out (data.bots: true keeps them)."
            )
        rows = people
    table = table.take(rows)
    labels = asked_labels(table[SUBREDDIT].to_pylist(), spec.subreddits, "data.subreddits", spec.source, known)
    chosen = set(labels)
    table = table.take([row for row, label in enumerate(table[SUBREDDIT].to_pylist()) if label in chosen])
    notes.append(f"{len(table)} of {len(rows)} comments are in the {len(labels)} subreddits that are labels.")
    owners = table[AUTHOR].to_pylist() if spec.partitioner is None else None
    return dataset_of(Rows(table, owners, labels, isinstance(spec.subreddits, int), notes, count), spec, seed, known)
