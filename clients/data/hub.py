"""Opens tables alike, whether ``source`` is embedded, a hub id, a folder in hub layout, or one file."""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clients.data import folders, splits, text_files
from clients.data.folders import Folder
from clients.data.text_files import Dialect, Texts
from clients.errors import InputError
from clients.exact.files import blame

EMBEDDED = ("microblog", "forum", "digits")  # modules beside this one whose rows(config) makes the table
GROWING = ("microblog", "forum")  # of these, whose config is how many people write


def open_table(source: str, config: str | None, split: str, columns: list[str]) -> tuple[Any, list[str]]:
    """One split as a ``datasets.Dataset``, and notes; an embedded table has the split ``train`` only.

    Raises:
        InputError: nothing there, not readable, or a column is missing.
    """
    with _explained(source, config, split):
        folder = None if source in EMBEDDED else folders.folder_of(source, config)
        try:
            table = _opened(source, config, split, folder, columns)
        except Exception:
            if folder is None or (table := _with_empty_files(folder, split)) is None:
                raise
        notes = folder.notes(split) if folder is not None else []
    _check(source, columns, table.column_names)
    return table, notes


def open_texts(source: str, config: str | None, split: str, columns: list[str], dialect: Dialect | None = None) -> Texts:
    """The columns of one split as texts. Values of local CSV and JSON files are what is written.

    Args:
        dialect: how text files are written, where the scenario says it.

    Raises:
        InputError: as ``open_table``; or the dialect says something about a source that it cannot be said of.
    """
    written = dialect or Dialect()
    with _explained(source, config, split):
        folder = None if source in EMBEDDED else folders.folder_of(source, config)
        kind = folder.kind if folder is not None else None
        _check_dialect(source, kind, written)
        if folder is not None and kind is not None:
            more = written, folder.options, folder.classes
            found = folders.rows(folder, split, lambda files: text_files.read(kind, files, columns, *more))
        else:
            table = _opened(source, config, split, folder, columns)
            used = table.select_columns([name for name in columns if name in table.column_names]).with_format("arrow")[:]
            classes = folders.classes_of(table.features)
            found = Texts(text_files.typed(used, classes), table.column_names, classes, [])
        notes = folder.notes(split) if folder is not None else []
    _check(source, columns, found.names)
    return found._replace(table=found.table.select(columns), notes=notes)


def _opened(source: str, config: str | None, split: str, folder: Folder | None, columns: list[str]):  # type: ignore[no-untyped-def]
    import datasets

    if source in EMBEDDED:
        return _embedded(source, config, split)
    if folder is None:
        return datasets.load_dataset(source, config, split=split)
    if folder.builder is None:
        return datasets.load_dataset(folder.kind, data_files=str(folder.files[0]), split=split)
    if (listed := folders.listed_pictures(folder, split, columns)) is not None:
        return datasets.Dataset(listed)
    folder.builder.download_and_prepare(verification_mode="no_checks")
    return folder.builder.as_dataset(split=split)


def _with_empty_files(folder: Folder, split: str):  # type: ignore[no-untyped-def]
    """A table of parquet files of which some hold no row, which the library refuses; None of any others."""
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = folder.splits.get(split, [])
    if folder.kind != "parquet" or all(pq.read_metadata(file).num_rows for file in files):
        return None
    return datasets.Dataset(pa.concat_tables(pq.read_table(file, partitioning=None) for file in files))


def _check_dialect(source: str, kind: str | None, dialect: Dialect) -> None:
    for key, value in dialect._asdict().items():
        if value is not None and kind != "csv" and not (key == "encoding" and kind == "json"):
            raise InputError(f"data.{key}: it says how local {_said_of(key)} files are written, and {source} has none")


def _said_of(key: str) -> str:
    return "CSV and JSON" if key == "encoding" else "CSV"


@contextmanager
def _explained(source: str, config: str | None, split: str) -> Iterator[None]:
    """Errors of reading a source as one sentence for the user."""
    import datasets

    datasets.disable_progress_bars()
    path = Path(source).expanduser()
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # the library raises a dozen kinds, with the network's on top
        blame(error, Path(datasets.config.HF_DATASETS_CACHE), "HF_DATASETS_CACHE")
        script = _script(path, error)
        if script:
            raise InputError(
                f"data.source: {source} is script-based ({script}), and datasets no longer runs scripts: it needs a parquet "
                "conversion. On the hub that is usually the repository's branch refs/convert/parquet; download it and "
                "give the folder"
            ) from error
        where = f"{source}" + (f", configuration {config}" if config else "") + f", split {split}"
        hint = " (no such folder here, and the hub was not reached)" if not os.path.exists(path) else ""
        raise InputError(f"data.source: cannot open {where}{hint}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """The first line of what went wrong, or of what the library's "error while generating the dataset" was caused by."""
    from datasets.exceptions import DatasetGenerationError

    while isinstance(error, DatasetGenerationError) and error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip() or repr(error)).splitlines()[0]


def _check(source: str, columns: list[str], names: list[str]) -> None:
    missing = [column for column in columns if column not in names]
    if missing:
        shown = ", ".join(name if name == name.strip() else repr(name) for name in names)
        mark = next((mark for mark in ";\t|," if len(names) == 1 and mark in names[0]), None)
        hint = f"; is data.delimiter {mark!r}?" if mark else ""
        raise InputError(f"data: {source} has no column {', '.join(map(repr, missing))}; its columns are {shown}{hint}")


def _embedded(source: str, config: str | None, split: str):  # type: ignore[no-untyped-def]
    import datasets

    table = datasets.Dataset.from_list(importlib.import_module(f"clients.data.{source}").rows(config))
    try:
        parts = splits.parts(split, {"train": len(table)})
    except ValueError as error:
        raise InputError(f"data.split: {source} has no split {split!r}, only 'train'") from error
    return table.select([row for part in parts for row in range(part.start, part.stop)]) if split != "train" else table


def _script(path: Path, error: Exception) -> str:
    """Name of the loading script that the library stumbled over, or that is all there is in a folder; else empty."""
    found = str(error).partition("scripts are no longer supported, but found ")[2].strip()
    if found:
        return found
    kinds = {file.suffix for file in path.rglob("*") if file.is_file()} if path.is_dir() else set()
    return next((file.name for file in sorted(path.glob("*.py"))), "") if kinds <= {".py", ".md", ""} else ""
