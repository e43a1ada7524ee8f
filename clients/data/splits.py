"""Which files of a folder are which split, and which rows a split such as ``train[:10%]+test`` takes.

A folder whose README says it (``configs``) is read as it says. Any other one by names, of which only these tell splits:

- Each file lies in a folder called ``train``, ``validation`` or ``test`` (or another word for it, as ``dev``).
- Files of tables are called so themselves, ``train.csv``, ``train_0.csv`` or ``data/train-00000-of-00001.parquet``: each of
  them, or one of them ``train``. What is called otherwise is then of no split.

Else all files are the split ``train``, whatever stands in their names: ``test_users.csv`` beside ``users.csv`` is no split,
and neither is ``train/`` beside ``bus/``, which are classes of pictures.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from clients.errors import some

WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
SPLITS = {word: split for split, words in WORDS.items() for word in words}
SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}(?:-[^-]*)?")
NUMBERED = re.compile(r"([a-z]+)(?:[-_ ]?\d+)?")
SHOWN = 3
"""Files that a note names."""


class Part(NamedTuple):
    """Rows of a split: ``start`` up to, without it, ``stop``."""

    split: str
    start: int
    stop: int


def splits_of(folder: Path, files: Sequence[Path], pictures: bool) -> dict[str, list[Path]]:
    """Split to its files, in their order; train, validation and test come first, as the library has them.

    Args:
        pictures: whether the names of files say nothing, as those of pictures.
    """
    for way in [_by_folder] if pictures else [_by_shard, _by_folder, _by_name]:
        found = [way(file.relative_to(folder)) for file in files]
        if all(found) or ("train" in found and way is not _by_folder):
            names = [name for name in dict.fromkeys((*WORDS, *found)) if name and name in found]
            return {name: [file for file, its in zip(files, found, strict=True) if its == name] for name in names}
    return {"train": list(files)}


def parts(split: str, lengths: Mapping[str, int]) -> list[Part]:
    """The rows that a split asks for, of splits of these lengths.

    Raises:
        ValueError: there is no such split, or it cannot be understood.
    """
    import datasets

    found = datasets.ReadInstruction.from_spec(split).to_absolute(dict(lengths))
    return [Part(one.splitname, one.from_ or 0, lengths[one.splitname] if one.to is None else one.to) for one in found]


def told(split: str, read: Sequence[Path], files: Sequence[Path], folder: Path) -> list[str]:
    """A note on which files of a folder were read and which were not; none where there is only one."""
    left = [file for file in files if file not in set(read)]
    if len(files) < 2:
        return []
    if not left:
        return [f"All {len(read)} files are read as split {split}: {_some(read, folder)}."]
    return [f"Split {split} is read from {_some(read, folder)}; not read: {_some(left, folder)}."]


def _some(files: Sequence[Path], folder: Path) -> str:
    return some([str(file.relative_to(folder) if file.is_relative_to(folder) else file) for file in files], SHOWN)


def _by_folder(file: Path) -> str | None:
    return next((SPLITS[part.lower()] for part in file.parent.parts if part.lower() in SPLITS), None)


def _by_shard(file: Path) -> str | None:
    found = SHARD.fullmatch(_stem(file))
    if found is None:
        return None
    return SPLITS.get(found[1].lower(), found[1] if file.parent.name == "data" else None)


def _by_name(file: Path) -> str | None:
    if _by_shard(file):
        return _by_shard(file)
    found = NUMBERED.fullmatch(_stem(file).lower())
    return SPLITS.get(found[1]) if found else None


def _stem(file: Path) -> str:
    return Path(file.name.removesuffix(".gz")).stem
