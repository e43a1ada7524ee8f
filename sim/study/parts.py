"""The store of parts of a study: what is a function of one client and the base model alone is worked out once.

A part is a file of arrays and facts, named by a digest of everything that decides its bits: base model, shard, rule, tuning,
seed, grid, device, threads and versions. It is bounded: parts that were not read for longest are erased first. Whoever
finds a part is charged what it took to make it.
"""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from clients.data.shards import SIDES, Shard
from clients.exact import digest
from clients.exact.determinism import environment
from clients.exact.files import write_whole
from clients.work.rules import rule_of
from clients.work.site import Site
from sim.study.locks import Locks

MOST = 20_000_000_000
"""Bytes of a store, or half of what is free on the disk if that is less."""
LEFT = 0.9
"""The share of them that is left when parts are erased to make room."""
LOCK = "lock"

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Part:
    """What was found of a part: facts as JSON, and arrays by name."""

    facts: dict[str, Any]
    arrays: Arrays


class Parts:
    """A folder of parts. Several processes may use it at once.

    Args:
        most: bytes that it may hold.
    """

    def __init__(self, folder: Path, most: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.most = min(MOST, shutil.disk_usage(folder).free // 2) if most is None else most
        self.locks = Locks(folder / LOCK)
        self._bytes = sum(size for _, size, _ in self._files())

    def find(self, key: str, names: Iterable[str]) -> Part | None:
        """The part, if it is here with all of these arrays."""
        try:
            with safe_open(self._path(key), framework="numpy") as file:
                there = set(file.keys())
                if not there.issuperset(names):
                    return None
                arrays = {name: file.get_tensor(name) for name in names}
                facts = json.loads(file.metadata()["facts"])
            self._path(key).touch()
        except (OSError, SafetensorError):  # it is not here, or was erased to make room
            return None
        return Part(facts, arrays)

    def has(self, key: str, names: Iterable[str]) -> bool:
        """Whether the part is here with all of these arrays."""
        try:
            with safe_open(self._path(key), framework="numpy") as file:
                return set(file.keys()).issuperset(names)
        except (OSError, SafetensorError):
            return False

    def add(self, key: str, part: Part) -> None:
        """Write a part, beside what is here of it already; the caller holds its lock."""
        old = self._all(key)
        content = save({**old, **part.arrays}, {"facts": json.dumps(part.facts)})
        if len(content) > self.most * LEFT:
            return
        self._bytes += len(content)
        if self._bytes > self.most:
            self._make_room(len(content))
        write_whole(self._path(key), content)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.locks.close()

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"

    def _all(self, key: str) -> Arrays:
        try:
            with safe_open(self._path(key), framework="numpy") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError):
            return {}

    def _files(self) -> list[tuple[float, int, Path]]:
        """Time of the last use, bytes and path of every part."""
        found = []
        for path in self.folder.glob("*/*.safetensors"):
            try:
                stat = path.stat()
            except FileNotFoundError:  # another process has erased it
                continue
            found.append((stat.st_mtime, stat.st_size, path))
        return found

    def _make_room(self, wanted: int) -> None:
        """Erase what was not used for longest, until so many bytes more fit with some room to spare."""
        files = sorted(self._files())
        self._bytes = sum(size for _, size, _ in files) + wanted
        for _, size, path in files:
            if self._bytes <= self.most * LEFT:
                return
            path.unlink(missing_ok=True)
            self._bytes -= size


def erase(folder: Path) -> None:
    """Erase a store of parts: vectors of clients who have been forgotten since are among them."""
    shutil.rmtree(folder, ignore_errors=True)


def world(site: Site) -> str:
    """Digest of everything but a client, a rule and how it tunes that decides the bits of a part."""
    manifest, settings = site.manifest, site.settings
    return digest.of_json(
        {
            "unmerge": version("unmerge"),
            "base": site.model.digest,
            "tuned": digest.of_json(site.model.layout.names),
            "model": settings.model.model_dump(mode="json"),
            "micro_batch": settings.tuning.micro_batch,
            "seed": settings.seed,
            "labels": [[name, one.labels, one.captions] for name, one in sorted(manifest.label_sets.items())],
            "public": [example.key for example in manifest.public],
            "sides": list(manifest.sides),
            "environment": environment(site.model.device),
        }
    )


def tuning_key(site: Site, about: str, client: str, rule: str, phase: str) -> str:
    """Key of what a client contributes under a rule.

    Args:
        about: the ``world`` of the site.
        phase: what is worked out in one is never read in another.
    """
    known, tuning = rule_of(rule), site.settings.tuning
    grid = known.grid(site)
    summed = [grid.bits, grid.largest, grid.most, *known.bounds(site)]
    tuned = tuning.model_dump(mode="json") if known.steps(tuning) else None
    return digest.of_json([phase, about, rule, tuned, summed, _told(site.shard(client))])


def score_key(
    site: Site, about: str, client: str, item: Mapping[str, Any], arrays: Mapping[str, np.ndarray], where: Sequence[str]
) -> str:
    """Key of the scores of what a client is served.

    Args:
        where: the part of its data, and the phase.
    """
    served = {name: digest.of_array(array) for name, array in arrays.items()}
    return digest.of_json([list(where), about, dict(item), served, _told(site.shard(client))])


def _told(shard: Shard) -> list[Any]:
    """What a shard says, and how its texts would be shortened."""
    columns = [[list(map(list, example.columns)) for example in shard.side(side)] for side in SIDES]
    return [shard.digest(), columns if any(map(any, columns)) else None]
