"""Data sets as shards. One file and one row in ``LOADERS`` (and a section in ``clients.data.specs``) add a family."""

from collections.abc import Callable
from typing import Any

from clients.data import fiction, images, reddit, sent140, stackoverflow, table, tofu
from clients.data.dataset import Dataset
from clients.data.shards import Example, Shard
from clients.data.specs import DataSpec, Dealt, ImageData, OutsideData
from clients.errors import InputError

__all__ = ["LOADERS", "Dataset", "Example", "Shard", "load", "load_own"]

LOADERS: dict[str, tuple[Callable[[Any, int], Dataset], str]] = {
    "fiction": (fiction.load, "embedded: fictitious authors, question-answer pairs, answer probability"),
    "tofu": (tofu.load, "TOFU by hub id or folder: 200 fictitious authors, answer probability"),
    "table": (table.load, "any table by hub id, folder or file: label accuracy or answer probability"),
    "sent140": (sent140.load, "tweets, users as clients, sentiment accuracy; source: microblog is embedded"),
    "reddit": (reddit.load, "comments, authors as clients, subreddit accuracy; source: forum is embedded"),
    "stackoverflow": (stackoverflow.load, "posts with a single tag, users as clients, tag accuracy"),
    "images": (images.load, "pictures of one or several sets, class accuracy; source: digits is embedded"),
}


def load(spec: DataSpec, seed: int) -> Dataset:
    """The shards of a data section; the same for the same section and seed in every process.

    This reads them anew: ``clients.work.site.HERE.dataset`` keeps those in use.

    Raises:
        InputError: source missing, column missing, or too few clients.
    """
    dataset: Dataset = spec.load(seed) if isinstance(spec, OutsideData) else LOADERS[spec.family][0](spec, seed)
    if len(dataset.shards) < spec.clients:
        detail = " ".join(dataset.notes)
        raise InputError(
            f"data.clients: {spec.clients} clients asked for, {spec.source} has {len(dataset.shards)}. {detail}".strip()
        )
    return dataset


def load_own(spec: DataSpec, seed: int, source: str) -> Dataset:
    """The shards of a data section that lie in a node's own folder or file, however few clients' they are.

    Raises:
        InputError: source or column missing, or what the section leaves to the data would differ from node to node.
    """
    return LOADERS[spec.family][0](_kept_at(spec, source), seed)


def _kept_at(spec: DataSpec, source: str) -> DataSpec:
    """The section as a node reads it whose rows are only its own.

    Raises:
        InputError: names of clients, labels or public examples would follow from these rows, and from others elsewhere.
    """
    if isinstance(spec, ImageData) or not isinstance(spec, Dealt):
        raise InputError(
            f"data-source: a node's own data are rows that name their client, which data.family: {spec.family} "
            "does not read from one source; take table, sent140, reddit or stackoverflow"
        )
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
    return spec.model_copy(update={"source": source})
