"""Data sets as shards. One file and one row in ``LOADERS`` (and a section in ``clients.data.specs``) add a family."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from clients.data import fiction, images, reddit, sent140, stackoverflow, table, tofu
from clients.data.dataset import Dataset, Example, Shard
from clients.data.specs import DataSpec
from clients.errors import InputError

__all__ = ["LOADERS", "Dataset", "Example", "Shard", "load"]

LOADERS: dict[str, tuple[Callable[[Any, int], Dataset], str]] = {
    "fiction": (fiction.load, "embedded: fictitious authors, question-answer pairs, answer probability"),
    "tofu": (tofu.load, "TOFU by hub id or folder: 200 fictitious authors, answer probability"),
    "table": (table.load, "any table by hub id, folder or file: label accuracy or answer probability"),
    "sent140": (sent140.load, "tweets, users as clients, sentiment accuracy; source: microblog is embedded"),
    "reddit": (reddit.load, "comments, authors as clients, subreddit accuracy; source: forum is embedded"),
    "stackoverflow": (stackoverflow.load, "posts with a single tag, users as clients, tag accuracy"),
    "images": (images.load, "pictures of one or several sets, class accuracy; source: digits is embedded"),
}


@lru_cache(maxsize=2)
def load(spec: DataSpec, seed: int) -> Dataset:
    """The shards of a data section; the same for the same section and seed in every process.

    Raises:
        InputError: source missing, column missing, or too few clients.
    """
    dataset = LOADERS[spec.family][0](spec, seed)
    if len(dataset.shards) < spec.clients:
        detail = " ".join(dataset.notes)
        raise InputError(
            f"data.clients: {spec.clients} clients asked for, {spec.source} has {len(dataset.shards)}. {detail}".strip()
        )
    return dataset
