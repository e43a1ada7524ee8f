"""Data sets as shards. One file and one row in ``LOADERS`` (and a section in ``clients.data.specs``) add a family.

A run loads its data without a population once, writes the population down (``written``) and gives it to every later load.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

from clients.data import fiction, hub, images, reddit, sent140, sides, stackoverflow, table, tofu
from clients.data.dataset import Dataset, refound, written
from clients.data.population import Population
from clients.data.shards import Example, Shard
from clients.data.specs import DataSpec, Dealt, ImageData, OutsideData
from clients.errors import InputError

__all__ = ["LOADERS", "Dataset", "Example", "Shard", "load", "load_own", "returning", "written"]

LOADERS: dict[str, tuple[Callable[[Any, int, Population | None], Dataset], str]] = {
    "fiction": (fiction.load, "embedded: fictitious authors, question-answer pairs, answer probability"),
    "tofu": (tofu.load, "TOFU by hub id or folder: 200 fictitious authors, answer probability"),
    "table": (table.load, "any table by hub id, folder or file: label accuracy or answer probability"),
    "sent140": (sent140.load, "tweets, users as clients, sentiment accuracy; source: microblog is embedded"),
    "reddit": (reddit.load, "comments, authors as clients, subreddit accuracy; source: forum is embedded"),
    "stackoverflow": (stackoverflow.load, "posts with a single tag, users as clients, tag accuracy"),
    "images": (images.load, "pictures of one or several sets, class accuracy; source: digits is embedded"),
}

GROWS = "data.config is how many people write in it."


def load(spec: DataSpec, seed: int, known: Population | None = None) -> Dataset:
    """The shards of a data section; the same for the same section, seed and population in every process.

    Under a population nothing is inferred from the data: what it has written down is looked for, and ``Dataset.shard``
    raises for a client whose examples are not all there. This reads the data anew: ``clients.work.site.HERE.dataset`` keeps
    those in use.

    Raises:
        InputError: source missing, column missing, or too few clients; under a population, public examples missing.
    """
    dataset = _load(spec, seed, known)
    if known is None and len(dataset.shards) < spec.clients:
        detail = " ".join([*dataset.notes, *([GROWS] if spec.source in hub.GROWING else [])])
        raise InputError(
            f"data.clients: {spec.clients} clients asked for, {spec.source} has {len(dataset.shards)}. {detail}".strip()
        )
    if lacking := _public_lacking(dataset):
        raise InputError(
            f"{lacking} public examples are not in {_name(spec)} any more; base model and anchors are made of them"
        )
    return dataset


def load_own(spec: DataSpec, seed: int, source: str, known: Population | None = None) -> Dataset:
    """The shards of a data section that lie in a node's own folder or file, however few clients' they are.

    Raises:
        InputError: source or column missing; what the section leaves to the data would differ from node to node, and no
            population says it; or public examples that the population has are not there.
    """
    dataset = LOADERS[spec.family][0](_kept_at(spec, source, known), seed, known)
    if lacking := _public_lacking(dataset):
        raise InputError(
            f"data-source: {lacking} public examples are not in {source}; put the rows of the public clients beside the "
            "node's own, or set data.public_clients: 0 and give model.base a pretrained model"
        )
    return dataset if dataset.findings is None else replace(dataset, findings=replace(dataset.findings, elsewhere=True))


def returning(spec: DataSpec, seed: int, known: Population) -> Callable[[str], Shard]:
    """Client to its shard as it comes back after it was forgotten; the data are read when the first is asked for.

    Where a column names clients, the shard is what the client's rows make now. Otherwise it is what a load without a
    population makes, if that is the shard that the client had: a partitioner deals the same way only while the table is the
    same.

    Raises:
        InputError, when a client is asked for: it is not of the population, or has no rows; a label is new; or the shard is
            not what it was.
    """
    by_column = isinstance(spec, Dealt) and _by_column(spec)
    dataset = cache(lambda: _load(spec, seed, known) if by_column else load(spec, seed))

    def shard_of(client: str) -> Shard:
        if client not in known.clients:
            raise InputError(f"client {client} may not take part: the population was fixed when the run started")
        if isinstance(spec, Dealt) and by_column:
            return _from_rows(dataset(), spec, seed, known, client)
        try:
            shard = dataset().shard(client)
        except InputError as error:
            raise InputError(f"client {client} cannot come back: its shard cannot be made again ({error})") from error
        if shard.digest() != known.shards.get(client):
            raise InputError(
                f"client {client} cannot come back: {_name(spec)} does not deal it the shard that it had; rows were added "
                "or removed, or some of its examples were forgotten"
            )
        return shard

    return shard_of


def _load(spec: DataSpec, seed: int, known: Population | None) -> Dataset:
    if not isinstance(spec, OutsideData):
        return LOADERS[spec.family][0](spec, seed, known)
    made: Dataset = spec.load(seed)
    return made if known is None else refound(made, known, _name(spec))


def _from_rows(dataset: Dataset, spec: Dealt, seed: int, known: Population, client: str) -> Shard:
    """What a client's rows make now, under the label sets of the population."""
    examples = list(dataset.ordered(client)) if dataset.ordered is not None else []
    if not examples:
        raise InputError(f"client {client} cannot come back: it has no rows in {_name(spec)}")
    shard = sides.shard(client, examples, spec, seed)
    for example in shard.examples if known.label_sets else ():
        if example.answer not in known.label_sets[example.label_set].labels:
            raise InputError(
                f"client {client} cannot come back: its label {example.answer!r} is not one of those that the run has"
            )
    return shard


def _by_column(spec: Dealt) -> bool:
    """Whether a column names clients; a family without the key has a column of its own, unless a partitioner is given."""
    if getattr(spec, "partitioner", None) is not None:
        return False
    return not isinstance(spec, ImageData) or spec.client_column is not None


def _name(spec: Any) -> str:
    return str(spec.source or spec.family)


def _public_lacking(dataset: Dataset) -> str:
    """As ``3 of the 40``; empty where no public example is missing."""
    known = dataset.findings.population.public if dataset.findings is not None else None
    missing = len(known) - len(dataset.public) if known is not None else 0
    return f"{missing} of the {len(known or ())}" if missing else ""


def _kept_at(spec: DataSpec, source: str, known: Population | None) -> DataSpec:
    """The section as a node reads it whose rows are only its own.

    Raises:
        InputError: names of clients, labels or public examples would follow from these rows, and from others elsewhere.
    """
    if isinstance(spec, ImageData) or not isinstance(spec, Dealt):
        raise InputError(
            f"data-source: a node's own data are rows that name their client, which data.family: {spec.family} "
            "does not read from one source; take table, sent140, reddit or stackoverflow"
        )
    kept = spec.model_copy(update={"source": source})
    if known is not None:
        return kept
    if getattr(spec, "partitioner", None) is not None:
        raise InputError("data-source: data.partitioner deals the rows of all nodes; name a column of clients")
    if spec.public_clients:
        raise InputError(
            "data-source: data.public_clients would make some of a node's own clients public; set it to 0, and "
            "give model.base a pretrained model"
        )
    for key in ("labels", "subreddits", "tags"):
        asked = getattr(spec, key, False)
        if isinstance(asked, int) and asked is not False:
            raise InputError(
                f"data-source: data.{key}: {str(asked).lower()} chooses labels by the rows, of which a node with "
                "its own data has only its own; list them"
            )
    return kept
