"""Where state lies: files by name. Parts and strategies reach them through a ``Store`` alone, whoever keeps the files.

``Folder`` writes through at once. ``Memory`` is for dry runs, which would write thousands of files for nothing. A store that
holds everything back until it is told to commit has the same methods.

Files of one client are called by a digest of its name (``called``), so that any text is a name: long ones, those with a
slash, and those that differ in upper and lower case alone.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from clients.errors import InputError
from clients.exact.exact_sum import read_safetensors
from clients.exact.files import write_whole


def called(client: str) -> str:
    """What files of a client are called: 32 hexadecimal digits (128 bits) of the SHA-256 of its name."""
    return hashlib.sha256(client.encode()).hexdigest()[:32]


class Store(Protocol):
    """Files by name; a name may have folders before it, as in ``clients/vectors/NAME.safetensors``."""

    def sizes(self) -> dict[str, int]:
        """Bytes of every file, by name, sorted."""
        ...

    def has(self, name: str) -> bool:
        """Whether there is a file of that name."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Put a file in the place of the old one of that name."""
        ...

    def read(self, name: str) -> bytes:
        """A file's content; InputError if it is missing."""
        ...

    def erase(self, name: str) -> None:
        """Delete a file, if it is there."""
        ...

    def path(self, name: str) -> Path:
        """Where a file lies now, or would lie, to map it into memory and to name it in messages."""
        ...

    def scratch(self) -> AbstractContextManager[str]:
        """A folder that is gone at the end of the block."""
        ...

    def at(self, prefix: str) -> "Store":
        """The same files, seen from a folder among them."""
        ...


class Folder:
    """Files in a folder, written at once. A folder below it that has become empty is removed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def sizes(self) -> dict[str, int]:
        return dict(sorted(_sizes(self.folder, ""))) if self.folder.is_dir() else {}

    def has(self, name: str) -> bool:
        return self.path(name).is_file()

    def write(self, name: str, content: bytes) -> None:
        write_whole(self.path(name), content)

    def read(self, name: str) -> bytes:
        try:
            return self.path(name).read_bytes()
        except OSError as error:
            raise InputError(f"{self.path(name)}: cannot be read ({error})") from error

    def erase(self, name: str) -> None:
        path = self.path(name)
        path.unlink(missing_ok=True)
        while (path := path.parent) != self.folder:
            try:
                path.rmdir()
            except OSError:  # something is left in it, or it was never there
                return

    def path(self, name: str) -> Path:
        return self.folder / name

    def scratch(self) -> AbstractContextManager[str]:
        self.folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix="scratch-", dir=self.folder)

    def at(self, prefix: str) -> Self:
        return type(self)(self.folder / prefix)


class Memory:
    """Files that are gone with the process."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}

    def sizes(self) -> dict[str, int]:
        return {name: len(self.content[name]) for name in sorted(self.content)}

    def has(self, name: str) -> bool:
        return name in self.content

    def write(self, name: str, content: bytes) -> None:
        self.content[name] = content

    def read(self, name: str) -> bytes:
        try:
            return self.content[name]
        except KeyError as error:
            raise InputError(f"{name}: there is no such file in memory") from error

    def erase(self, name: str) -> None:
        self.content.pop(name, None)

    def path(self, name: str) -> Path:
        raise NotImplementedError(f"{name} lies in memory alone")

    def scratch(self) -> AbstractContextManager[str]:
        return tempfile.TemporaryDirectory(prefix="unmerge-")

    def at(self, prefix: str) -> Store:
        return Within(self, prefix)


class Within:
    """A folder in a store, seen as a store."""

    def __init__(self, store: Store, prefix: str) -> None:
        self.store, self.prefix = store, f"{prefix}/"

    def sizes(self) -> dict[str, int]:
        found = self.store.sizes().items()
        return {name.removeprefix(self.prefix): size for name, size in found if name.startswith(self.prefix)}

    def has(self, name: str) -> bool:
        return self.store.has(self.prefix + name)

    def write(self, name: str, content: bytes) -> None:
        self.store.write(self.prefix + name, content)

    def read(self, name: str) -> bytes:
        return self.store.read(self.prefix + name)

    def erase(self, name: str) -> None:
        self.store.erase(self.prefix + name)

    def path(self, name: str) -> Path:
        return self.store.path(self.prefix + name)

    def scratch(self) -> AbstractContextManager[str]:
        return self.store.scratch()

    def at(self, prefix: str) -> Store:
        return Within(self.store, self.prefix + prefix)


def write_arrays(store: Store, name: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Store arrays as a safetensors file."""
    store.write(name, save({key: np.ascontiguousarray(array) for key, array in arrays.items()}))


def read_arrays(store: Store, name: str) -> dict[str, np.ndarray]:
    """All arrays of a safetensors file; InputError if it is missing or damaged."""
    try:
        path = store.path(name)
    except NotImplementedError:
        return _parsed(store, name)
    return read_safetensors(path)  # without a second copy in memory


def write_vector(store: Store, name: str, vector: np.ndarray) -> None:
    """Store a vector, fp32 [n], as a safetensors file of one array, ``value``."""
    write_arrays(store, name, {"value": vector})


def read_vector(store: Store, name: str) -> np.ndarray:
    """A vector, fp32 [n]; InputError if its file is missing or damaged."""
    return read_arrays(store, name)["value"]


def _parsed(store: Store, name: str) -> dict[str, np.ndarray]:
    try:
        return load(store.read(name))
    except SafetensorError as error:
        raise InputError(f"{name}: cannot be read as safetensors ({error})") from error


def _sizes(folder: Path | str, prefix: str) -> Iterator[tuple[str, int]]:
    """Names, after a prefix, and bytes of all files below a folder."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _sizes(entry.path, f"{prefix}{entry.name}/")
            else:
                yield prefix + entry.name, entry.stat().st_size
