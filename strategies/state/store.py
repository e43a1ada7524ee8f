"""Where a strategy's own files are: a folder, or memory alone for a dry run, which would write thousands for nothing."""

import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import numpy as np
from safetensors.numpy import load, save

from clients.errors import InputError
from clients.exact.exact_sum import read_safetensors
from clients.exact.files import write_whole


class Store(Protocol):
    """Files by name; names may have a folder before them."""

    def sizes(self) -> dict[str, int]:
        """Bytes of every mask and vector, by name, sorted."""
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

    def scratch(self) -> AbstractContextManager[str]:
        """A folder that is gone at the end of the block."""
        ...


class Folder:
    """Masks and vectors in a folder, and in its folder ``clients`` those of one client alone."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def sizes(self) -> dict[str, int]:
        patterns = ("*.bits", "*.safetensors", "clients/*.bits")
        found = sorted(path for pattern in patterns for path in self.path.glob(pattern))
        return {path.relative_to(self.path).as_posix(): path.stat().st_size for path in found}

    def has(self, name: str) -> bool:
        return (self.path / name).exists()

    def write(self, name: str, content: bytes) -> None:
        write_whole(self.path / name, content)

    def read(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise InputError(f"{self.path / name}: cannot be read ({error})") from error

    def erase(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def scratch(self) -> AbstractContextManager[str]:
        self.path.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix="scratch-", dir=self.path)


class Memory:
    """The same, gone with the process."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}

    def sizes(self) -> dict[str, int]:
        return {name: len(self.content[name]) for name in sorted(self.content) if not name.endswith(".json")}

    def has(self, name: str) -> bool:
        return name in self.content

    def write(self, name: str, content: bytes) -> None:
        self.content[name] = content

    def read(self, name: str) -> bytes:
        return self.content[name]

    def erase(self, name: str) -> None:
        self.content.pop(name, None)

    def scratch(self) -> AbstractContextManager[str]:
        return tempfile.TemporaryDirectory(prefix="unmerge-")


def write_vector(store: Store, name: str, vector: np.ndarray) -> None:
    """Store a vector, fp32 [n], as a safetensors file of one array, ``value``."""
    store.write(name, save({"value": vector}))


def read_vector(store: Store, name: str) -> np.ndarray:
    """A vector, fp32 [n]; InputError if its file is missing or damaged."""
    if isinstance(store, Folder):
        return read_safetensors(store.path / name)["value"]
    return load(store.read(name))["value"]
