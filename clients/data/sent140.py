"""Sent140 (Go et al., 2009; a federated data set since LEAF): tweets with their sentiment, users as clients.

The hub's ``stanfordnlp/sentiment140``, a folder in its layout, or the embedded stand-in ``microblog``. Sentiment 0 is
negative and 4 positive; 2, neutral, occurs in the split ``test`` only and is left out. A tweet is used as it is written.
"""

from clients.data.cells import text_of
from clients.data.dataset import Dataset, columns, split_template
from clients.data.population import Population
from clients.data.specs import Sent140Data
from clients.data.texts import Rows, dataset_of, read, with_column
from clients.errors import InputError

NAMES = {"0": "negative", "4": "positive"}
NEUTRAL = "2"
USER = "user"


def load(spec: Sent140Data, seed: int, known: Population | None = None) -> Dataset:
    """Clients are users, named as in the data.

    Raises:
        InputError: source or column missing, or a sentiment that is not 0, 2 or 4.
    """
    answer = split_template(spec.prompt)[1]
    table, _, _, notes, count = read(spec, columns(spec.prompt), [answer, USER])
    values = [text_of(value) for value in table[answer].to_pylist()]
    unknown = sorted(set(values) - {*NAMES, NEUTRAL})
    if unknown:
        raise InputError(
            f"data: column {answer!r} of {spec.source} holds {unknown[0]!r}; a sentiment is 0 (negative), 2 (neutral, left "
            "out) or 4 (positive)"
        )
    rows = [row for row, value in enumerate(values) if value != NEUTRAL]
    if len(rows) < len(values):
        notes.append(f"{len(values) - len(rows)} of {len(values)} tweets are neutral; they are left out.")
    table = with_column(table.take(rows), answer, [NAMES[values[row]] for row in rows])
    return dataset_of(Rows(table, table[USER].to_pylist(), list(NAMES.values()), False, notes, count), spec, seed, known)
