"""A source that lies here: which files it has, of which kind and split, before any is read."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from clients.data import splits, text_files
from clients.data.text_files import Dialect, Texts
from clients.errors import InputError
from clients.exact import digest

ENDLESS = 2**62
"""Length of a split of which only the name matters."""


class Folder(NamedTuple):
    """A folder, or one file.

    Attributes:
        path: of the folder.
        kind: of ``text_files``; None for files that only the library reads.
        splits: split to its files.
        files: all that there are, of any split or none.
        builder: the library's reader; None for one file.
        options: of CSV files, where a README has them.
        classes: where a README has them.
    """

    path: Path
    kind: str | None
    splits: dict[str, list[Path]]
    files: list[Path]
    builder: Any = None
    options: Mapping[str, Any] = {}
    classes: Mapping[str, tuple[str, ...]] = {}

    def used(self, split: str) -> list[str]:
        """The splits that ``split`` takes rows of; ValueError where one is not there."""
        asked = {part.split for part in splits.parts(split, dict.fromkeys(self.splits, ENDLESS))}
        return [name for name in self.splits if name in asked]

    def notes(self, split: str) -> list[str]:
        """What to tell of the files that are read and those that are not; of pictures only where some are not."""
        read = [file for name in self.used(split) for file in self.splits[name]]
        if self.builder is None or (self.kind is None and len(read) == len(self.files)):
            return []
        return splits.told(split, read, self.files, self.path)


def folder_of(source: str, config: str | None) -> Folder | None:
    """What lies at a source; None where it can only be an id of the hub.

    Raises:
        InputError: it is a path, and nothing is there; or a file of another kind.
    """
    path = Path(source).expanduser()
    kind = text_files.kind_of(path)
    if path.is_dir():
        return _folder(path.resolve(), config)
    if path.is_file():
        if kind is None:
            raise InputError(f"data.source: {source} is not one of {', '.join(text_files.KINDS)}")
        return Folder(path.parent, kind, {"train": [path]}, [path])
    if source.startswith((".", "/", "~")) or kind is not None or source.count("/") > 1:
        raise InputError(f"data.source: there is no file or folder {source}")
    return None


def rows(folder: Folder, split: str, read: Callable[[Sequence[Path]], Texts]) -> Texts:
    """The rows that a split takes, of files that are read as texts."""
    found = {name: read(folder.splits[name]) for name in folder.used(split)}
    lengths = {name: len(found[name].table) if name in found else 0 for name in folder.splits}
    taken = [found[part.split].table.slice(part.start, part.stop - part.start) for part in splits.parts(split, lengths)]
    names = dict.fromkeys(name for one in found.values() for name in one.names)
    classes = {name: known for one in found.values() for name, known in one.classes.items()}
    return Texts(text_files.joined(taken), list(names), classes, [])


def listed_pictures(folder: Folder, split: str, columns: Sequence[str]) -> pa.Table | None:
    """Pictures that a ``metadata.csv`` lists, with what it says of them as written; None where there is no such file."""
    from datasets.packaged_modules.imagefolder.imagefolder import ImageFolder

    if not isinstance(folder.builder, ImageFolder):
        return None
    lists = {
        name: [file for file in folder.splits[name] if file.name in ImageFolder.METADATA_FILENAMES]
        for name in folder.used(split)
    }
    if not all(lists.values()):
        return None
    found = rows(folder._replace(splits=lists), split, lambda files: _listed(files, columns))
    return found.table if "file_name" in found.names else None


def _listed(lists: Sequence[Path], columns: Sequence[str]) -> Texts:
    made = []
    for file in lists:
        found = text_files.read(text_files.kind_of(file) or "", [file], ["file_name", *columns], Dialect(), {}, {})
        if "file_name" in found.names:
            stored = [{"bytes": None, "path": str(file.parent / str(name))} for name in found.table["file_name"].to_pylist()]
            kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
            table = found.table.drop_columns(["file_name"]).append_column("image", pa.array(stored, kind))
            made.append(found._replace(table=table))
    names = dict.fromkeys(name for one in made for name in one.names)
    return Texts(text_files.joined([one.table for one in made]), list(names), {}, [])


def classes_of(features: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Names of the columns' classes, where the library's features have them."""
    return {name: tuple(one.names) for name, one in features.items() if type(one).__name__ == "ClassLabel" and one.names}


def _folder(folder: Path, config: str | None) -> Folder:
    """A folder by its README where that says what is read, else by the names of its files."""
    import datasets
    from datasets.packaged_modules.folder_based_builder.folder_based_builder import FolderBasedBuilder
    from datasets.packaged_modules.json.json import Json

    told = _has_configs(folder)
    files = _data_files(folder)
    if not files:
        raise ValueError("it holds no files of data")
    asked = {} if told else {"data_files": {"train": "**"}}
    builder = datasets.load_dataset_builder(str(folder), config, cache_dir=_cache_of(folder), **asked)
    found = {split: [Path(file) for file in mine] for split, mine in (builder.config.data_files or {}).items()}
    media = isinstance(builder, FolderBasedBuilder)
    if not told:
        found = splits.splits_of(folder, found["train"], media)
        builder.config.data_files = {split: list(map(str, mine)) for split, mine in found.items()}
    mine = {file for files in found.values() for file in files}
    kinds = {text_files.kind_of(file) if file.is_file() else None for file in mine}
    own = len(kinds) == 1 and not media and not (isinstance(builder, Json) and builder.config.field is not None)
    kind = kinds.pop() if own else None
    others = [file for file in files if kind is not None and text_files.kind_of(file) is not None]
    return Folder(
        folder,
        kind,
        found,
        sorted({*mine, *others}),
        builder,
        builder.config.pd_read_csv_kwargs if kind == "csv" and told else {},
        classes_of(builder.info.features or {}),
    )


def _has_configs(folder: Path) -> bool:
    """Whether the README, or the file that stands for its head, says which files make which split."""
    import yaml
    from huggingface_hub import DatasetCard

    card, head = folder / "README.md", folder / ".huggingface.yaml"
    values = DatasetCard.load(card).data.to_dict() if card.is_file() else {}
    values |= (yaml.safe_load(head.read_text(encoding="utf-8")) or {}) if head.is_file() else {}
    return bool(values.get("configs"))


def _data_files(folder: Path) -> list[Path]:
    """Files that may hold rows: none that is hidden or describes the data set."""
    from datasets.data_files import FILES_TO_IGNORE

    return [
        file
        for file in sorted(folder.rglob("*"))
        if file.is_file()
        and file.name not in FILES_TO_IGNORE
        and not any(part.startswith((".", "__")) for part in file.relative_to(folder).parts)
    ]


def _cache_of(folder: Path) -> str:
    """A cache for this folder as it is now: the library's own takes two folders of one name and README for the same."""
    import datasets

    files = sorted(path for path in folder.resolve().rglob("*") if path.is_file())
    stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return str(Path(datasets.config.HF_DATASETS_CACHE) / f"unmerge-{digest.of_json(stats)[:24]}")
