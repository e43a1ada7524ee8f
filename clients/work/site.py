"""Where jobs are done: a source of shards and the base model, open in one process.

``HERE`` is what this process holds open. Sites of several seeds share one model: every job leaves it at its pretrained
values, and a process does one job at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from clients.data import loaders as data
from clients.data.dataset import Dataset
from clients.data.manifest import Manifest
from clients.data.population import Population
from clients.data.shards import Shard
from clients.data.source import ShardRef, Source
from clients.data.specs import DataSpec
from clients.errors import InputError, NotFiniteError
from clients.settings import Settings
from clients.work import anchors
from clients.work.embedding import Embedding

if TYPE_CHECKING:
    from clients.models.flat import BaseModel

MOST = 2
"""Data sets, and sites, that a process holds open."""


@dataclass(frozen=True)
class Site:
    """Where jobs are done: shards by reference, the base model, and the anchors and the embedding that were asked for."""

    settings: Settings
    source: Source
    model: BaseModel
    anchors: dict[int, np.ndarray] = field(default_factory=dict, compare=False)
    embeddings: dict[int, Embedding] = field(default_factory=dict, compare=False)

    @property
    def manifest(self) -> Manifest:
        """What is known of all clients, those whose data lie elsewhere too."""
        return self.source.manifest

    def shard(self, client: ShardRef | str) -> Shard:
        """A client's data; InputError if they are not here."""
        return self.source.shard(client)

    def shards(self) -> Iterator[Shard]:
        """The data of all clients, in the manifest's order; InputError at the first whose are not here."""
        return (self.shard(client) for client in self.manifest.clients)

    @cached_property
    def told(self) -> tuple[str, ...]:
        """Lines for the user: what was assumed of the model, and how many texts are too long for it."""
        longer = texts = 0
        for client in self.manifest.clients:
            with suppress(InputError):  # its data lie elsewhere, or a text cannot be read: told when it is tuned
                examples = self.shard(client).examples
                longer, texts = longer + self.model.shortened(examples), texts + len(examples)
        cut = (
            f"{longer:,} of {texts:,} texts take more than model.max_length = {self.settings.model.max_length} tokens: "
            "their columns lose their beginnings."
        )
        return (*self.model.notes, *([cut] if longer else []))

    def anchors_of(self, count: int) -> np.ndarray:
        """So many anchors, float64 [count, width], made at the first call; InputError where public data are too few."""
        if count not in self.anchors:
            self.anchors[count] = anchors.anchors(self.model, self.manifest.public, count, self.settings.seed)
        return self.anchors[count]

    @property
    def embedding(self) -> Embedding:
        """φ of this seed, made at the first call."""
        seed = self.settings.seed
        if seed not in self.embeddings:
            self.embeddings[seed] = Embedding(self.model, self.manifest, seed)
        return self.embeddings[seed]

    def nearest(self, client: str, count: int) -> int:
        """The number of the anchor, of so many, that a client's training data are nearest to."""
        points = self.anchors_of(count)
        try:
            return anchors.number(self.model, self.shard(client).train, points)
        except NotFiniteError as error:
            raise NotFiniteError(f"client {client}: {error}") from error


class Process:
    """What one process holds open: the data sets used last, one base model, and the sites made of them."""

    def __init__(self) -> None:
        self._datasets: dict[tuple[DataSpec, int, str | None, str | None], Dataset] = {}  # the one used last is the last
        self._model: tuple[str, BaseModel] | None = None
        self._sites: list[Site] = []  # likewise

    def dataset(self, spec: DataSpec, seed: int, own: str | None = None, known: Population | None = None) -> Dataset:
        """The shards of a data section, read only if they are not held.

        Args:
            own: folder or file of this node's own data, read in place of the section's source.
            known: the population that was written down; without one it is inferred from the data.

        Raises:
            InputError: see ``clients.data.loaders``.
        """
        key = (spec, seed, own, None if known is None else known.digest)
        if (held := self._datasets.pop(key, None)) is None:
            self._make_room()
            held = data.load(spec, seed, known) if own is None else data.load_own(spec, seed, own, known)
        self._datasets[key] = held
        return held

    def adopt(self, spec: DataSpec, seed: int, known: Population, dataset: Dataset) -> None:
        """Hold a data set that was just read as that of its population, so that it is not read again for it."""
        self._make_room()
        self._datasets[spec, seed, None, known.digest] = dataset

    def site(self, settings: Settings, source: Source | None = None) -> Site:
        """The site of these settings, over the source if one is given, else over the section's data.

        Raises:
            InputError: data or base model cannot be opened.
        """
        chosen = self.dataset(settings.data, settings.seed, None, settings.population) if source is None else source
        for site in self._sites:
            if site.source is chosen and site.settings == settings:
                self._sites.remove(site)
                break
        else:
            site = Site(settings, chosen, self._model_of(settings, chosen.manifest))
        self._sites = [*self._sites, site][-MOST:]
        return site

    def _model_of(self, settings: Settings, manifest: Manifest) -> BaseModel:
        """The model that is held if it is the right one; another takes its place."""
        from clients.models import loaders as models

        given = settings.model, manifest, settings.device, settings.tuning.micro_batch
        identity = models.identity(*given)
        if self._model is None or self._model[0] != identity:
            self._model, self._sites = None, []  # let go before the next one is loaded: two may not fit
            self._model = (identity, models.load(*given))
        return self._model[1]

    def _make_room(self) -> None:
        """Let go of the data set that was not used for longest, and of the sites that hold it, if there are too many."""
        while len(self._datasets) >= MOST:
            left = self._datasets.pop(next(iter(self._datasets)))
            self._sites = [site for site in self._sites if site.source is not left]


HERE = Process()
"""What this process holds open."""


def open_site(settings: Settings, source: Source | None = None) -> Site:
    """The site of these settings in this process; see ``Process.site``."""
    return HERE.site(settings, source)
